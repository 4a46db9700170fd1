"""Events in the format in which publishers write them to Redis."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from ..json_codec import dumps, loads
from ..socketio.fanout import Event

StreamPosition = tuple[int, int]
"""A position in the stream of a site: the two numbers of a stream id in Redis, milliseconds and sequence."""

SAFE_DEPTH = 200
"""Levels of nested JSON that all JSON libraries used here can read and write."""

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
	"""

	site: str | None = None
	unrecorded: str = ""
	lost: str = ""
	position: StreamPosition = (0, 0)
	payload: bytes = b""

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
		ValueError, KeyError, TypeError, AttributeError: The payload is not an event.
	"""
	data = loads(payload)
	site, room, event = data.get("namespace") or None, data.get("room") or None, data["event"]
	offset = data.get("offset")
	if (
		type(event) is not str
		or (site is not None and type(site) is not str)
		or (room is not None and type(room) is not str)
		or (offset and type(offset) is not str)
	):
		raise ValueError("event, namespace, room and offset must be strings")
	if len(payload) > 2 * SAFE_DEPTH and payload.count(b"[") + payload.count(b"{") > SAFE_DEPTH:
		_check_depth(data.get("message"))
	unrecorded = str(data.get("unrecorded", "")) if offset is None else ""
	lost = str(data.get("lost", "")) if unrecorded else ""
	namespace = None if site is None else f"/{site}"
	message = data.get("message")
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
	)


def _check_depth(message: Any) -> None:
	"""Raise ValueError for a message that is nested too deeply to be written again."""
	for _ in range(MARGIN):
		message = [message]
	dumps(message)
