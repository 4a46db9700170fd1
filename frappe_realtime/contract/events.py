"""Events that the sidecar emits or answers."""

LIST_UPDATE = "list_update"
"""A document of a DocType has changed (Frappe's name): `{doctype, name, user}` to `doctype_room`."""

DOC_VIEWERS = "doc_viewers"
"""Who has a document open (Frappe's name): `{doctype, docname, users}` to `open_doc_room`."""

LIMIT_REACHED = "limit_reached"
"""The client has met a limit: `{limit, most, message}`; `limit` is the key of the configuration."""

OFFSET_EVENT = "frappe_realtime:offset"
"""Carries nothing but the offset that ends each event to a client that can recover."""

REWIND_EVENT = "frappe_realtime:rewind"
"""From the client: asks for the events of a name in the rooms that every socket of the user joins, `{"event", "rewind"}`.
Acknowledged as a subscription with `rewind` (realtime/handlers/rewinds.py); also in public/js/subscriptions.js."""

DOCTOR_EVENT = "frappe_realtime:doctor"
"""Published by `frappe-realtime doctor` to its own clients; the message is null."""

HANDLERS_ERROR = "realtime_handlers_error"
"""A handlers file does not load: `{app, file, error, traceback}`, to developers; also in public/js/desk.js."""


def is_own_event(event: str) -> bool:
	"""Return True if the name is one of this project's own events, whose handlers answer each of them."""
	return event.startswith("frappe_realtime:")


RESERVED_EVENTS = frozenset(
	{"connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"}
)
"""Events that no side may emit, as in socket.io-parser 4; also in realtime/javascript/node/namespace.js."""
