"""Puts the parts of several processes together, as one answer for a watcher. Pure functions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..histogram import LATENCY_BOUNDS, quantile
from .process import Part

MAX_ROOMS = 50
MAX_USERS = 100
MAX_EVENTS = 50
MAX_HANDLERS = 100
MAX_INCIDENTS = 50
MAX_SAMPLES = 360
"""Entries of the lists of a snapshot, and samples."""

HISTORY_FIELDS = ("time", "sockets", "events", "deliveries", "p50_ms", "p99_ms", "memory")

EMPTY_SITE: dict[str, Any] = {
	"sockets": 0,
	"websocket": 0,
	"guests": 0,
	"users": [],
	"hidden_users": 0,
	"rooms": [],
	"hidden_rooms": 0,
	"rates": [0.0, 0.0, 0.0, 0.0],
	"events": [],
	"handlers": [],
}
"""The part of a site without sockets."""


def snapshot(site: str, parts: Sequence[Part], now: float, interval: float) -> dict[str, Any]:
	"""Return the snapshot of a site (`MONITOR_SNAPSHOT`).

	Args:
		site: The site.
		parts: What the processes have answered.
		now: Seconds since 1970.
		interval: Seconds until the next snapshot.
	"""
	sites = [part["sites"].get(site, EMPTY_SITE) for part in parts]
	return {
		"time": now,
		"site": site,
		"interval": interval,
		"processes": [part["process"] for part in parts],
		"totals": totals(sites),
		"rates": rates(sites),
		"latency_ms": latency_ms(parts),
		"rooms": rooms(sites)[:MAX_ROOMS],
		"users": users(sites)[:MAX_USERS],
		"events": events(sites)[:MAX_EVENTS],
		"handlers": handlers(sites)[:MAX_HANDLERS],
		"incidents": incidents(parts)[:MAX_INCIDENTS],
	}


def bench(parts: Sequence[Part], now: float, interval: float) -> dict[str, Any]:
	"""Return the state of all sites, for the terminal.

	Returns:
		`{"time", "interval", "processes", "latency_ms", "sites": [{"site", "totals", "rates"}], "events", "incidents"}`; events
		and incidents have the key `site` too.
	"""
	names = sorted({site for part in parts for site in part["sites"]})
	by_site = {name: [part["sites"].get(name, EMPTY_SITE) for part in parts] for name in names}
	found_events = [{"site": name, **event} for name in names for event in events(by_site[name])]
	found_events.sort(key=lambda event: -event["count"])
	return {
		"time": now,
		"interval": interval,
		"processes": [part["process"] for part in parts],
		"latency_ms": latency_ms(parts),
		"sites": [
			{"site": name, "totals": totals(by_site[name]), "rates": rates(by_site[name])} for name in names
		],
		"events": found_events[:MAX_EVENTS],
		"incidents": incidents(parts, with_site=True)[:MAX_INCIDENTS],
	}


def totals(sites: Sequence[Mapping[str, Any]]) -> dict[str, int]:
	"""Return the numbers of users, Guests' sockets, sockets, transports and rooms."""
	named = {user for site in sites for user, _ in site["users"]}
	has_guests = any(site["guests"] for site in sites)
	rooms = {room for site in sites for room, *_ in site["rooms"]}
	sockets = sum(site["sockets"] for site in sites)
	websocket = sum(site["websocket"] for site in sites)
	return {
		# All Guests are one user, who is not counted here.
		"users": max(0, len(named) + sum(site["hidden_users"] for site in sites) - has_guests),
		"guests": sum(site["guests"] for site in sites),
		"sockets": sockets,
		"websocket": websocket,
		"polling": sockets - websocket,
		"rooms": len(rooms) + sum(site["hidden_rooms"] for site in sites),
	}


def rates(sites: Sequence[Mapping[str, Any]]) -> dict[str, float]:
	"""Return events, deliveries and events of clients per second."""
	columns = list(zip(*[site["rates"] for site in sites], strict=True)) or [(0.0,)] * 4
	published, emitted, deliveries, client_events = columns
	return {
		# Every process receives the same events from Redis.
		"events": round(max(published) + sum(emitted), 3),
		"deliveries": round(sum(deliveries), 3),
		"client_events": round(sum(client_events), 3),
	}


def latency_ms(parts: Sequence[Part]) -> dict[str, float]:
	"""Return median and 99th percentile of the milliseconds from publication to write; 0 without an event."""
	counts = [sum(column) for column in zip(*[part["latency"] for part in parts], strict=True)]
	return {
		"p50": round(quantile(LATENCY_BOUNDS, counts, 0.5) * 1000, 3),
		"p99": round(quantile(LATENCY_BOUNDS, counts, 0.99) * 1000, 3),
	}


def rooms(sites: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
	"""Return the rooms, the largest first. A user of a large room on two processes may be counted twice."""
	sockets: Counter[str] = Counter()
	named: dict[str, set[str]] = {}
	hidden: Counter[str] = Counter()
	for site in sites:
		for room, count, some_users, more in site["rooms"]:
			sockets[room] += count
			named.setdefault(room, set()).update(some_users)
			hidden[room] += more
	return [
		{"room": room, "sockets": count, "users": len(named[room]) + hidden[room]}
		for room, count in sorted(sockets.items(), key=_largest_first)
	]


def users(sites: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
	"""Return the users, those with the most sockets first."""
	return [
		{"user": user, "sockets": count}
		for user, count in sorted(
			_summed(pair for site in sites for pair in site["users"]).items(), key=_largest_first
		)
	]


def events(sites: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
	"""Return the events, the most frequent first."""
	found: dict[str, list[Any]] = {}
	for site in sites:
		for name, published, emitted, published_bytes, emitted_bytes, deliveries, to_all in site["events"]:
			before = found.get(name, [0, 0, 0, 0, 0, False])
			found[name] = [
				# Every process receives the same events from Redis.
				max(before[0], published),
				before[1] + emitted,
				max(before[2], published_bytes),
				before[3] + emitted_bytes,
				before[4] + deliveries,
				before[5] or to_all,
			]
	listed = [
		{
			"event": name,
			"count": published + emitted,
			"bytes": published_bytes + emitted_bytes,
			"deliveries": deliveries,
			"to_all": to_all,
		}
		for name, (published, emitted, published_bytes, emitted_bytes, deliveries, to_all) in found.items()
	]
	return sorted(listed, key=lambda event: (-event["count"], event["event"]))


def handlers(sites: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
	"""Return the handlers, those that took most time first."""
	found: dict[tuple[str, str], dict[str, Any]] = {}
	for site in sites:
		for app, event, calls, seconds, errors, last_error in site["handlers"]:
			one = found.setdefault(
				(app, event),
				{"app": app, "event": event, "calls": 0, "seconds": 0.0, "errors": 0, "last_error": ""},
			)
			one["calls"] += calls
			one["seconds"] = round(one["seconds"] + seconds, 6)
			one["errors"] += errors
			one["last_error"] = last_error or one["last_error"]
	return sorted(found.values(), key=lambda one: (-one["seconds"], one["app"], one["event"]))


def incidents(parts: Iterable[Part], with_site: bool = False) -> list[dict[str, Any]]:
	"""Return the incidents, the newest first."""
	found = sorted((one for part in parts for one in part["incidents"]), key=lambda one: -one[0])
	return [
		{
			"time": time,
			"kind": kind,
			"code": code,
			"message": message,
			"user": user,
			"address": address,
			"count": count,
			**({"site": site} if with_site else {}),
		}
		for time, kind, code, message, user, address, count, site in found
	]


def history(parts: Iterable[Sequence[Sequence[float]]]) -> list[list[float]]:
	"""Return the samples of all processes together, the oldest first, with `HISTORY_FIELDS`.

	Args:
		parts: What `ProcessMonitor.history` has returned in each process.
	"""
	found: dict[float, list[float]] = {}
	for part in parts:
		for time, sockets, published, emitted, deliveries, p50, p99, memory in part:
			before = found.get(time, [0, 0.0, 0.0, 0.0, 0.0, 0.0, 0])
			found[time] = [
				before[0] + sockets,
				max(before[1], published),
				before[2] + emitted,
				before[3] + deliveries,
				max(before[4], p50),
				max(before[5], p99),
				before[6] + memory,
			]
	return [
		[
			time,
			sockets,
			round(published + emitted, 3),
			round(deliveries, 3),
			round(p50 * 1000, 3),
			round(p99 * 1000, 3),
			memory,
		]
		for time, (sockets, published, emitted, deliveries, p50, p99, memory) in sorted(found.items())
	][-MAX_SAMPLES:]


def members(parts: Iterable[Iterable[Sequence[Any]]]) -> list[dict[str, Any]]:
	"""Return the users in a room with their numbers of sockets, those with the most first."""
	summed = _summed(pair for part in parts for pair in part)
	return [{"user": user, "sockets": count} for user, count in sorted(summed.items(), key=_largest_first)]


def _summed(pairs: Iterable[Sequence[Any]]) -> Counter[str]:
	counts: Counter[str] = Counter()
	for name, count in pairs:
		counts[name] += count
	return counts


def _largest_first(item: tuple[str, int]) -> tuple[int, str]:
	return -item[1], item[0]
