"""The names of places: `doc:DOCTYPE/NAME`, `doctype:DOCTYPE`, `site`, and `room:ROOM` for a room that a handler has made."""

from __future__ import annotations

from typing import Any

from frappe_realtime.contract.presence import PRESENCE_BAD_REQUEST
from frappe_realtime.contract.rooms import (
	DOC_ROOM,
	DOCTYPE_ROOM,
	OPEN_DOC_ROOM,
	PRESENCE_ROOM,
	ROOM_PLACE,
	SHARED_FIELD_ROOM,
	SHARED_ROOM,
	SHARED_WRITE_ROOM,
	SITE_PLACE,
	SITE_ROOM,
	TASK_ROOM,
	USER_ROOM,
	WEBSITE_ROOM,
	room_subject,
)
from frappe_realtime.errors import PresenceRefused

from ..json_codec import shown

MAX_NAME = 1300
"""Characters of the name of a place: those of a DocType and a document (access/client_questions.py), and of the prefix."""

_CORE_ROOMS = (
	USER_ROOM,
	DOCTYPE_ROOM,
	DOC_ROOM,
	OPEN_DOC_ROOM,
	TASK_ROOM,
	PRESENCE_ROOM,
	SHARED_ROOM,
	SHARED_WRITE_ROOM,
	SHARED_FIELD_ROOM,
)


def check_place(name: Any) -> str:
	"""Return the name of a place.

	Raises:
		PresenceRefused: There is no such kind of place.
	"""
	if isinstance(name, str) and len(name) <= MAX_NAME:
		if name == SITE_PLACE or room_subject(PRESENCE_ROOM + name) is not None:
			return name
		room = name.removeprefix(ROOM_PLACE)
		if (
			room
			and room != name
			and room not in (SITE_ROOM, WEBSITE_ROOM)
			and not room.startswith(_CORE_ROOMS)
		):
			return name
	raise PresenceRefused(
		PRESENCE_BAD_REQUEST,
		f"{shown(name, 100)} is not a place: those are doc:DOCTYPE/NAME, doctype:DOCTYPE, site, and room:ROOM for a room of a handler",
	)
