"""The method that the monitoring page of the Desk calls: an event to oneself, to measure how long it takes."""

from __future__ import annotations

import frappe

from .contract.monitoring import TEST_EVENT
from .contract.users import SYSTEM_MANAGER
from .publishing.publish import publish_to_user


@frappe.whitelist(methods=["POST"])
def send_test_event(id: str) -> None:
	"""Publish `TEST_EVENT` with `{"id": id}` to the session user, at once.

	Args:
		id: Chosen by the caller, at most 140 characters.

	Raises:
		frappe.PermissionError: The user does not have the role System Manager.
	"""
	frappe.only_for(SYSTEM_MANAGER)
	publish_to_user(frappe.session.user, TEST_EVENT, {"id": str(id)[:140]})
