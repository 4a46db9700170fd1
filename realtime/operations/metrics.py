"""The metrics of the sidecar, for Prometheus.

This module imports prometheus_client, so it is imported with the first request for `/metrics`. Nothing is counted with
prometheus_client: the parts of the server keep plain numbers, which are read here when Prometheus asks for them.
"""

from __future__ import annotations

import platform
from collections.abc import Collection, Iterable, Iterator, Sequence

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from frappe_realtime import __version__
from frappe_realtime.contract.http import METHOD_PREFIX

from ..bus.outages import OutageReport
from ..server import RealtimeServer
from ..workers.counters import Family
from .metric_kinds import PREFIX, counter, counters, gauge, gauges, histograms
from .process_metrics import forwarding, publishers, sidecars, workers


def families(
	server: RealtimeServer, outages: Sequence[OutageReport], workers: Collection[str]
) -> list[Family]:
	"""Return the metrics of this process.

	Args:
		server: The running server.
		outages: What publishing processes reported in the last 24 hours.
		workers: The names of the other workers of the host.
	"""
	registry = CollectorRegistry()
	ProcessCollector(registry=registry)
	registry.register(ServerCollector(server, outages, workers))
	return [
		(
			family.name,
			family.documentation,
			family.type,
			[(sample.name, dict(sample.labels), sample.value) for sample in family.samples],
		)
		for family in registry.collect()
	]


def render(merged: Iterable[Family]) -> bytes:
	"""Return metrics in the text format of Prometheus, version 0.0.4; docs/operations.md lists them."""
	registry = CollectorRegistry()
	registry.register(_Families(merged))
	return generate_latest(registry)


class _Families(Collector):
	"""Metrics that are known already."""

	def __init__(self, merged: Iterable[Family]) -> None:
		self._merged = list(merged)

	def collect(self) -> Iterator[Metric]:
		"""Return the metrics."""
		for name, description, kind, samples in self._merged:
			metric = Metric(name, description, kind)
			for sample, labels, value in samples:
				metric.add_sample(sample, labels, value)
			yield metric


class ServerCollector(Collector):
	"""Reads the numbers of the server and of the outage reports."""

	def __init__(
		self, server: RealtimeServer, outages: Sequence[OutageReport], workers: Collection[str]
	) -> None:
		self._server = server
		self._outages = outages
		self._workers = workers

	def collect(self) -> Iterator[Metric]:
		"""Return the metrics."""
		server = self._server
		yield _build_info()
		yield from _connections(server)
		yield from _events(server)
		yield from _web_process(server)
		yield from _handlers(server)
		yield from _presence(server)
		yield from _shared_editing(server)
		yield from _access(server)
		yield from sidecars(server, self._workers)
		yield from workers(server)
		yield from forwarding(server)
		yield from publishers(self._outages)


def _build_info() -> Metric:
	family = GaugeMetricFamily(PREFIX + "build_info", "Always 1", labels=["version", "python"])
	family.add_metric([__version__, platform.python_version()], 1)
	return family


def _connections(server: RealtimeServer) -> Iterator[Metric]:
	engine, sockets = server.engine.counters, server.socketio.counters
	transports = {"websocket": 0, "polling": 0}
	for connection in server.engine.connections.values():
		transports[connection.transport_name] += 1
	yield gauges("connections", "Engine.IO connections, by transport", "transport", transports.items())
	yield gauges(
		"sockets",
		"Sockets, by site",
		"site",
		(
			(name.removeprefix("/") or "/", len(namespace.sockets))
			for name, namespace in server.namespaces.items()
		),
	)
	rooms = sum(len(namespace.rooms) for namespace in server.namespaces.values())
	yield gauge("rooms", "Rooms with at least one socket", rooms)
	yield counter("handshakes_total", "Connections opened", engine.handshakes)
	yield counter("upgrades_total", "Upgrades from polling to WebSocket", engine.upgrades)
	yield counters(
		"requests_refused_total", "Requests that Engine.IO refused, by its message", "reason", engine.refused
	)
	yield counter(
		"slow_clients_total", "Connections closed because the client did not read", engine.slow_clients
	)
	yield counter(
		"clients_without_address_total",
		"Connections for which no proxy names the client's address",
		server.limits.without_address,
	)
	yield counter("connects_total", "Sockets admitted to a namespace", sockets.connects)
	yield counters("connects_refused_total", "Sockets refused with CONNECT_ERROR", "reason", sockets.refused)
	yield histograms(
		"connect_seconds",
		"From the handshake of a connection to the answer to its first CONNECT packet, by result",
		["result"],
		[(["accepted"], sockets.accepted_latency), (["refused"], sockets.refused_latency)],
	)
	yield counter("invalid_packets_total", "Connections closed for an invalid packet", sockets.invalid)


def _events(server: RealtimeServer) -> Iterator[Metric]:
	recovery, filter = server.recovery.recovery.counters, server.access.list_updates
	joiner = server.access.joiner
	yield gauge(
		"subscribed", "1 while the sidecar is subscribed to Redis, else 0", server.subscriber.connected
	)
	yield counter("bus_messages_total", "Messages read from Redis", server.subscriber.received)
	yield counter("bus_invalid_total", "Messages from Redis that were not events", server.subscriber.invalid)
	yield counter("deliveries_total", "Events written to sockets", server.fanout.deliveries)
	yield histograms(
		"publish_to_write_seconds",
		"From the publication of an event, by the clock of Redis, to its write to the sockets of a room",
		[],
		[([], server.fanout.latency)],
	)
	yield counter("client_events_total", "Events received from clients", server.socketio.counters.events)
	yield counter("recovered_total", "Clients that recovered their session", recovery.recovered)
	yield counter(
		"recovery_refused_total",
		"Clients that got a new session in place of the one that they asked for",
		recovery.refused,
	)
	yield counter("replayed_total", "Missed events sent to clients that recovered", recovery.replayed)
	yield counter(
		"replayed_bytes_total",
		"Bytes of missed events sent to clients that recovered",
		recovery.replayed_bytes,
	)
	rewound = server.recovery.rewind.events
	yield counter(
		"rewound_total", "Earlier events sent to clients that asked for earlier events of a room", rewound
	)
	yield gauge(
		"history_window_bytes",
		"Memory of the recent events that are kept for clients that recover",
		server.recovery.history.window_bytes,
	)
	yield gauge("list_updates_waiting", "list_update events that wait for a permission", filter.pending)
	yield gauge("list_updates_held", "list_update events that wait for the end of a window", joiner.held)
	yield counter(
		"list_updates_joined_total",
		"list_update events that a later one of the same document has replaced",
		joiner.joined,
	)
	yield counter(
		"list_updates_left_out_total",
		"list_update events left out because more documents had changed than are named in one second",
		joiner.left_out,
	)
	yield counter(
		"names_withheld_total", "list_update events sent without the document's name", filter.names_removed
	)
	yield counter(
		"names_unasked_total",
		"list_update events sent without a query of their readers: too many were pending, or the web process was unavailable",
		filter.queries_skipped,
	)


def _web_process(server: RealtimeServer) -> Iterator[Metric]:
	web = server.backends.web
	yield gauge(
		"web_away",
		"1 while the web process does not answer, or does not serve some site, else 0",
		web.unavailable,
	)
	yield counter("web_requests_total", "Requests to the web process", web.requests)
	yield histograms(
		"web_request_seconds",
		"From a request to the web process to its response or timeout, by endpoint",
		["endpoint"],
		[([_endpoint(path)], histogram) for path, histogram in web.latencies.items()],
	)
	for name, cache in (
		("sessions", server.access.authenticator.sessions),
		("permissions", server.access.permissions.answers),
	):
		yield counter(f"{name}_asked_total", f"Lookups of {name} that asked the web process", cache.misses)
		yield counter(
			f"{name}_shared_total", f"Lookups of {name} answered by another worker of the host", cache.shared
		)
		yield counter(f"{name}_known_total", f"Lookups of {name} answered from the cache", cache.hits)
		yield gauge(f"{name}_kept", f"Entries in the cache of {name}", len(cache))


def _endpoint(path: str) -> str:
	return path.removeprefix(METHOD_PREFIX).removeprefix("/api/method/")


def _handlers(server: RealtimeServer) -> Iterator[Metric]:
	by_language = {
		"python": server.handlers.python.apps.latencies(),
		"javascript": server.handlers.javascript.latencies,
	}
	yield histograms(
		"handler_seconds",
		"From the start of an app's handlers for one event to their end, by app and language",
		["app", "language"],
		[
			([app, language], latency)
			for language, latencies in by_language.items()
			for app, latency in latencies.items()
		],
	)


def _presence(server: RealtimeServer) -> Iterator[Metric]:
	table, sender = server.presence.table, server.presence.sender
	yield gauge("presence_places", "Places with members, on all sidecars", table.places())
	yield gauge("presence_members", "Members of places, of this sidecar", table.local_count)
	yield gauge(
		"presence_remote_members", "Members of places and users online, of other sidecars", table.remote_count
	)
	yield gauges(
		"online_users",
		"Users with a socket on any sidecar, by site",
		"site",
		((name[1:], server.presence.online.count(name)) for name in server.namespaces if name != "/"),
	)
	yield counter(
		"online_reported_total",
		"Users whose coming or going this sidecar has reported to the hooks of apps",
		server.online_reporter.reported,
	)
	yield counter(
		"presence_questions_total",
		"Questions of Frappe's processes that were answered",
		server.questions.answered,
	)
	yield counter(
		"presence_questions_dropped_total",
		"Questions that were not answered: too many at once, or Redis did not take the answer",
		server.questions.dropped,
	)
	yield counter(
		"presence_changes_total",
		"Joins and changes of members of this sidecar",
		server.presence.members.changes,
	)
	yield counter(
		"presence_messages_total",
		"Messages about members and viewers, at most one for each place and interval",
		sender.messages,
	)
	yield counter(
		"presence_writes_total",
		"Sockets to which messages about members and viewers were written",
		sender.writes,
	)
	yield counter(
		"presence_delayed_total",
		"Times that a place had to wait for realtime_presence_writes_per_second",
		sender.delayed,
	)


def _shared_editing(server: RealtimeServer) -> Iterator[Metric]:
	shared = server.shared
	yield gauge(
		"shared_followers",
		"Documents that the clients of this sidecar edit together, counted for each client",
		shared.members.count,
	)
	yield counter("shared_updates_total", "Changes of shared documents passed on", shared.events.updates)
	yield counter(
		"shared_update_bytes_total",
		"Bytes of the changes of shared documents passed on, each counted once",
		shared.events.update_bytes,
	)
	yield counter(
		"shared_answers_total",
		"Answers of clients to others that lacked a part of a document",
		shared.events.answers,
	)
	states, storage = shared.states, shared.storage
	yield counter(
		"shared_state_reads_total",
		"States of shared documents that were read for clients",
		states.reads if states else 0,
	)
	yield counter(
		"shared_stored_total",
		"States of shared documents that were handed to apps",
		storage.stored if storage else 0,
	)
	yield counter(
		"shared_store_failures_total",
		"Times that an app did not take the state of a shared document",
		storage.failed if storage else 0,
	)


def _access(server: RealtimeServer) -> Iterator[Metric]:
	revalidator, engine = server.access.revalidator, server.engine.counters
	yield counters(
		"access_messages_total",
		"Changes of access that the app announced, by kind",
		"kind",
		server.access.invalidator.messages,
	)
	yield gauge("recheck_waiting", "Sessions and users that wait for revalidation", revalidator.pending)
	yield counter(
		"sessions_ended_total", "Sockets disconnected because their session ended", revalidator.sockets_ended
	)
	yield counter("rooms_withdrawn_total", "Rooms that sockets had to leave", revalidator.rooms_withdrawn)
	yield counter(
		"tasks_refused_total", "Refused subscriptions to background tasks", server.access.tasks.refused
	)
	yield gauge("watchers", "Clients that watch their site", len(server.monitor.watchers))
	limits = {
		**server.limits.reached,
		**(server.handlers.python.executor.counters.dropped + server.handlers.javascript.limits_reached),
		"realtime_max_payload": engine.too_large,
		"realtime_max_packets": engine.too_many_packets,
		"realtime_frames_per_second": engine.too_many_frames,
		"realtime_max_unsent": engine.slow_clients,
	}
	yield counters("limit_reached_total", "Times that a limit was reached, by its key", "limit", limits)
