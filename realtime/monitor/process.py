"""What this process knows about itself and about its sites; `merge` puts the parts of all processes together."""

from __future__ import annotations

import os
from collections.abc import Iterable
from heapq import nlargest
from socket import gethostname
from time import time
from typing import Any, NamedTuple

from frappe_realtime import __version__
from frappe_realtime.contract.rooms import USER_ROOM, user_room
from frappe_realtime.contract.users import GUEST

from ..bus.subscription import EventSubscriber
from ..engine import Engine
from ..socketio.client import Client
from ..socketio.namespace import Namespace, Namespaces
from ..web.frappe_client import FrappeClient
from .collector import Activity, ActivityCollector
from .incidents import Incidents
from .sampler import NO_SOCKETS, Sampler, Traffic, memory

MAX_LISTED_USERS = 10
"""Users of a room that are named, so that a user with sockets on several sidecars is counted once."""

Part = dict[str, Any]
"""What one process sends to the one that merges, as JSON; `ProcessMonitor.site_part` describes it."""


class Detail(NamedTuple):
	"""How many entries of each list a part has at most."""

	users: int
	rooms: int
	events: int
	incidents: int


SITE_DETAIL = Detail(users=1000, rooms=200, events=300, incidents=50)
"""For the page of one site."""

BENCH_DETAIL = Detail(users=200, rooms=0, events=20, incidents=20)
"""For all sites of the bench, on the terminal."""


class ProcessMonitor:
	"""Describes this process.

	Args:
		id: The id of this process in the cluster.
		namespaces: The sockets.
		engine: The connections.
		web: The state of the web process.
		subscriber: The state of Redis.
		sampler: Rates, latencies and samples.
		collector: Events and handlers of watched sites.
		incidents: Incidents.
	"""

	def __init__(
		self,
		id: str,
		namespaces: Namespaces,
		engine: Engine,
		web: FrappeClient,
		subscriber: EventSubscriber,
		sampler: Sampler,
		collector: ActivityCollector,
		incidents: Incidents,
	) -> None:
		self.id = id
		self._started = time()
		self._host = gethostname()
		self._namespaces = namespaces
		self._engine = engine
		self._web = web
		self._subscriber = subscriber
		self._sampler = sampler
		self._collector = collector
		self._incidents = incidents

	def site_part(self, site: str) -> Part:
		"""Return the part of one site, and collect its events for the next seconds.

		Returns:
			`{"process", "latency", "sites": {site: …}, "incidents"}`. `process` is as in a snapshot, `latency` has the counts of
			the histogram, `incidents` is as `Incidents.of` returns it. A site has `sockets`, `websocket`, `guests`, `rates`
			(published, emitted, deliveries, client_events), `users` (name, sockets) and `hidden_users`, `rooms` (name,
			sockets, some users, number of further users) and `hidden_rooms`, `events` and `handlers`.
		"""
		return self._part([site], SITE_DETAIL, site)

	def bench_part(self) -> Part:
		"""Return the part of all sites, in less detail, and collect their events for the next seconds."""
		return self._part([name[1:] for name in self._namespaces if name != "/"], BENCH_DETAIL, None)

	def history(self, site: str) -> list[list[float]]:
		"""Return the samples of a site, the oldest first.

		Returns:
			Each as `[time, sockets, published, emitted, deliveries, p50, p99, memory]`, latencies in seconds.
		"""
		return [
			[
				sample.time,
				*sample.sites.get(site, NO_SOCKETS),
				sample.p50,
				sample.p99,
				sample.memory,
			]
			for sample in self._sampler.samples
		]

	def _part(self, sites: Iterable[str], detail: Detail, only: str | None) -> Part:
		cpu, rates = self._sampler.rates()
		parts = {
			site: self._site(namespace, rates.get(site, Traffic()), self._collector.watch(site), detail)
			for site in sites
			if (namespace := self._namespaces.get(f"/{site}")) is not None
		}
		return {
			"process": {
				"id": self.id,
				"host": self._host,
				"pid": os.getpid(),
				"version": __version__,
				"started": self._started,
				"sockets": sum(part["sockets"] for part in parts.values()),
				"memory": memory(),
				"cpu": round(cpu, 4),
				"redis": "ok" if self._subscriber.connected else self._subscriber.reason,
				"web": (self._web.outage(only) if only else self._web.any_outage()) or "ok",
				"clients_waiting": self._clients_waiting(only),
			},
			"latency": self._sampler.latency(),
			"sites": parts,
			"incidents": self._incidents.of(only, detail.incidents),
		}

	def _clients_waiting(self, site: str | None) -> int:
		"""Return the number of clients that wait for the decision to admit them."""
		clients: Iterable[Client | None] = [one.data for one in self._engine.connections.values()]
		waiting = [name for client in clients if client and client.connecting for name in client.connecting]
		return len(waiting) if site is None else waiting.count(f"/{site}")

	@staticmethod
	def _site(namespace: Namespace, rates: Traffic, activity: Activity, detail: Detail) -> dict[str, Any]:
		user_rooms = [
			(len(members), room) for room, members in namespace.rooms.items() if room.startswith(USER_ROOM)
		]
		rooms = [
			(len(members), room)
			for room, members in namespace.rooms.items()
			if not room.startswith(USER_ROOM)
		]
		users = [[room.removeprefix(USER_ROOM), count] for count, room in nlargest(detail.users, user_rooms)]
		listed = nlargest(detail.rooms, rooms)
		websocket = sum(
			socket.connection.transport_name == "websocket" for socket in namespace.sockets.values()
		)
		events = nlargest(
			detail.events, activity.events.items(), key=lambda one: one[1].published + one[1].emitted
		)
		return {
			"sockets": len(namespace.sockets),
			"websocket": websocket,
			"guests": len(namespace.rooms.members(user_room(GUEST))),
			"users": users,
			"hidden_users": len(user_rooms) - len(users),
			"rooms": [_room(namespace, room) for _, room in listed],
			"hidden_rooms": len(rooms) - len(listed),
			"rates": [round(rate, 3) for rate in rates],
			"events": [
				[
					name,
					count.published,
					count.emitted,
					count.published_bytes,
					count.emitted_bytes,
					count.deliveries,
					count.to_all,
				]
				for name, count in events
			],
			"handlers": [
				[app, event, count.calls, round(count.seconds, 6), count.errors, count.last_error]
				for (app, event), count in activity.handlers.items()
			],
		}


def _room(namespace: Namespace, room: str) -> list[Any]:
	members = namespace.members(room)
	users = sorted({socket.session.user for socket in members})
	return [room, len(members), users[:MAX_LISTED_USERS], max(0, len(users) - MAX_LISTED_USERS)]
