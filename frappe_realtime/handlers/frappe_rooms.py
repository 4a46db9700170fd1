"""Names of rooms under the names that `frappe.realtime` gives them, for handlers files; free of imports of Frappe."""

from __future__ import annotations

from ..contract import SITE_ROOM, WEBSITE_ROOM, doc_room, doctype_room, task_room, user_room

get_doctype_room = doctype_room
get_doc_room = doc_room
get_user_room = user_room
get_task_progress_room = task_room


def get_site_room() -> str:
	"""The room of all System Users."""
	return SITE_ROOM


def get_website_room() -> str:
	"""The room of all sockets."""
	return WEBSITE_ROOM
