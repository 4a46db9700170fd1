"""What installing and uninstalling the app on a site does beside what Frappe does itself."""

from __future__ import annotations

from contextlib import suppress

import click
import frappe

from .connection import queue_connector


def after_install() -> None:
	"""Say how the server comes into place; nothing is changed behind anybody's back."""
	click.echo(
		"frappe_realtime: run `bench realtime setup` to put its server in the Node server's place "
		"(`bench realtime setup --undo` goes back)"
	)


def after_uninstall() -> None:
	"""Remove what the site has in Redis: its history of events and of tasks; without Redis it expires by itself."""
	with suppress(Exception):
		site = f"frappe_realtime:{frappe.local.site}"
		queue_connector(frappe.conf)(1.0).delete(
			f"{site}:events", f"{site}:last", f"{site}:tasks", f"{site}:taskslast"
		)
