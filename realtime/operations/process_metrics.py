"""The metrics about processes: other sidecars, workers, links between hosts, and processes that publish."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from prometheus_client.core import Metric

from ..bus.outages import OutageReport
from ..server import RealtimeServer
from .metric_kinds import counter, counters, gauge, gauges


def sidecars(server: RealtimeServer, workers: Collection[str]) -> Iterator[Metric]:
	"""Yield the metrics about the other sidecars of the bench."""
	cluster = server.cluster
	others = sum(id not in workers for id in cluster.peers)
	yield gauge("sidecars", "Other sidecars of the bench that are alive", others)
	yield gauge("sidecar_members", "Sockets in rooms on other sidecars", cluster.members.count)
	yield gauge("sidecar_sockets", "Sockets on other sidecars that handlers find", cluster.sockets.count)
	yield gauge(
		"sidecar_counts", "Users and addresses with many sockets on other sidecars", len(cluster.usage)
	)
	yield counter(
		"sidecar_lost_total",
		"Messages to other sidecars that Redis did not accept",
		cluster.publisher.queue.lost,
	)
	yield counters("sidecar_messages_total", "Messages of other sidecars, by kind", "kind", cluster.received)


def workers(server: RealtimeServer) -> Iterator[Metric]:
	"""Yield the metrics about the worker processes of this sidecar."""
	worker, handover = server.worker, server.handover
	yield gauge("workers", "Processes of this sidecar that answer", 1)
	yield counter(
		"worker_restarts_total",
		"Workers that have ended by themselves and were started again",
		worker.restarts if worker else 0,
	)
	yield counter(
		"handed_over_total",
		"TCP connections handed over to the worker that owns the session",
		handover.sent if handover else 0,
	)
	yield counter(
		"handovers_lost_total",
		"Connections of other workers that could not be received",
		handover.lost if handover else 0,
	)
	yield gauge(
		"handovers_waiting",
		"Connections that wait until another worker can receive them",
		handover.waiting if handover else 0,
	)


def forwarding(server: RealtimeServer) -> Iterator[Metric]:
	"""Yield the metrics about requests that are forwarded between hosts."""
	forwarder = server.forwarder
	counted = forwarder.counters
	yield gauge("links", "Links with the sidecars of other hosts that are open", forwarder.open_links)
	yield gauges(
		"forwarded_connections",
		"TCP connections that are forwarded to, and received from, the sidecars of other hosts",
		"direction",
		[("sent", len(forwarder.forwarded)), ("received", forwarder.received)],
	)
	yield counters(
		"forwarded_total",
		"Requests and WebSockets that were forwarded to, and received from, the sidecars of other hosts",
		"direction",
		{"sent": counted.sent, "received": counted.received},
	)
	yield counter(
		"forwarded_lost_total",
		"Forwarded requests that were refused because the link could not be opened, or was lost",
		counted.lost,
	)
	yield counter(
		"links_refused_total",
		"Links that were refused: without a proof of the shared secret, or to a process that is gone",
		counted.refused_links,
	)


def publishers(outages: Sequence[OutageReport]) -> Iterator[Metric]:
	"""Yield the metrics about what publishing processes have reported."""
	yield gauge(
		"publisher_outages", "Outages that publishing processes reported in the last 24 hours", len(outages)
	)
	yield gauge(
		"publisher_dropped_events",
		"Events that publishing processes dropped in the outages of the last 24 hours",
		sum(outage.dropped for outage in outages),
	)
	yield gauge(
		"publisher_held_events",
		"The largest number of events that one process held in the outages of the last 24 hours",
		max((outage.held for outage in outages), default=0),
	)
