"""System Managers who watch their site: requests, snapshots and queries."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from realtime.demo.model import SYSTEM_MANAGER, User
from tests.wire.bench import APP_SITE, Bench
from tests.wire.clients import Client
from tests.wire.conditions import until

MONITOR = "frappe_realtime:monitor"
SNAPSHOT = "frappe_realtime:monitor_snapshot"
QUERY = "frappe_realtime:monitor_query"

Found = dict[str, Any]


def manager(bench: Bench, site: str = APP_SITE) -> User:
	"""Add a System Manager that no other test uses."""
	user = bench.user(site)
	user.roles.add(SYSTEM_MANAGER)
	return user


def watch(client: Client) -> Found:
	"""Start to watch, and return the acknowledgement."""
	answer: Found = client.call(MONITOR, {"watch": True})
	assert "error" not in answer, answer
	return answer


def query(client: Client, kind: str, **payload: Any) -> Found:
	"""Send a query, and return the acknowledgement."""
	answer: Found = client.call(QUERY, {"kind": kind, **payload})
	return answer


def snapshot(client: Client, fits: Callable[[Found], Any] = lambda found: True) -> Found:
	"""Return a snapshot that has arrived and fits; wait for the next one until then."""

	def newest() -> Found:
		found = client.all(SNAPSHOT)
		return found[-1][0] if found and fits(found[-1][0]) else {}

	return until(newest, lambda: f"a snapshot that fits; the last one: {client.all(SNAPSHOT)[-1:]!r:.2000}")
