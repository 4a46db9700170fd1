"""Cases of access: questions about permissions, and a revocation."""

from __future__ import annotations

import json
import urllib.request

import redis

from benchmarks.cases.common import Figures, Setup, settle
from frappe_realtime.contract.access import DOCTYPE_RULES_CHANGED
from frappe_realtime.contract.channels import ACCESS_CHANNEL
from frappe_realtime.contract.rooms import doc_room, doctype_room

DOCTYPE = "ToDo"
DOCUMENTS = 5
"""Documents that each client subscribes to, one after the other."""


def permission(setup: Setup) -> Figures:
	"""Measure µs of server CPU per subscription to a document about which the web process has to be asked."""
	if not setup.column.has_permissions:
		return {}
	count = setup.scale.subscribers
	with setup.warm_server() as (server, load):
		load.connect(count)
		settle(server)
		before = server.cpu()
		for number in range(DOCUMENTS):
			for client in load.clients.values():
				load.emit(client, "doc_subscribe", DOCTYPE, f"{client.id}-{number}")
			settle(server)
		cost = (server.cpu() - before) / (count * DOCUMENTS) * 1e6
		publisher = setup.publisher()
		load.reset()
		for client in load.clients.values():
			publisher.publish(publisher.event(doc_room(DOCTYPE, f"{client.id}-{DOCUMENTS - 1}"), 100))
		load.check_count(count)
		return {"permission_us": cost}


def revocation(setup: Setup) -> Figures:
	"""Measure µs of server CPU per socket when the rules of a DocType change that all clients are subscribed to."""
	if not setup.column.has_app:
		return {}
	count = setup.scale.subscribers
	publisher = setup.publisher()
	with setup.warm_server() as (server, load), redis.Redis(port=setup.redis_port) as client:
		load.connect(count)
		for subscriber in load.clients.values():
			load.emit(subscriber, "doctype_subscribe", DOCTYPE)
		settle(server)
		event = publisher.event(doctype_room(DOCTYPE), 100)
		load.reset()
		publisher.publish(event)
		load.check_count(count)
		settle(server)
		_set_permissions(setup, "deny")
		try:
			before = server.cpu()
			change = {"site": setup.site, "kind": DOCTYPE_RULES_CHANGED, "doctype": DOCTYPE}
			client.publish(ACCESS_CHANNEL, json.dumps(change))
			settle(server)
			cost = (server.cpu() - before) / count * 1e6
		finally:
			_set_permissions(setup, "permit")
		load.reset()
		publisher.publish(event)
		load.check_count(0)
		return {"revocation_us": cost}


def _set_permissions(setup: Setup, action: str) -> None:
	"""Let the stand-in for the web process deny or grant all permissions."""
	urllib.request.urlopen(f"http://127.0.0.1:{setup.web_port}/{action}", timeout=10).close()
