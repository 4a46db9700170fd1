"""The hooks that run after the app was installed on a site, and after it was uninstalled."""

from __future__ import annotations

from contextlib import suppress

import click
import frappe

from .contract import events_key, last_key, latest_key, order_key, tasks_key
from .publishing.connection import queue_connector


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
		latest = (latest_key(site), f"{latest_key(site)}_ids", order_key(site))
		keys = (*streams, *[last_key(stream) for stream in streams], *latest)
		queue_connector(frappe.conf)(1.0).delete(*keys)
