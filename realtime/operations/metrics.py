"""The numbers of the sidecar, in the text format of Prometheus."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator, Mapping, Sequence

from ..bus.store import Outage
from ..server import RealtimeServer

PREFIX = "frappe_realtime_"

Sample = tuple[Mapping[str, str], float]
Metric = tuple[str, str, str, list[Sample]]


def render(server: RealtimeServer, outages: Sequence[Outage]) -> str:
	"""All metrics of `server`, one line each, under their names in `docs/operations.md`."""
	lines: list[str] = []
	for name, kind, help, samples in (*_metrics(server), *_publishers(outages)):
		full = PREFIX + name
		lines += [f"# HELP {full} {help}", f"# TYPE {full} {kind}"]
		for labels, value in samples:
			inside = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels.items())
			lines.append(f"{full}{{{inside}}} {value:g}" if inside else f"{full} {value:.17g}")
	return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
	return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _counter(name: str, help: str, value: float) -> Metric:
	return name, "counter", help, [({}, value)]


def _gauge(name: str, help: str, value: float) -> Metric:
	return name, "gauge", help, [({}, value)]


def _metrics(server: RealtimeServer) -> Iterator[Metric]:
	yield from _process(server)
	yield from _connections(server)
	yield from _events(server)
	yield from _web(server)
	yield from _access(server)
	yield from _sidecars(server)


def _publishers(outages: Sequence[Outage]) -> Iterator[Metric]:
	yield _gauge("publisher_outages", "Outages that publishing processes reported in 24 h", len(outages))
	yield _gauge(
		"publisher_dropped_events",
		"Events that publishing processes dropped in these outages",
		sum(outage.dropped for outage in outages),
	)
	yield _gauge(
		"publisher_held_events",
		"The largest number of events that one process held back in these outages",
		max((outage.held for outage in outages), default=0),
	)


def _process(server: RealtimeServer) -> Iterator[Metric]:
	usage = resource.getrusage(resource.RUSAGE_SELF)
	yield _counter("cpu_seconds_total", "CPU time of this process", usage.ru_utime + usage.ru_stime)
	yield _gauge("memory_bytes", "Resident memory of this process", _resident())


def _resident() -> float:
	try:
		with open("/proc/self/statm") as file:
			return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
	except (OSError, IndexError, ValueError):
		return 0.0


def _connections(server: RealtimeServer) -> Iterator[Metric]:
	engine, sockets = server.engine, server.socketio
	transports = {"websocket": 0, "polling": 0}
	for connection in engine.connections.values():
		transports[connection.transport_name] += 1
	yield (
		"connections",
		"gauge",
		"Connections by their transport",
		[({"transport": name}, count) for name, count in transports.items()],
	)
	yield (
		"sockets",
		"gauge",
		"Sockets by their site",
		[
			({"site": name.removeprefix("/") or "/"}, len(namespace.sockets))
			for name, namespace in server.namespaces.items()
		],
	)
	rooms = sum(len(namespace.rooms) for namespace in server.namespaces.values())
	yield _gauge("rooms", "Rooms with a socket in them", rooms)
	yield _counter("handshakes_total", "Connections opened", engine.counters.handshakes)
	yield _counter(
		"upgrades_total", "Connections that went from polling to WebSocket", engine.counters.upgrades
	)
	yield _counter("requests_refused_total", "Requests that Engine.IO refused", engine.counters.refused)
	yield _counter("slow_clients_total", "Clients closed for not reading", engine.counters.slow_clients)
	yield _counter("connects_total", "Sockets let in", sockets.counters.connects)
	yield _counter("connects_refused_total", "Sockets refused by CONNECT_ERROR", sockets.counters.refused)
	yield _counter("invalid_packets_total", "Clients closed for an invalid packet", sockets.counters.invalid)


def _events(server: RealtimeServer) -> Iterator[Metric]:
	recovery = server.recovery.recovery.counters
	yield _gauge("subscribed", "1 while the sidecar is subscribed to Redis", server.subscriber.connected)
	yield _counter("bus_messages_total", "Messages read from Redis", server.subscriber.received)
	yield _counter("bus_invalid_total", "Messages from Redis that were no event", server.subscriber.invalid)
	yield _counter("deliveries_total", "Events written to sockets", server.fanout.deliveries)
	yield _counter("client_events_total", "Events received from clients", server.socketio.counters.events)
	yield _counter("recovered_total", "Clients that came back to their session", recovery.recovered)
	yield _counter("recovery_refused_total", "Clients that came back too late", recovery.refused)
	yield _counter("replayed_total", "Events that clients had missed and were sent", recovery.replayed)
	yield _gauge(
		"list_updates_waiting",
		"list_update events that wait for an answer",
		server.access.list_updates.waiting,
	)
	yield _counter(
		"names_withheld_total", "list_update events sent without a name", server.access.list_updates.nameless
	)
	yield _counter(
		"names_unasked_total",
		"list_update events whose readers were not asked",
		server.access.list_updates.crowded,
	)


def _web(server: RealtimeServer) -> Iterator[Metric]:
	yield _gauge("web_away", "1 while the web process does not answer", server.backends.web.away)
	yield _counter("web_requests_total", "Requests to the web process", server.backends.web.calls)
	for name, answers in (
		("sessions", server.access.authenticator.sessions),
		("permissions", server.access.permissions.answers),
	):
		yield _counter(f"{name}_asked_total", "Questions to the web process", answers.misses)
		yield _counter(f"{name}_known_total", "Questions answered from what was known", answers.hits)
		yield _gauge(f"{name}_kept", "Answers that are kept", len(answers))


def _access(server: RealtimeServer) -> Iterator[Metric]:
	recheck = server.access.revalidator
	yield (
		"access_messages_total",
		"counter",
		"Messages of the app about access, by their kind",
		[({"kind": kind}, count) for kind, count in server.access.invalidator.told.items()],
	)
	yield _gauge("recheck_waiting", "Sessions and users to be asked about again", recheck.waiting)
	yield _counter("sessions_ended_total", "Sockets closed since their session ended", recheck.ended)
	yield _counter("rooms_withdrawn_total", "Rooms that sockets had to leave", recheck.withdrawn)
	yield _counter("tasks_refused_total", "Tasks that somebody may not follow", server.access.tasks.refused)
	yield (
		"limit_reached_total",
		"counter",
		"How often a limit was met, by its key",
		[({"limit": key}, count) for key, count in _limits(server).items()],
	)


def _sidecars(server: RealtimeServer) -> Iterator[Metric]:
	adapter = server.cluster
	yield _gauge("sidecars", "Other sidecars of the bench that are alive", len(adapter.peers))
	yield _gauge("sidecar_members", "Sockets in rooms on other sidecars", adapter.members.count)
	yield _counter(
		"sidecar_lost_total",
		"Messages to other sidecars that Redis did not take",
		adapter.publisher.queue.lost,
	)
	yield (
		"sidecar_messages_total",
		"counter",
		"Messages of other sidecars, by their kind",
		[({"kind": kind}, count) for kind, count in adapter.received.items()],
	)


def _limits(server: RealtimeServer) -> dict[str, int]:
	counters = server.engine.counters
	return {
		**server.limits.reached,
		"realtime_max_payload": counters.too_large,
		"realtime_max_packets": counters.too_many_packets,
		"realtime_max_unsent": counters.slow_clients,
	}
