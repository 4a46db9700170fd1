"""The hooks that run after the app was installed on a site, and after it was uninstalled."""

from __future__ import annotations

import json
from contextlib import suppress

import click
import frappe

from .contract.access import SITE_CHANGED
from .contract.channels import ACCESS_CHANNEL
from .contract.redis_keys import (
	ONLINE_SITES_KEY,
	access_key,
	events_key,
	last_key,
	latest_key,
	online_key,
	order_key,
	tasks_key,
	unconfirmed_key,
)
from .publishing.connection import queue_connector
from .publishing.installed import APP


def after_install() -> None:
	"""Print how to start the server. Installing changes no process of the bench. A hook."""
	click.echo(
		"frappe_realtime: run `bench realtime setup` to replace the Node server "
		"(`bench realtime setup --undo` restores it)"
	)


def after_uninstall() -> None:
	"""Delete what Redis has of the site, and announce a change of access. A hook.

	The sessions of clients, and the states of shared documents, expire. If Redis is away, the histories expire too; the lists of online
	users stay, and the sidecar calls the endpoint of a site that has none.
	"""
	with suppress(Exception):
		# Frappe runs the hook after a dry run too.
		if APP in frappe.get_installed_apps():
			return
		site = frappe.local.site
		streams = (events_key(site), tasks_key(site), access_key(site))
		latest = (latest_key(site), f"{latest_key(site)}_ids", order_key(site))
		keys = (*streams, *[last_key(stream) for stream in streams], *latest)
		redis = queue_connector(frappe.conf)(1.0)
		redis.delete(*keys, online_key(site), unconfirmed_key(site))
		redis.srem(ONLINE_SITES_KEY, site)
		# Only published, as the stream is gone: the sidecars ask about all sockets, and check them as often as without the app.
		redis.publish(ACCESS_CHANNEL, json.dumps({"site": site, "kind": SITE_CHANGED}))
