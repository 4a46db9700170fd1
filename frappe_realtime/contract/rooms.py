"""Rooms, relative to the namespace of a site. The names of Frappe are those since v15."""

SITE_ROOM = "all"
"""All System Users; joined at connect."""

WEBSITE_ROOM = "website"
"""All sockets, Guests included; joined at connect."""

USER_ROOM = "user:"
DOCTYPE_ROOM = "doctype:"
DOC_ROOM = "doc:"
OPEN_DOC_ROOM = "open_doc:"
TASK_ROOM = "task_progress:"
"""Prefixes of the other rooms."""

PRESENCE_ROOM = "presence:"
"""Prefix of the rooms of the members of a place (this project's): followed by the name of the place."""

ROOM_PLACE = "room:"
"""Prefix of the name of the place of a room that a handler has made."""

SITE_PLACE = "site"
"""The name of the place of all System Users. A document or a DocType has the name of its room, `doc_room` or `doctype_room`."""

SHARED_ROOM = "shared:"
SHARED_WRITE_ROOM = "shared_write:"
"""Prefixes of the rooms of the sockets that edit a document together (this project's): those that may read it, and those that
may also write it. Followed by `doc_room`."""

SHARED_FIELD_ROOM = "shared_field:"
"""Prefix of the room of one field of such a document: followed by the field, a colon and `doc_room`. It is left with the room
`SHARED_ROOM` of the document."""

TOPIC_ROOM = "topic:"
"""Prefix of the rooms of apps about a document or a DocType (this project's): followed by the topic, a colon and `doc_room` or
`doctype_room`."""

_PERMISSION_PLACES = (PRESENCE_ROOM + DOC_ROOM, PRESENCE_ROOM + DOCTYPE_ROOM)
_SHARED_DOCUMENTS = (SHARED_ROOM + DOC_ROOM, SHARED_WRITE_ROOM + DOC_ROOM)

PERMISSION_ROOMS = (
	DOC_ROOM,
	OPEN_DOC_ROOM,
	DOCTYPE_ROOM,
	TOPIC_ROOM,
	*_PERMISSION_PLACES,
	*_SHARED_DOCUMENTS,
)
"""Prefixes of the rooms that are joined with a permission on a document or a DocType (`room_permission`)."""


def user_room(user: str) -> str:
	"""Return the room of all sockets of `user`; for Guests `user:Guest`."""
	return f"{USER_ROOM}{user}"


def doctype_room(doctype: str) -> str:
	"""Return the room of the subscribers of a DocType (list view, form)."""
	return f"{DOCTYPE_ROOM}{doctype}"


def doc_room(doctype: str, docname: str) -> str:
	"""Return the room of the subscribers of one document."""
	return f"{DOC_ROOM}{doctype}/{docname}"


def open_doc_room(doctype: str, docname: str) -> str:
	"""Return the room of the sockets that have the form of one document open; it drives `doc_viewers`."""
	return f"{OPEN_DOC_ROOM}{doctype}/{docname}"


def task_room(task_id: str) -> str:
	"""Return the room of the subscribers of one background task."""
	return f"{TASK_ROOM}{task_id}"


def presence_room(place: str) -> str:
	"""Return the room of the sockets that are members of a place."""
	return f"{PRESENCE_ROOM}{place}"


def shared_room(doctype: str, docname: str) -> str:
	"""Return the room of the sockets that follow a document that is edited together."""
	return f"{SHARED_ROOM}{doc_room(doctype, docname)}"


def shared_write_room(doctype: str, docname: str) -> str:
	"""Return the room of those of them that may change it."""
	return f"{SHARED_WRITE_ROOM}{doc_room(doctype, docname)}"


def shared_field_room(doctype: str, docname: str, field: str) -> str:
	"""Return the room of those of them that follow one field."""
	return f"{SHARED_FIELD_ROOM}{field}:{doc_room(doctype, docname)}"


def topic_room(topic: str, doctype: str, docname: str | int | None = None) -> str:
	"""Return a room of an app about a document, or about a DocType as a whole.

	A handler lets a socket join it as any other room. The socket leaves it when its user has no read permission any more, or the
	document is deleted or renamed.

	Args:
		topic: Tells the rooms about one document apart; no colon is allowed in it.
		doctype: The DocType.
		docname: The document; None, or an empty string, for the DocType.

	Raises:
		ValueError: The topic is no string, is empty or contains a colon, or there is no DocType.
	"""
	if not isinstance(topic, str) or not topic or ":" in topic:
		raise ValueError(f"{topic!r} is not a topic: it must be a string without a colon, such as 'chat'")
	if not doctype:
		raise ValueError(f"the topic {topic!r} has no room without a DocType")
	about = doctype_room(doctype) if docname in (None, "") else doc_room(doctype, str(docname))
	return f"{TOPIC_ROOM}{topic}:{about}"


def document_rooms(doctype: str, docname: str) -> tuple[str, ...]:
	"""Return all rooms that are joined with a permission on one document, but those of topics."""
	room = doc_room(doctype, docname)
	return (
		room,
		open_doc_room(doctype, docname),
		presence_room(room),
		shared_room(doctype, docname),
		shared_write_room(doctype, docname),
	)


def room_subject(room: str) -> tuple[str, str] | None:
	"""Return what a room is about: DocType and document name, which is empty for the DocType as a whole.

	Returns:
		None for a room that is joined without a permission.
	"""
	if room.startswith((*_PERMISSION_PLACES, *_SHARED_DOCUMENTS)):
		room = room.partition(":")[2]
	elif room.startswith(TOPIC_ROOM):
		room = room.removeprefix(TOPIC_ROOM).partition(":")[2]
	if room.startswith((DOC_ROOM, OPEN_DOC_ROOM)):
		doctype, _, name = room.partition(":")[2].partition("/")
		return (doctype, name) if doctype and name else None
	if room.startswith(DOCTYPE_ROOM):
		doctype = room.removeprefix(DOCTYPE_ROOM)
		return (doctype, "") if doctype else None
	return None


def room_permission(room: str) -> tuple[str, str, str] | None:
	"""Return the permission with which a room is joined: DocType, document name (see `room_subject`) and Frappe's name of it.

	Returns:
		None for a room that is joined without a permission.
	"""
	subject = room_subject(room)
	return subject and (*subject, "write" if room.startswith(SHARED_WRITE_ROOM) else "read")
