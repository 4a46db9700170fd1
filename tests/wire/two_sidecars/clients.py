"""Clients of two sidecars, and when all that handlers emitted has reached them."""

from __future__ import annotations

import itertools

from tests.wire.clients import Client
from tests.wire.conditions import until
from tests.wire.conftest import Connect
from tests.wire.sidecars import Pair

marks = itertools.count()


def passed(client: Client, *waiting: Client) -> None:
	"""Wait until every earlier emit of handlers of `client` has been delivered to the `waiting` clients."""
	mark = next(marks)
	client.emit("mark", mark)
	for one in waiting:
		until(lambda one=one: (mark,) in one.all("mark"), f"mark {mark}")  # type: ignore[misc]


def inside(pair: Pair, connect: Connect, room: str, js: bool = False) -> list[Client]:
	"""Return four clients, two on each sidecar; all but the last are in `room`, and the membership is replicated."""
	clients = [connect(bench, bench.user()) for bench in (pair.first, pair.first, pair.second, pair.second)]
	for client in clients[:3]:
		assert client.call("js_enter" if js else "enter", room)
	passed(clients[0], *clients)
	passed(clients[2], *clients)
	return clients


def user_of(client: Client) -> str:
	"""Return the user of a client."""
	[[_, user]] = client.call("who", client.id)
	return str(user)
