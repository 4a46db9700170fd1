"""Events in the format in which publishers write them to Redis."""

from __future__ import annotations

from base64 import b64decode
from dataclasses import dataclass, replace
from typing import Any

from frappe_realtime.contract.channels import BINARY_FIELD, LATEST_FIELD, MAX_ATTACHMENTS, PLACEHOLDER
from frappe_realtime.contract.events import RESERVED_EVENTS

from ..json_codec import SAFE_DEPTH, dumps, is_deeper, loads
from ..socketio.fanout import Event

StreamPosition = tuple[int, int]
"""A position in the stream of a site: the two numbers of a stream id in Redis, milliseconds and sequence."""

MAX_SECONDS = 1e15
"""Seconds for which an event may be kept; Redis takes no more."""

MARGIN = 100
"""Levels by which the writer's limit may be lower than the reader's, because its stack is deeper."""


@dataclass(slots=True)
class PublishedEvent(Event):
	"""An event that was read from Redis.

	Args:
		site: The site; None for an event for all sites (`build_event`).
		unrecorded: Why the publisher could not append the event to the history; empty if it could, or does not try.
		lost: The offset of the newest event that Redis has lost before this one; empty if it has lost none.
		position: `offset` as numbers; (0, 0) without an offset.
		payload: The event as it was read.
		latest: The key of an event of which only the newest one is kept; empty for any other event.
		latest_seconds: Seconds for which such an event is kept.
	"""

	site: str | None = None
	unrecorded: str = ""
	lost: str = ""
	position: StreamPosition = (0, 0)
	payload: bytes = b""
	latest: str = ""
	latest_seconds: float = 0

	@property
	def published_at(self) -> float:
		"""When Redis appended the event to the stream, by the clock of Redis, which has milliseconds; 0 without an offset."""
		return self.position[0] / 1000

	def with_message(self, message: Any) -> PublishedEvent:
		"""Return the event with another message."""
		return replace(self, message=message)


def read_event(payload: bytes) -> PublishedEvent:
	"""Return the event in a message of the channel `events`, or in an entry of a stream.

	Raises:
		ValueError, KeyError, TypeError, AttributeError, IndexError: The payload is not an event.
	"""
	return event_of(loads(payload), payload)


def event_of(data: dict[str, Any], payload: bytes) -> PublishedEvent:
	"""Return the event in a message that was decoded already.

	Args:
		data: The message.
		payload: The message as it was read.

	Raises:
		ValueError, KeyError, TypeError, AttributeError, IndexError: The message is not an event.
	"""
	site, room, event = data.get("namespace") or None, data.get("room") or None, data["event"]
	offset = data.get("offset")
	if (
		type(event) is not str
		or (site is not None and type(site) is not str)
		or (room is not None and type(room) is not str)
		or (offset and type(offset) is not str)
	):
		raise ValueError("event, namespace, room and offset must be strings")
	if event in RESERVED_EVENTS:
		raise ValueError("clients would close their connections, and again with each recovery")
	if len(payload) > 2 * SAFE_DEPTH and payload.count(b"[") + payload.count(b"{") > SAFE_DEPTH:
		_check_depth(data.get("message"))
	unrecorded = str(data.get("unrecorded", "")) if offset is None else ""
	lost = str(data.get("lost", "")) if unrecorded else ""
	namespace = None if site is None else f"/{site}"
	message = with_binary(data)
	latest = data.get(LATEST_FIELD)
	return PublishedEvent(
		namespace,
		room,
		event,
		message,
		offset,
		site=site,
		size=len(payload),
		unrecorded=unrecorded,
		lost=lost,
		payload=payload,
		latest=str(latest["key"]) if latest else "",
		latest_seconds=_seconds(latest["seconds"]) if latest else 0,
	)


def _seconds(value: Any) -> float:
	"""Return for how long an event is kept; JSON also has NaN, Infinity and integers that are no float."""
	if not 0 <= value <= MAX_SECONDS:
		raise ValueError("no time for which an event is kept")
	return float(value)


def with_binary(data: dict[str, Any]) -> Any:
	"""Return the message of a published event, with its binary values in their places.

	Raises:
		ValueError, KeyError, TypeError, IndexError: There is no place for a value, it is not base64, or the message is nested too deeply.
	"""
	message: Any = data.get("message")
	values = data.get(BINARY_FIELD)
	if not values:
		return message
	if len(values) > MAX_ATTACHMENTS or is_deeper(message) or _has_placeholder(message):
		raise ValueError("clients would not accept the message")
	for path, text in values:
		value = b64decode(text, validate=True)
		if not path:
			return value
		*parents, last = path
		target: Any = message
		for step in parents:
			target = target[step]
		target[last] = value
	return message


def _has_placeholder(value: Any) -> bool:
	if isinstance(value, dict):
		return PLACEHOLDER in value or any(map(_has_placeholder, value.values()))
	return isinstance(value, list) and any(map(_has_placeholder, value))


def _check_depth(message: Any) -> None:
	"""Raise ValueError for a message that is nested too deeply to be written again."""
	for _ in range(MARGIN):
		message = [message]
	dumps(message)
