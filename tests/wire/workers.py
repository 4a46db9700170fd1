"""A bench whose sidecar has several workers."""

from __future__ import annotations

import http.client
from collections.abc import Sequence
from typing import Any

from realtime.engine.owners import SEPARATOR, owner_of
from tests.wire.bench import APP_SITE, Bench
from tests.wire.conditions import PATIENCE, until
from tests.wire.conftest import LONG
from tests.wire.nodejs import NodeClient
from tests.wire.raw import PollingSession

COUNT = 3
SEVERAL: dict[str, Any] = {"socketio_workers": COUNT}
"""The configuration."""


def serving(bench: Bench) -> dict[int, int]:
	"""Return the process ids of the workers that serve now, by number."""
	return {one["worker"]: one["pid"] for one in bench.sidecar.health()[1]["workers"] if one["subscribed"]}


def workers(bench: Bench, count: int = COUNT) -> dict[int, int]:
	"""Wait until `count` workers serve, and return their process ids by number. They may start one after the other."""

	def found() -> dict[int, int]:
		pids = serving(bench)
		return pids if len(pids) == count else {}

	return until(found, f"{count} workers", LONG)


def pid_of(bench: Bench, name: str) -> int:
	"""Return the process id of the worker of this name; `/health` leaves out a worker that does not answer within a second."""

	def found() -> int:
		pids = {one["name"]: int(one["pid"]) for one in bench.sidecar.health()[1]["workers"]}
		return pids.get(name, 0)

	return until(found, f"the worker {name}", LONG)


def are_replaced(bench: Bench, *pids: int) -> bool:
	"""Return whether all workers serve, and none of them is one of these processes."""
	found = serving(bench)
	return len(found) == COUNT and not set(found.values()) & set(pids)


PING = f'42/{APP_SITE},["ping"]'
"""A packet that is answered by an event."""


def guest(bench: Bench) -> PollingSession:
	"""Return a polling session of a Guest that has joined its namespace."""
	session = PollingSession(bench, bench.headers())
	assert session.post(f"40/{APP_SITE},").status == 200
	while not any(packet.startswith(f"40/{APP_SITE},") for packet in session.poll()):
		pass
	return session


def post_in_turns(host: str, port: int, sessions: Sequence[PollingSession]) -> None:
	"""Post on one TCP connection for several sessions, as a proxy does; fail if the server closes it."""
	connection = http.client.HTTPConnection(host, port, timeout=PATIENCE)
	connection.connect()
	tcp = connection.sock
	for number in range(20):
		session = sessions[number % len(sessions)]
		headers = {**session.headers, "Content-Type": "text/plain"}
		connection.request("POST", session.path, PING, headers)
		response = connection.getresponse()
		assert (response.status, response.read()) == (200, b"ok")
		assert connection.sock is tcp, "the server has closed the connection"
	connection.close()


def sessions_of_several(bench: Bench, count: int = 2) -> list[PollingSession]:
	"""Return polling sessions of Guests at `count` different workers."""
	found: dict[str, PollingSession] = {}

	def enough() -> bool:
		session = guest(bench)
		found.setdefault(owner(session), session)
		return len(found) >= count

	until(enough, f"sessions of {count} workers")
	return list(found.values())[:count]


def owner(session: PollingSession) -> str:
	"""Return the name of the worker that owns a session."""
	name = owner_of(session.handshake["sid"])
	assert name, f"{session.handshake['sid']} has no {SEPARATOR}"
	return name


def metric(bench: Bench, name: str) -> float:
	"""Return the value of a metric without labels."""
	lines = bench.sidecar.get("/metrics")[1].splitlines()
	(value,) = (line.split()[1] for line in lines if line.startswith(f"frappe_realtime_{name} "))
	return float(value)


def wait_for_line(bench: Bench, text: str) -> None:
	"""Wait until the log has a line with `text`."""
	until(lambda: text in bench.sidecar.log, text, LONG)


def wait_for_count(client: NodeClient, count: int) -> None:
	"""Wait until a client has received `count` events."""
	until(lambda: len(client.all("count")) >= count, f"{count} events; {len(client.all('count'))}", LONG)
