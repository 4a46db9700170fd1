"""Collects the events and the handler calls of the sites that are watched: how often, how large, to how many sockets."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from frappe_realtime.contract.rooms import SITE_ROOM

from ..engine import Encoded
from ..handlers.calls import CallReports, HandlerCalls
from ..handlers.executor import HandlerExecutor
from ..handlers.failure_log import text_of
from ..handlers.queue import HandlerQueue
from ..json_codec import loads
from ..socketio.fanout import Event, Fanout
from ..socketio.namespace import Namespace

LEASE_SECONDS = 10.0
"""Seconds for which a site is watched after the last request for its snapshot."""

MAX_NAMES = 300
"""Event names, and handlers, of one site that are counted by themselves."""

OTHER = "(others)"
"""Stands for all names beyond `MAX_NAMES`."""

MAX_NAME = 140
"""Characters of a name that are kept."""

MAX_ERROR = 200
"""Characters of the error of a handler that are kept."""


_NAME = re.compile(r'\[("(?:[^"\\]|\\.)*")')
"""The array of a packet up to the end of its first element, which is a string."""


@dataclass(slots=True)
class EventCount:
	"""What is known of the events of one name.

	Args:
		published: Events from Redis, which each sidecar gets.
		emitted: Events of handlers in this process.
		published_bytes: The sum of the sizes of the former.
		emitted_bytes: The sum of the sizes of the latter.
		deliveries: Sockets that they were written to.
		to_all: True if some went to every user of the Desk, or to all sockets.
	"""

	published: int = 0
	emitted: int = 0
	published_bytes: int = 0
	emitted_bytes: int = 0
	deliveries: int = 0
	to_all: bool = False


@dataclass(slots=True)
class HandlerCount:
	"""What is known of the handlers of one app for one event.

	Args:
		calls: Events that were handled.
		seconds: The sum of the seconds that this took.
		errors: Exceptions that were raised.
		last_error: The last of them: its type and its text.
	"""

	calls: int = 0
	seconds: float = 0.0
	errors: int = 0
	last_error: str = ""


@dataclass(slots=True)
class Activity:
	"""What has happened on a site since it is watched.

	Args:
		watched_until: When the lease ends (time of the loop).
		events: By name.
		handlers: By app and event.
	"""

	watched_until: float
	events: dict[str, EventCount] = field(default_factory=dict)
	handlers: dict[tuple[str, str], HandlerCount] = field(default_factory=dict)

	def event(self, name: str) -> EventCount:
		"""Return the count of events of this name."""
		count = self.events.get(name[:MAX_NAME])
		if count is None:
			name = name[:MAX_NAME] if len(self.events) < MAX_NAMES else OTHER
			count = self.events.setdefault(name, EventCount())
		return count

	def handler(self, app: str, event: str) -> HandlerCount:
		"""Return the count of the handlers of `app` for `event`."""
		count = self.handlers.get((app, event[:MAX_NAME]))
		if count is None:
			name = event[:MAX_NAME] if len(self.handlers) < MAX_NAMES else OTHER
			count = self.handlers.setdefault((app, name), HandlerCount())
		return count


class ActivityCollector:
	"""Observes the fan-out and the handlers while a site is watched; costs nothing otherwise.

	Args:
		fanout: Sends the events.
		executor: Runs the handlers in Python.
		javascript: Reports the calls of handlers in JavaScript.
	"""

	def __init__(self, fanout: Fanout, executor: HandlerExecutor, javascript: CallReports) -> None:
		self._fanout = fanout
		self._executor = executor
		self._javascript = javascript
		self._sites: dict[str, Activity] = {}
		executor.handler_failed.connect(self._on_handler_failed)
		javascript.reported.connect(self._on_reported)

	def watch(self, site: str) -> Activity:
		"""Collect what happens on `site` for the next `LEASE_SECONDS`, and return what has been collected."""
		until = asyncio.get_running_loop().time() + LEASE_SECONDS
		activity = self._sites.get(site)
		if activity is None:
			activity = self._sites[site] = Activity(until)
			self._fanout.observe(self)
			self._executor.observe(self)
			self._javascript.watch(self._sites)
		activity.watched_until = until
		return activity

	def expire(self) -> None:
		"""Forget the sites that are not watched any more. Called every few seconds."""
		now = asyncio.get_running_loop().time()
		self._sites = {site: one for site, one in self._sites.items() if one.watched_until > now}
		self._javascript.watch(self._sites)
		if not self._sites:
			self._fanout.unobserve()
			self._executor.unobserve()

	# -- the fan-out (FanoutObserver)

	def published(self, namespace: Namespace, event: Event, deliveries: int, repeated: bool) -> None:
		activity = self._sites.get(namespace.name[1:])
		if activity is None:
			return
		count = activity.event(event.event)
		count.deliveries += deliveries
		if not repeated:
			count.published += 1
			count.published_bytes += event.size
			count.to_all = count.to_all or event.room is None or event.room == SITE_ROOM

	def emitted(
		self,
		namespace: Namespace,
		rooms: Sequence[str] | None,
		encoded: Encoded,
		deliveries: int,
		relayed: bool,
	) -> None:
		activity = self._sites.get(namespace.name[1:])
		if activity is None:
			return
		count = activity.event(_name_of(encoded))
		count.deliveries += deliveries
		if not relayed:
			count.emitted += 1
			count.emitted_bytes += sum(map(len, encoded.messages))
			count.to_all = count.to_all or rooms is None or SITE_ROOM in rooms

	# -- handlers (HandlerObserver)

	def handled(self, queue: HandlerQueue, event: str, seconds: float) -> None:
		activity = self._sites.get(queue.socket.site)
		if activity is not None:
			count = activity.handler(queue.app.name, event)
			count.calls += 1
			count.seconds += seconds

	def _on_handler_failed(self, queue: HandlerQueue, event: str, error: BaseException) -> None:
		activity = self._sites.get(queue.socket.site)
		if activity is not None:
			count = activity.handler(queue.app.name, event)
			count.errors += 1
			count.last_error = text_of(error, MAX_ERROR)

	def _on_reported(self, report: HandlerCalls) -> None:
		activity = self._sites.get(report.site)
		if activity is not None:
			count = activity.handler(report.app, report.event)
			count.calls += report.calls
			count.seconds += report.seconds
			count.errors += report.errors
			count.last_error = report.last_error[:MAX_ERROR] or count.last_error


def _name_of(encoded: Encoded) -> str:
	"""Return the name of an encoded event: the first element of the array in its packet."""
	found = _NAME.search(str(encoded.messages[0]))
	return OTHER if found is None else str(loads(found[1]))
