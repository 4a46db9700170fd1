"""Answers pages of the Desk: who has the documents of a list open."""

from __future__ import annotations

from typing import Any

import frappe

from .boot import DESK_COLLABORATION
from .contract.presence import MAX_ASKED_PLACES
from .errors import PresenceRefused, SidecarUnavailable
from .handlers.presence import place_of
from .members import users_of_places
from .permissions.arguments import parse_list, parse_question, raise_malformed
from .permissions.endpoints import has_permissions


@frappe.whitelist()
def members_of_documents(doctype: Any = None, names: Any = None) -> dict[str, Any]:
	"""Return who is in documents of a DocType, for those that the session user may read.

	Args:
		doctype: The DocType.
		names: Names of documents, as a list or as JSON.

	Returns:
		By name, for each document with members: `users`, of which each has `user` and `full_name`, and `count`, the number of all
		users. Nothing if the site has not set `realtime_desk_collaboration`, or if no sidecar answers.

	Raises:
		frappe.ValidationError: The arguments are malformed, or there are more than `MAX_ASKED_PLACES` names.
	"""
	# A list asks for as long as it is open, used or not: that does not extend the session.
	frappe.flags.read_only = True
	documents = [parse_question([doctype, name]) for name in parse_list(names, "names", MAX_ASKED_PLACES)]
	if not documents or not frappe.conf.get(DESK_COLLABORATION):
		return {}
	places = {place_of(doctype, name, None): (doctype, name, ptype) for doctype, name, ptype in documents}
	try:
		found = users_of_places(list(places))
	except SidecarUnavailable:
		return {}
	except PresenceRefused as refused:
		raise_malformed(str(refused))
	questions = [places[place] for place in found]
	allowed = has_permissions([list(question) for question in questions]) if questions else []
	return {
		name: members
		for (_, name, _), members, is_allowed in zip(questions, found.values(), allowed, strict=True)
		if is_allowed
	}
