"""Adds the realtime settings to the boot data of pages."""

from __future__ import annotations

from typing import Any

import frappe

WEBSOCKET_ONLY = "realtime_websocket_only"
DESK_COLLABORATION = "realtime_desk_collaboration"


def extend_bootinfo(bootinfo: Any) -> None:
	"""Add the settings of the Desk to its `frappe.boot`, each as 1 if it is set. A hook."""
	for key in (WEBSOCKET_ONLY, DESK_COLLABORATION):
		if frappe.conf.get(key):
			bootinfo[key] = 1


def update_website_context(context: Any) -> None:
	"""Add `realtime_websocket_only: 1` to `frappe.boot` of a website page, if it is set. A hook."""
	if frappe.conf.get(WEBSOCKET_ONLY) and "boot" in context:
		context["boot"][WEBSOCKET_ONLY] = 1
