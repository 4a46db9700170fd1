"""Publishing: which room an event goes to, when it is sent, and what Redis is given.

The rules are those of `frappe.realtime.publish_realtime`, which Frappe documents; what is ours is that several users
or rooms can be named at once, that `data` is another name for `message`, and how the event is written (outbox.py).
All functions need an initialised site (`frappe.local.site`). None of them fails because Redis is away.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

import frappe

from ..contract import (
	EVENTS_CHANNEL,
	SITE_ROOM,
	WEBSITE_ROOM,
	doc_room,
	doctype_room,
	events_key,
	task_room,
	user_room,
)
from . import tasks
from .outbox import Message
from .process import ends_job, held_for_commit, logger, number, outbox
from .progress import with_page


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
) -> None:
	"""Publish an event to the browsers in a room.

	:param event: the event's name; without one `task_progress` in a background job, else `global`
	:param message: what the browsers are given: anything that becomes JSON (default `{}`)
	:param room: the room, or several; wins over all that follows
	:param user: the user whose sockets get it, or several users. An empty list is nobody
	:param doctype: with `docname`: those who look at this document
	:param docname: see `doctype`
	:param task_id: those who follow this background job (default: the job that is running)
	:param after_commit: send it when the transaction commits, never if it is rolled back; what is equal is sent once
	:param data: another name for `message`
	:raises TypeError: both `message` and `data` are given, or what is given does not become JSON
	"""
	if data is not None:
		if message is not None:
			raise TypeError(
				"publish_realtime: message and data are two names for one thing; give one of them"
			)
		message = data
	if message is None:
		message = {}
	task_id = task_id or getattr(frappe.local, "task_id", None)

	if event is None:
		event = "task_progress" if task_id else "global"
	elif event == "msgprint" and _several(user) is None:
		user = frappe.session.user
	elif event == "list_update":
		if not doctype and isinstance(message, Mapping):
			doctype = message.get("doctype")
		room = doctype_room(str(doctype))
	elif event == "docinfo_update":
		room = doc_room(str(doctype), str(docname))

	rooms = _several(room)
	if rooms is None:
		users = _several(user)
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

	if after_commit and getattr(frappe.local, "db", None):
		# The list is Frappe's own, in its form, so that what a module publishes through Frappe's function, which it
		# may have imported before ours took its place, keeps its order among ours and is compared with ours.
		held = held_for_commit("_realtime_log", _send_held)
		for name in rooms:
			if (entry := [event, message, name]) not in held:
				held.append(entry)
	else:
		outbox().send([*tasks.started(rooms), *[_message(event, message, name) for name in rooms]])


def publish_progress(
	percent: float,
	title: str | None = None,
	doctype: str | None = None,
	docname: str | None = None,
	description: str | None = None,
	task_id: str | None = None,
) -> None:
	"""Show a progress bar: to those who look at the document when one is given, else to the session's user."""
	publish_realtime(
		"progress",
		{"percent": percent, "title": title, "description": description},
		user=None if doctype and docname else frappe.session.user,
		doctype=doctype,
		docname=docname,
		task_id=task_id,
	)


def publish_to_user(
	user: str | Iterable[str], event: str, message: Any = None, *, after_commit: bool = False
) -> None:
	"""Publish to all sockets of a user, or of several."""
	users = [user] if isinstance(user, str) else user
	publish_to_room([user_room(name) for name in users], event, message, after_commit=after_commit)


def publish_to_doc(
	doctype: str, docname: str, event: str, message: Any = None, *, after_commit: bool = False
) -> None:
	"""Publish to those who look at one document."""
	publish_to_room(doc_room(doctype, str(docname)), event, message, after_commit=after_commit)


def publish_to_doctype(doctype: str, event: str, message: Any = None, *, after_commit: bool = False) -> None:
	"""Publish to those who look at a list or a form of a DocType."""
	publish_to_room(doctype_room(doctype), event, message, after_commit=after_commit)


def publish_task_progress(task_id: str, message: Any = None, *, after_commit: bool = False) -> None:
	"""Publish `task_progress` to those who follow a background job. Progress is never held back for a commit."""
	publish_realtime("task_progress", message, task_id=task_id, after_commit=after_commit)


def publish_to_website(event: str, message: Any = None, *, after_commit: bool = False) -> None:
	"""Publish to every socket of the site, Guests too."""
	publish_to_room(WEBSITE_ROOM, event, message, after_commit=after_commit)


def publish_to_all(event: str, message: Any = None, *, after_commit: bool = False) -> None:
	"""Publish to all System Users of the site."""
	publish_to_room(SITE_ROOM, event, message, after_commit=after_commit)


def publish_to_room(
	room: str | Iterable[str], event: str, message: Any = None, *, after_commit: bool = False
) -> None:
	"""Publish to a room by its name, or to several."""
	publish_realtime(event, message, room=room, after_commit=after_commit)


def emit(event: str, message: Any, room: str | None) -> None:
	"""Send one event now. Without a room it goes to every socket of every site, and into no site's history."""
	outbox().send([*tasks.started([room] if room else []), _message(event, message, room)])


def _several(names: str | Iterable[str] | None) -> list[str] | None:
	"""The names, each once, in order; None where nothing was said. An empty list stays one: it means nobody."""
	if names is None or names == "":
		return None
	if isinstance(names, str):
		return [names]
	return list(dict.fromkeys(names))


def _send_held(entries: list[list[Any]]) -> None:
	messages = []
	for event, message, room in entries:
		try:
			messages.append(_message(event, message, room))
		except Exception as error:
			if ends_job(error):
				raise
			# The transaction is committed: what cannot become JSON must not take the others with it.
			logger().exception(
				"Realtime event %s for room %s was not sent: it does not become JSON", event, room
			)
	outbox().send(messages)


def _message(event: str, message: Any, room: str | None) -> Message:
	site = frappe.local.site
	message = with_page(event, message)
	payload = _as_json({"event": event, "message": message, "room": room, "namespace": site})
	count = number("realtime_history_count")
	seconds = number("realtime_history_seconds")
	if room is None or not count or not seconds:
		return Message(EVENTS_CHANNEL, payload)
	return Message(EVENTS_CHANNEL, payload, events_key(site), count, seconds)


def _as_json(value: Mapping[str, Any]) -> str:
	text = frappe.as_json(value, indent=None, separators=(",", ":"))
	if "NaN" in text or "Infinity" in text:
		# Python writes numbers that JSON does not know, and no reader accepts. JSON.stringify makes them null.
		text = json.dumps(json.loads(text, parse_constant=lambda _: None), separators=(",", ":"))
	return text
