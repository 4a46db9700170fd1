"""The metrics of the sidecar, for Prometheus.

This module imports prometheus_client, so it is imported with the first request for `/metrics`. Nothing is counted with
prometheus_client: the parts of the server keep plain numbers, which are read here when Prometheus asks for them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from ..bus.store import Outage
from ..server import RealtimeServer

PREFIX = "frappe_realtime_"


def render(server: RealtimeServer, outages: Sequence[Outage]) -> bytes:
	"""Return all metrics in the text format of Prometheus, version 0.0.4; docs/operations.md lists them.

	Args:
		server: The running server.
		outages: What publishing processes reported in the last 24 hours.
	"""
	registry = CollectorRegistry()
	ProcessCollector(registry=registry)
	registry.register(ServerCollector(server, outages))
	return generate_latest(registry)


class ServerCollector(Collector):
	"""Reads the numbers of the server and of the outage reports."""

	def __init__(self, server: RealtimeServer, outages: Sequence[Outage]) -> None:
		self._server = server
		self._outages = outages

	def collect(self) -> Iterator[Metric]:
		"""Return the metrics; the name of a counter is given without `_total`, which prometheus_client adds."""
		server = self._server
		yield from _connections(server)
		yield from _events(server)
		yield from _web_process(server)
		yield from _access(server)
		yield from _sidecars(server)
		yield from _publishers(self._outages)


def _counter(name: str, help: str, value: float) -> Metric:
	return CounterMetricFamily(PREFIX + name, help, value)


def _gauge(name: str, help: str, value: float) -> Metric:
	return GaugeMetricFamily(PREFIX + name, help, value)


def _counters(name: str, help: str, label: str, values: Mapping[str, float]) -> Metric:
	family = CounterMetricFamily(PREFIX + name, help, labels=[label])
	for key, value in values.items():
		family.add_metric([key], value)
	return family


def _gauges(name: str, help: str, label: str, values: Iterable[tuple[str, float]]) -> Metric:
	family = GaugeMetricFamily(PREFIX + name, help, labels=[label])
	for key, value in values:
		family.add_metric([key], value)
	return family


def _connections(server: RealtimeServer) -> Iterator[Metric]:
	engine, sockets = server.engine.counters, server.socketio.counters
	transports = {"websocket": 0, "polling": 0}
	for connection in server.engine.connections.values():
		transports[connection.transport_name] += 1
	yield _gauges("connections", "Engine.IO connections, by transport", "transport", transports.items())
	yield _gauges(
		"sockets",
		"Sockets, by site",
		"site",
		(
			(name.removeprefix("/") or "/", len(namespace.sockets))
			for name, namespace in server.namespaces.items()
		),
	)
	rooms = sum(len(namespace.rooms) for namespace in server.namespaces.values())
	yield _gauge("rooms", "Rooms with at least one socket", rooms)
	yield _counter("handshakes", "Connections opened", engine.handshakes)
	yield _counter("upgrades", "Upgrades from polling to WebSocket", engine.upgrades)
	yield _counter("requests_refused", "Requests that Engine.IO refused", engine.refused)
	yield _counter("slow_clients", "Connections closed because the client did not read", engine.slow_clients)
	yield _counter("connects", "Sockets admitted to a namespace", sockets.connects)
	yield _counter("connects_refused", "Sockets refused with CONNECT_ERROR", sockets.refused)
	yield _counter("invalid_packets", "Connections closed for an invalid packet", sockets.invalid)


def _events(server: RealtimeServer) -> Iterator[Metric]:
	recovery, filter = server.recovery.recovery.counters, server.access.list_updates
	yield _gauge(
		"subscribed", "1 while the sidecar is subscribed to Redis, else 0", server.subscriber.connected
	)
	yield _counter("bus_messages", "Messages read from Redis", server.subscriber.received)
	yield _counter("bus_invalid", "Messages from Redis that were not events", server.subscriber.invalid)
	yield _counter("deliveries", "Events written to sockets", server.fanout.deliveries)
	yield _counter("client_events", "Events received from clients", server.socketio.counters.events)
	yield _counter("recovered", "Clients that recovered their session", recovery.recovered)
	yield _counter("recovery_refused", "Clients that reconnected too late to recover", recovery.refused)
	yield _counter("replayed", "Missed events sent to clients that recovered", recovery.replayed)
	yield _gauge("list_updates_waiting", "list_update events that wait for a permission", filter.waiting)
	yield _counter("names_withheld", "list_update events sent without the document's name", filter.nameless)
	yield _counter(
		"names_unasked",
		"list_update events sent without the name because too many permission queries were pending",
		filter.crowded,
	)


def _web_process(server: RealtimeServer) -> Iterator[Metric]:
	web = server.backends.web
	yield _gauge("web_away", "1 while the web process does not answer, else 0", web.away)
	yield _counter("web_requests", "Requests to the web process", web.calls)
	for name, cache in (
		("sessions", server.access.authenticator.sessions),
		("permissions", server.access.permissions.answers),
	):
		yield _counter(f"{name}_asked", f"Lookups of {name} that asked the web process", cache.misses)
		yield _counter(f"{name}_known", f"Lookups of {name} answered from the cache", cache.hits)
		yield _gauge(f"{name}_kept", f"Entries in the cache of {name}", len(cache))


def _access(server: RealtimeServer) -> Iterator[Metric]:
	revalidator, engine = server.access.revalidator, server.engine.counters
	yield _counters(
		"access_messages",
		"Changes of access that the app announced, by kind",
		"kind",
		server.access.invalidator.told,
	)
	yield _gauge("recheck_waiting", "Sessions and users that wait for revalidation", revalidator.waiting)
	yield _counter("sessions_ended", "Sockets disconnected because their session ended", revalidator.ended)
	yield _counter("rooms_withdrawn", "Rooms that sockets had to leave", revalidator.withdrawn)
	yield _counter("tasks_refused", "Refused subscriptions to background tasks", server.access.tasks.refused)
	limits = {
		**server.limits.reached,
		"realtime_max_payload": engine.too_large,
		"realtime_max_packets": engine.too_many_packets,
		"realtime_max_unsent": engine.slow_clients,
	}
	yield _counters("limit_reached", "Times that a limit was reached, by its key", "limit", limits)


def _sidecars(server: RealtimeServer) -> Iterator[Metric]:
	cluster = server.cluster
	yield _gauge("sidecars", "Other sidecars of the bench that are alive", len(cluster.peers))
	yield _gauge("sidecar_members", "Sockets in rooms on other sidecars", cluster.members.count)
	yield _counter(
		"sidecar_lost", "Messages to other sidecars that Redis did not accept", cluster.publisher.queue.lost
	)
	yield _counters("sidecar_messages", "Messages of other sidecars, by kind", "kind", cluster.received)


def _publishers(outages: Sequence[Outage]) -> Iterator[Metric]:
	yield _gauge("publisher_outages", "Outages that publishing processes reported in 24 hours", len(outages))
	yield _gauge(
		"publisher_dropped_events",
		"Events that publishing processes dropped in these outages",
		sum(outage.dropped for outage in outages),
	)
	yield _gauge(
		"publisher_held_events",
		"The largest number of events that one process held in these outages",
		max((outage.held for outage in outages), default=0),
	)
