"""Fills the log of access changes of a site: from the access channel, and after an interruption from Redis."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from time import time
from typing import Any

from ..bus.events import StreamPosition
from ..bus.store import RedisStore
from ..json_codec import loads
from .access_log import MAX_CHANGES, SITE_SUBJECT, Subject, subject_of
from .positions import START, offset_after, parse_offset
from .site_stream import SiteStream

PAGE = 500
"""Messages that are read from Redis in one command."""


def take_change(stream: SiteStream, message: Mapping[str, Any]) -> None:
	"""Add a live message of the access channel to the log of a site, or hold it back while Redis is read.

	After a message that its publisher could not record, no client recovers for a time, as after such an event.
	"""
	held = stream.access.held
	is_full = held is not None and len(held) >= MAX_CHANGES
	unrecorded = "too many changes of access" if is_full else message.get("unrecorded")
	if unrecorded:
		stream.unrecorded = (asyncio.get_running_loop().time(), str(unrecorded))
	if held is None:
		_add_live(stream, message)
	elif not is_full:
		held.append(message)


async def read_changes(stream: SiteStream, store: RedisStore) -> frozenset[Subject]:
	"""Read the changes that are not in the log, then add the live ones that were held back.

	Returns:
		What the changes concern that were read, also by calls before that were not completed; the whole site, if some are missing.

	Raises:
		StoreUnavailable: Redis does not answer. The call can be repeated.
		StoreDenied: Redis denies the stream.
	"""
	log = stream.access
	while True:
		entries, last = await store.access_messages(stream.site, offset_after(log.last_id), PAGE)
		for entry in entries:
			before, id = parse_offset(entry.before) or START, parse_offset(entry.id) or START
			subject, position = _read(entry.payload)
			if before > log.last_id:
				log.note_missing(position, before[0])
				log.missed.add(SITE_SUBJECT)
			log.last_id = max(log.last_id, id)
			if subject is not None:
				log.add(subject, position, id[0])
				log.missed.add(subject)
		if len(entries) < PAGE:
			break
	end = parse_offset(last) or START
	if end > log.last_id:
		# Those messages have expired.
		log.note_missing(stream.position, end[0])
		log.last_id = end
		log.missed.add(SITE_SUBJECT)
	held, log.held = log.held or [], None
	for message in held:
		_add_live(stream, message)
	missed, log.missed = log.missed, set()
	return frozenset(missed)


def _add_live(stream: SiteStream, message: Mapping[str, Any]) -> None:
	log = stream.access
	id, position = parse_offset(message.get("offset")), parse_offset(message.get("after"))
	subject = subject_of(message)
	if subject is None or (id is not None and id <= log.last_id):
		return
	if id is None or position is None or stream.is_far_ahead(id) or stream.is_far_ahead(position):
		# Its publisher does not use the stream: the change comes after all events that were received.
		held = [parse_offset(event.offset) or START for event in stream.pending or ()]
		log.add(subject, max([stream.position, *held]), max(log.last_id[0], int(time() * 1000)))
	else:
		log.last_id = id
		log.add(subject, position, id[0])


def _read(payload: bytes) -> tuple[Subject | None, StreamPosition]:
	"""Return what a recorded message concerns, and after which event it comes; the whole site if it is invalid."""
	try:
		message = loads(payload)
		return subject_of(message), parse_offset(message.get("after")) or START
	except (ValueError, KeyError, TypeError, AttributeError):
		return SITE_SUBJECT, START
