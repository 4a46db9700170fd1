"""`/health` and `/metrics` of all workers of a host: puts the parts of the workers together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..workers.counters import RESTARTS, Family, add

FIXED = ("apps", "process")
"""Parts of `handlers` in `/health` that are not added up: what is loaded is the same in all workers, each has its own process."""

LEAST = frozenset(("frappe_realtime_subscribed", "process_start_time_seconds", "process_max_fds"))
"""Metrics whose value for the host is the minimum over its workers."""

MOST = frozenset(
	(
		"frappe_realtime_build_info",
		"frappe_realtime_web_away",
		"frappe_realtime_sidecars",
		"frappe_realtime_sidecar_members",
		"frappe_realtime_sidecar_sockets",
		"frappe_realtime_sidecar_counts",
		"frappe_realtime_presence_places",
		"frappe_realtime_presence_remote_members",
		"frappe_realtime_online_users",
		"frappe_realtime_publisher_outages",
		"frappe_realtime_publisher_dropped_events",
		"frappe_realtime_publisher_held_events",
		RESTARTS,
	)
)
"""Metrics whose value for the host is the maximum over its workers, which all see the same thing. All others are added up."""


def health(parts: Sequence[Mapping[str, Any]], silent: int) -> dict[str, Any]:
	"""Return the keys of `/health` that describe the host.

	Args:
		parts: The parts of the workers, see `Endpoints`; that of the worker that answers first.
		silent: How many workers have not answered.

	Returns:
		`subscribed`, `descriptors`, `history`, `connections`, `clients_without_address`, `unreachable_sidecars`, `handlers` and
		`workers`.
	"""
	refused: dict[str, str] = {}
	unreachable: dict[str, str] = {}
	for part in parts:
		refused |= part["history"]["refused"]
		unreachable |= part["unreachable_sidecars"]
	sessions_refused = next(filter(None, (part["history"]["sessions_refused"] for part in parts)), "")
	handlers = parts[0]["handlers"]
	for part in parts[1:]:
		handlers = _sum(handlers, part["handlers"])
	return {
		"subscribed": all(part["subscribed"] for part in parts) and not silent,
		# Of the worker that has the least left.
		"descriptors": max(
			(part["descriptors"] for part in parts), key=lambda one: one["open"] / max(1, one["limit"])
		),
		"history": {
			"ok": not refused and not sessions_refused,
			"refused": refused,
			"sessions_refused": sessions_refused,
		},
		"connections": sum(part["connections"] for part in parts),
		"clients_without_address": sum(part["clients_without_address"] for part in parts),
		"unreachable_sidecars": unreachable,
		"handlers": handlers,
		"workers": sorted(
			(
				{key: part[key] for key in ("worker", "name", "pid", "subscribed", "connections")}
				for part in parts
				if part["worker"]
			),
			key=lambda one: one["worker"],
		),
	}


def metrics(parts: Iterable[Iterable[Family]]) -> list[Family]:
	"""Return the metrics of the host, from those of its workers."""
	return add(parts, LEAST, MOST)


def _sum(one: Any, other: Any, key: str = "") -> Any:
	"""Return two parts of a JSON object with their counts added up."""
	if key in FIXED:
		return one
	if isinstance(one, dict) and isinstance(other, dict):
		return {
			name: _sum(one[name], other[name], name)
			if name in one and name in other
			else one.get(name, other.get(name))
			for name in {**one, **other}
		}
	if isinstance(one, int | float) and isinstance(other, int | float):
		return one + other
	return one
