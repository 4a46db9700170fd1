"""Names of rooms and channels: the one piece that the web process and the sidecar share, free of imports.

The rooms' names are Frappe's (`frappe.realtime.get_*_room`), since v15 relative to the namespace of the site.
"""

EVENTS_CHANNEL = "events"
"""The Redis channel of all events of the bench; the name is Frappe's."""

ACCESS_CHANNEL = "frappe_realtime:access"
"""The Redis channel on which sidecars are told who may see less than before (access.py)."""

OUTAGES_KEY = "frappe_realtime:outages"
"""The Redis stream of outage reports, written by processes that could not publish (outbox.py).

Each entry has one field `r`, a JSON object: `host`, `pid`, `since` and `until` (seconds since 1970), `held` (the largest
number of events that waited at one time), `dropped` and `reason`.
"""

SITE_ROOM = "all"
"""Every System User; joined at connect."""

WEBSITE_ROOM = "website"
"""Every socket, Guests too; joined at connect."""


def user_room(user: str) -> str:
	"""The room of all sockets of `user`, for Guests `user:Guest`."""
	return f"user:{user}"


def doctype_room(doctype: str) -> str:
	"""The room of those who look at a list or a form of `doctype`."""
	return f"doctype:{doctype}"


def doc_room(doctype: str, docname: str) -> str:
	"""The room of those who subscribed to one document."""
	return f"doc:{doctype}/{docname}"


def open_doc_room(doctype: str, docname: str) -> str:
	"""The room of those who have the form of one document open; it drives `doc_viewers`."""
	return f"open_doc:{doctype}/{docname}"


def task_room(task_id: str) -> str:
	"""The room of those who follow one background job."""
	return f"task_progress:{task_id}"
