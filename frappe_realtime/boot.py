"""What pages are told about realtime when they are loaded."""

from __future__ import annotations

from typing import Any

import frappe

WEBSOCKET_ONLY = "realtime_websocket_only"


def extend_bootinfo(bootinfo: Any) -> None:
	"""Add to `frappe.boot` of the Desk."""
	if frappe.conf.get(WEBSOCKET_ONLY):
		bootinfo[WEBSOCKET_ONLY] = 1


def update_website_context(context: Any) -> None:
	"""Add to `frappe.boot` of a website page."""
	if frappe.conf.get(WEBSOCKET_ONLY) and "boot" in context:
		context["boot"][WEBSOCKET_ONLY] = 1
