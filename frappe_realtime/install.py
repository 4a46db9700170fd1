"""Whether the app is installed on a site, and what installing and uninstalling it do beside what Frappe does itself."""

from __future__ import annotations

from contextlib import suppress

import click
import frappe

from .contract import events_key, last_key, tasks_key
from .publishing.connection import queue_connector
from .publishing.process import ends_job

APP = "frappe_realtime"

_known: dict[str, bool] = {}
"""The last answer for each site, for the moments in which there is no database to ask."""


def is_installed() -> bool:
	"""Whether the site of this request, job or command has the app; asked once in each."""
	site = getattr(frappe.local, "site", None)
	if not site:
		return False
	answer = getattr(frappe.local, "frappe_realtime_installed", None)
	if answer is None or answer[0] != site:
		if not getattr(frappe.local, "db", None) or frappe.flags.in_install_db:
			return _known.get(site, False)
		try:
			answer = (site, APP in frappe.get_installed_apps())
		except Exception as error:
			if ends_job(error):
				raise
			return _known.get(site, False)
		frappe.local.frappe_realtime_installed = answer
		_known[site] = answer[1]
	return answer[1]


def after_install() -> None:
	"""Say how the server comes into place; nothing is changed behind anybody's back."""
	click.echo(
		"frappe_realtime: run `bench realtime setup` to put its server in the Node server's place "
		"(`bench realtime setup --undo` goes back)"
	)


def after_uninstall() -> None:
	"""Remove what the site has in Redis: its history of events and of tasks; without Redis it expires by itself."""
	with suppress(Exception):
		site = frappe.local.site
		streams = (events_key(site), tasks_key(site))
		queue_connector(frappe.conf)(1.0).delete(*streams, *[last_key(stream) for stream in streams])
