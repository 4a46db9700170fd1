"""Joins bursts of `list_update` events: a client gets a bounded number of them in one second for each list.

An import of 10,000 documents publishes 10,000 `list_update` events to everyone who has the list open. The first update of a
list that was quiet is delivered at once and opens a window of one second. Updates that arrive within the window are held
back; at its end, the newest update of each document is delivered, with one write for each socket, and the next window opens. Of
more than `realtime_list_updates_per_second` documents, those that changed last are named, and the last event has `"more": true`.

The Desk's list view (v15 to v17) collects the names of updates until none has arrived for two seconds, then fetches these
rows in one request, at most as many as a page has: 100 on a large screen. Without the app, an update without a name refreshes
nothing there, so no name is left out before that number is reached. The report view sends a request for each update.

Other events of the site are not held back, except those of the same room, which keep their order: they end the window early.
So clients receive offsets beyond updates that they have not received yet. While updates of a list are held back, each
offset that is sent says so (`Namespace.hold_back`), and a client that recovers with it is sent these updates as well.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from frappe_realtime.contract.events import LIST_UPDATE
from frappe_realtime.contract.rooms import DOCTYPE_ROOM

from ..bus.events import PublishedEvent
from ..bus.kept_events import AnyEvent, KeptEvent
from ..config import Config
from ..socketio.namespace import Namespaces
from .joined_updates import JoinedUpdate, UnsentUpdates
from .list_update_filter import ListUpdateFilter

WINDOW_SECONDS = 1.0
"""Seconds from one delivery of a list's updates to the next."""

MAX_LISTS = 8
"""Lists of one site whose updates are held back at the same time: each is named in the offsets that are sent meanwhile."""

List = tuple[str, str]
"""Site and room of a list."""


@dataclass(slots=True)
class Window:
	"""The window of one list.

	Args:
		unsent: Counts the updates that are held back here and in the list update filter.
		timer: Ends the window.
		waiting: The newest update of each document, by name, in the order in which they were published.
		left_out: Whether updates of further documents were left out.
	"""

	unsent: UnsentUpdates
	timer: asyncio.TimerHandle
	waiting: dict[Any, PublishedEvent] = field(default_factory=dict)
	left_out: bool = False


class ListUpdateJoiner:
	"""Passes events to the list update filter, in order, and joins bursts of `list_update` on the way.

	Args:
		config: `realtime_list_updates_per_second`; 0 passes all events at once.
		namespaces: The sockets, by which lists with members are known.
		filter: Takes the events.
	"""

	def __init__(self, config: Config, namespaces: Namespaces, filter: ListUpdateFilter) -> None:
		self.joined = 0
		"""Updates that were not sent because a later one of the same document was."""
		self.left_out = 0
		"""Updates that were not sent because more documents of the list had changed than are named in one second."""
		self._most: int = config.realtime_list_updates_per_second
		self._namespaces = namespaces
		self._filter = filter
		self._windows: dict[List, Window] = {}
		self._newest: dict[str, str] = {}
		"""The newest offset of each site that has a window."""

	@property
	def held(self) -> int:
		"""The number of updates that are held back."""
		return sum(len(window.waiting) for window in self._windows.values())

	def deliver(self, events: Sequence[PublishedEvent]) -> None:
		"""Deliver `events` in order, except for list updates that are held back."""
		if not self._most or (not self._windows and not any(event.event == LIST_UPDATE for event in events)):
			self._filter.deliver(events)
			return
		passed: list[PublishedEvent] = []
		for event in events:
			if self._hold(event):
				continue
			window = self._windows.get((event.site or "", event.room or ""))
			if window is not None and window.waiting:
				self._filter.deliver(passed)
				passed = []
				self._send(window)
			passed.append(event)
			self._note_offset(event)
		if passed:
			self._filter.deliver(passed)

	def flush(self) -> None:
		"""Deliver everything that is held back."""
		for window in self._windows.values():
			self._send(window)

	def without_superseded(self, events: Iterable[KeptEvent]) -> list[KeptEvent]:
		"""Return missed events, in order, with the newest updates of each list only, as a client would have received them."""
		if not self._most:
			return list(events)
		kept: list[KeptEvent] = []
		names: dict[str | None, set[str]] = {}
		last: dict[str | None, int] = {}
		for event in reversed(list(events)):
			if is_joinable(event):
				named = names.setdefault(event.room, set())
				name = event.message.get("name")
				if name in named:
					continue
				if len(named) == self._most:
					newest = kept[last[event.room]]
					kept[last[event.room]] = _with_more(newest)
					continue
				named.add(name)
				last.setdefault(event.room, len(kept))
			kept.append(event)
		kept.reverse()
		return kept

	def _hold(self, event: PublishedEvent) -> bool:
		"""Hold back `event` if it is an update of a list with an open window; open one if it has none."""
		if event.site is None or not is_joinable(event):
			return False
		key = (event.site, str(event.room))
		window = self._windows.get(key)
		if window is None or window.unsent.namespace is not self._namespaces.get(f"/{event.site}"):
			self._open(key, window)
			return False
		namespace, room = window.unsent.namespace, window.unsent.room
		if event.offset and room not in namespace.held and len(namespace.held) >= MAX_LISTS:
			return False
		name = event.message.get("name")
		replaced = window.waiting.pop(name, None)
		if replaced is not None:
			self.joined += 1
			window.unsent.remove(replaced)
		elif len(window.waiting) >= self._most:
			oldest = next(iter(window.waiting))
			window.unsent.remove(window.waiting.pop(oldest))
			window.left_out = True
			self.left_out += 1
		window.unsent.add(event)
		window.waiting[name] = event
		self._note_offset(event)
		return True

	def _note_offset(self, event: PublishedEvent) -> None:
		if event.offset and event.site in self._newest:
			self._newest[event.site] = event.offset

	def _open(self, key: List, outdated: Window | None) -> None:
		"""Open a window for a list that has members."""
		if outdated is not None:
			# All sockets of the site had left: updates that were held back have no recipient any more.
			outdated.timer.cancel()
			del self._windows[key]
		site, room = key
		namespace = self._namespaces.get(f"/{site}")
		if namespace is not None and namespace.members(room):
			self._newest.setdefault(site, "")
			self._windows[key] = Window(UnsentUpdates(namespace, room), self._start_timer(key))

	def _start_timer(self, key: List) -> asyncio.TimerHandle:
		return asyncio.get_running_loop().call_later(WINDOW_SECONDS, self._end, key)

	def _end(self, key: List) -> None:
		window = self._windows[key]
		if window.waiting or window.unsent.count:
			window.timer = self._start_timer(key)
			self._send(window)
			return
		del self._windows[key]
		if not any(site == key[0] for site, _ in self._windows):
			del self._newest[key[0]]

	def _send(self, window: Window) -> None:
		"""Deliver what waits in `window`, with the newest offset of the site."""
		updates = list(window.waiting.values())
		if not updates:
			return
		if window.left_out:
			updates[-1] = _with_more(updates[-1])
		window.waiting, window.left_out = {}, False
		newest = self._newest[str(updates[0].site)]
		self._filter.deliver_joined([JoinedUpdate.of(update, newest, window.unsent) for update in updates])


def is_joinable(event: PublishedEvent | KeptEvent) -> bool:
	"""Return True for an update that may be held back: a `list_update` for a DocType which names a document."""
	return (
		event.event == LIST_UPDATE
		and event.room is not None
		and event.room.startswith(DOCTYPE_ROOM)
		and isinstance(event.message, dict)
		and isinstance(event.message.get("name"), str)
	)


def _with_more(event: AnyEvent) -> AnyEvent:
	"""Return an update which says that further documents have changed."""
	return event if event.message.get("more") else event.with_message({**event.message, "more": True})
