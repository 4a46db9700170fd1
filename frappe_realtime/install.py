"""The app on a site: whether it is installed, and the hooks that run after installing and uninstalling it."""

from __future__ import annotations

from contextlib import suppress

import click
import frappe

from .contract import events_key, last_key, tasks_key
from .publishing.connection import queue_connector
from .publishing.jobs import is_job_timeout

APP = "frappe_realtime"

_last_answers: dict[str, bool] = {}
"""The last answer for each site, used while there is no database to ask."""


def is_installed() -> bool:
	"""Return whether the app is installed on the current site.

	The database is asked once in each request, job or command. Without a database, or when it fails, the last answer of
	this process counts, and False if there is none.
	"""
	site = getattr(frappe.local, "site", None)
	if not site:
		return False
	answer = getattr(frappe.local, "frappe_realtime_installed", None)
	if answer is None or answer[0] != site:
		if not getattr(frappe.local, "db", None) or frappe.flags.in_install_db:
			return _last_answers.get(site, False)
		try:
			answer = (site, APP in frappe.get_installed_apps())
		except Exception as error:
			if is_job_timeout(error):
				raise
			return _last_answers.get(site, False)
		frappe.local.frappe_realtime_installed = answer
		_last_answers[site] = answer[1]
	return answer[1]


def after_install() -> None:
	"""Print how to start the server. Installing changes no process of the bench. A hook."""
	click.echo(
		"frappe_realtime: run `bench realtime setup` to replace the Node server "
		"(`bench realtime setup --undo` restores it)"
	)


def after_uninstall() -> None:
	"""Delete the site's history of events and tasks from Redis. A hook. If Redis is away, the keys expire."""
	with suppress(Exception):
		site = frappe.local.site
		streams = (events_key(site), tasks_key(site))
		queue_connector(frappe.conf)(1.0).delete(*streams, *[last_key(stream) for stream in streams])
