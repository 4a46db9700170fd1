"""The room functions of `frappe.realtime`, for handlers files, without importing Frappe."""

from __future__ import annotations

from ..contract.rooms import SITE_ROOM, WEBSITE_ROOM, doc_room, doctype_room, task_room, user_room

get_doctype_room = doctype_room
get_doc_room = doc_room
get_user_room = user_room
get_task_progress_room = task_room


def get_site_room() -> str:
	"""Return the room of all System Users."""
	return SITE_ROOM


def get_website_room() -> str:
	"""Return the room of all sockets of the site, including those of Guests."""
	return WEBSITE_ROOM
