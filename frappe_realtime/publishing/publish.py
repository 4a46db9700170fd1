"""The functions that publish events: they choose the room and the time, and give the message to the outbox.

The rules are those of `frappe.realtime.publish_realtime`, as Frappe documents them. In addition, several users or rooms
can be given, and `data` is another name for `message`. All functions need an initialised site (`frappe.local.site`).
None of them fails because Redis is away (outbox.py).

The payload on the channel `events` is `{"event", "message", "room", "namespace"}` as JSON; `namespace` is the site. The contract
has the fields that are added where they apply.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, Literal, get_args

import frappe

from ..contract.channels import BINARY_FIELD, EVENTS_CHANNEL, LATEST_FIELD
from ..contract.events import RESERVED_EVENTS
from ..contract.redis_keys import events_key
from ..contract.rooms import SITE_ROOM, WEBSITE_ROOM, doc_room, doctype_room, task_room, user_room
from .binary import take_binary
from .broadcast_warning import warn_of_broadcast
from .commit import EVENTS, held_for_commit
from .document_changes import take_messages
from .jobs import is_job_timeout
from .log import logger
from .outbox import Message
from .process import int_setting, outbox
from .progress import PROGRESS, progress_key, with_page
from .tasks import task_announcements

History = Literal["all", "latest", "none"]
"""What is kept of an event: see `publish_realtime`."""

HISTORIES: tuple[str, ...] = get_args(History)


def publish_realtime(
	event: str | None = None,
	message: Any = None,
	room: str | Iterable[str] | None = None,
	user: str | Iterable[str] | None = None,
	doctype: str | None = None,
	docname: str | None = None,
	task_id: str | None = None,
	after_commit: bool = False,
	*,
	data: Any = None,
	history: History | None = None,
) -> None:
	"""Publish an event to the browsers in a room.

	The first of these that applies decides on the room: the events `list_update` and `docinfo_update`, which go to
	their DocType or document; `room`; `task_id`; `user`; the event `msgprint`, which goes to the session user;
	`doctype` with `docname`; otherwise all System Users.

	Args:
		event: The name of the event. Default: `task_progress` if there is a task, otherwise `global`.
		message: What the listeners get: anything that can be serialised to JSON, and bytes, as the message or within it.
			Default: `{}`.
		room: A room, or several.
		user: A user, whose sockets all get the event, or several users. An empty list publishes nothing.
		doctype: With `docname`, the document whose subscribers get the event.
		docname: See `doctype`.
		task_id: The background task whose subscribers get the event. Default: the task of the running job.
		after_commit: Send the event when the transaction commits, and never if it is rolled back. Equal events are sent
			once. Ignored for a task.
		data: Another name for `message`.
		history: What is kept for clients that are disconnected, or that subscribe later with `rewind`: `all` events;
			`latest`, only the newest one of this name in this room; `none`, for events that matter only to those who are
			connected. Default: `latest` for the event `progress`, otherwise `all`.

	Raises:
		TypeError: Both `message` and `data` are given, or the message cannot be serialised to JSON. With `after_commit`,
			a message that cannot be serialised is logged instead.
		ValueError: `history` has another value, Socket.IO reserves the name of the event, or the message has more binary values
			than it allows in an event.
	"""
	if history is not None and history not in HISTORIES:
		raise ValueError(f"publish_realtime: history is {history!r}; it can be one of {', '.join(HISTORIES)}")
	if event in RESERVED_EVENTS:
		raise ValueError(f"publish_realtime: {event!r} is an event of Socket.IO itself; choose another name")
	if data is not None:
		if message is not None:
			raise TypeError(
				"publish_realtime: message and data are the same parameter; give only one of them"
			)
		message = data
	if message is None:
		message = {}
	task_id = task_id or getattr(frappe.local, "task_id", None)

	if event is None:
		event = "task_progress" if task_id else "global"
	elif event == "msgprint":
		# Kept as a list: an iterator has its names only once.
		user = _names(user)
		if user is None:
			user = frappe.session.user
	elif event == "list_update":
		if not doctype and isinstance(message, Mapping):
			doctype = message.get("doctype")
		room = doctype_room(str(doctype))
	elif event == "docinfo_update":
		room = doc_room(str(doctype), str(docname))

	rooms = _names(room)
	if rooms is None:
		users = _names(user)
		if task_id:
			after_commit = False
			if isinstance(message, Mapping) and "task_id" not in message:
				message = {**message, "task_id": task_id}
			rooms = [task_room(task_id)]
		elif users is not None:
			rooms = [user_room(name) for name in users]
		elif doctype and docname:
			rooms = [doc_room(doctype, str(docname))]
		else:
			rooms = [SITE_ROOM]
			warn_of_broadcast(event)

	if after_commit and getattr(frappe.local, "db", None):
		# Frappe keeps such events in this list and in this form. A module that imported Frappe's publish_realtime before
		# the override adds to the same list, so order and comparison of events hold across both functions.
		held = held_for_commit(EVENTS, _send_held)
		for name in rooms:
			if (entry := HeldEvent(event, message, name, history)) not in held:
				held.append(entry)
	else:
		messages = [_message(event, message, name, history) for name in rooms]
		outbox().send([*task_announcements(rooms), *messages])


def publish_progress(
	percent: float,
	title: str | None = None,
	doctype: str | None = None,
	docname: str | None = None,
	description: str | None = None,
	task_id: str | None = None,
) -> None:
	"""Show a progress bar in the browser.

	Publishes `progress` with `{percent, title, description}` to the subscribers of the task or of the document if one is
	given, otherwise to the session user. Only the page that started the work shows the bar; 100 closes it. The event
	is sent at once, without waiting for a commit. Of each bar only the newest value is kept.

	Args:
		percent: Progress from 0 to 100. The browser clamps values outside.
		title: Heading of the bar. Bars with the same title replace each other.
		doctype: With `docname`, the document whose subscribers get the event.
		docname: See `doctype`.
		description: Text below the bar.
		task_id: The background task whose subscribers get the event. Default: the task of the running job.

	Raises:
		TypeError: A value cannot be serialised to JSON.
	"""
	publish_realtime(
		"progress",
		{"percent": percent, "title": title, "description": description},
		user=None if doctype and docname else frappe.session.user,
		doctype=doctype,
		docname=docname,
		task_id=task_id,
	)


def publish_to_user(
	user: str | Iterable[str],
	event: str,
	message: Any = None,
	*,
	after_commit: bool = False,
	history: History | None = None,
) -> None:
	"""Publish to all sockets of a user, or of several users; see `publish_realtime`."""
	users = [user] if isinstance(user, str) else user
	publish_to_room(
		[user_room(name) for name in users], event, message, after_commit=after_commit, history=history
	)


def publish_to_doc(
	doctype: str,
	docname: str,
	event: str,
	message: Any = None,
	*,
	after_commit: bool = False,
	history: History | None = None,
) -> None:
	"""Publish to the subscribers of one document; see `publish_realtime`."""
	publish_to_room(
		doc_room(doctype, str(docname)), event, message, after_commit=after_commit, history=history
	)


def publish_to_doctype(
	doctype: str,
	event: str,
	message: Any = None,
	*,
	after_commit: bool = False,
	history: History | None = None,
) -> None:
	"""Publish to the subscribers of a DocType: its list views and forms; see `publish_realtime`."""
	publish_to_room(doctype_room(doctype), event, message, after_commit=after_commit, history=history)


def publish_task_progress(task_id: str, message: Any = None, *, after_commit: bool = False) -> None:
	"""Publish `task_progress` to the subscribers of a background task; see `publish_realtime`.

	Args:
		task_id: The task.
		message: What the listeners get. A mapping gets the key `task_id` unless it has one.
		after_commit: Accepted as in Frappe v17, and ignored: progress is sent at once.
	"""
	publish_realtime("task_progress", message, task_id=task_id, after_commit=after_commit)


def publish_to_website(
	event: str, message: Any = None, *, after_commit: bool = False, history: History | None = None
) -> None:
	"""Publish to all sockets of the site, including those of Guests; see `publish_realtime`."""
	publish_to_room(WEBSITE_ROOM, event, message, after_commit=after_commit, history=history)


def publish_to_all(
	event: str, message: Any = None, *, after_commit: bool = False, history: History | None = None
) -> None:
	"""Publish to all System Users of the site; see `publish_realtime`."""
	publish_to_room(SITE_ROOM, event, message, after_commit=after_commit, history=history)


def publish_to_room(
	room: str | Iterable[str],
	event: str,
	message: Any = None,
	*,
	after_commit: bool = False,
	history: History | None = None,
) -> None:
	"""Publish to a room, or to several; see `publish_realtime`.

	Raises:
		ValueError: No room is given. `publish_realtime` takes that for all System Users.
	"""
	if room is None or room == "":
		raise ValueError(
			f"publish_to_room: {event!r} is published to no room; publish_to_all reaches all System Users"
		)
	publish_realtime(event, message, room=room, after_commit=after_commit, history=history)


def emit(event: str, message: Any, room: str | None) -> None:
	"""Send one event at once: the override of `frappe.realtime.emit_via_redis`.

	Args:
		event: The name of the event.
		message: What the listeners get.
		room: The room. None is every socket of the site, with Node of every site; such an event is in no history.
	"""
	# First what may raise: a task counts as announced from then on.
	sent = _message(event, message, room)
	outbox().send([*task_announcements([room] if room else []), sent])


def _names(names: str | Iterable[str] | None) -> list[str] | None:
	"""Return the names without duplicates, in order. None means not given; an empty list stays an empty list."""
	if names is None or names == "":
		return None
	if isinstance(names, str):
		return [names]
	return list(dict.fromkeys(names))


class HeldEvent(list[Any]):
	"""An event that waits for the commit: `[event, message, room]`, which is Frappe's form, and what is kept of it."""

	def __init__(self, event: str, message: Any, room: str, history: History | None) -> None:
		super().__init__((event, message, room))
		self.history = history


def _send_held(entries: list[list[Any]]) -> None:
	messages = take_messages()
	for entry in entries:
		event, message, room = entry
		history = entry.history if isinstance(entry, HeldEvent) else None
		try:
			messages.append(_message(event, message, room, history))
		except Exception as error:
			if is_job_timeout(error):
				raise
			# The transaction is committed: the other events must be sent all the same.
			logger().exception(
				"Realtime event %s for room %s was not sent: it cannot be serialised to JSON", event, room
			)
	outbox().send(messages)


def _message(event: str, message: Any, room: str | None, history: History | None = None) -> Message:
	site = frappe.local.site
	message = with_page(event, message)
	text, binary = take_binary(message)
	fields = {"event": event, "message": text, "room": room, "namespace": site}
	if binary:
		fields[BINARY_FIELD] = binary
	count = int_setting("realtime_history_count")
	seconds = int_setting("realtime_history_seconds")
	if room is None or not count or not seconds or history == "none":
		return Message(EVENTS_CHANNEL, _to_json(fields))
	key = ""
	if history == "latest" or (history is None and event == PROGRESS):
		latest_count = int_setting("realtime_latest_count")
		latest_seconds = int_setting("realtime_latest_seconds")
		if latest_count and latest_seconds:
			count, seconds = latest_count, latest_seconds
			key = json.dumps([event, room, *(progress_key(message) if event == PROGRESS else ())])
			fields[LATEST_FIELD] = {"key": key, "seconds": seconds}
	return Message(EVENTS_CHANNEL, _to_json(fields), events_key(site), count, seconds, key)


def _to_json(value: Mapping[str, Any]) -> str:
	text = frappe.as_json(value, indent=None, separators=(",", ":"))
	if "NaN" in text or "Infinity" in text:
		# Python writes numbers that are not JSON, which no reader accepts. They become null, as with JSON.stringify.
		text = json.dumps(json.loads(text, parse_constant=lambda _: None), separators=(",", ":"))
	return text
