"""Clients that recover: socket.io-client when its connection is cut, and packets that are sent by hand."""

from __future__ import annotations

import json

from websockets.exceptions import ConnectionClosed

from realtime.demo.model import User
from tests.wire.bench import APP_SITE, Bench
from tests.wire.nodejs import NodeClient
from tests.wire.raw import WebSocketSession

AWAY = {"reconnectionDelay": 600_000, "reconnectionDelayMax": 600_000}
"""Options of a client that does not come back by itself: what is published while it is away must not reach it live."""

BROWSER = {"User-Agent": "Mozilla/5.0"}


def messages(client: NodeClient, event: str) -> list[object]:
	"""Return the first argument of each event of a name."""
	return [args[0] for args in client.all(event)]


def disconnected(client: NodeClient) -> None:
	"""Cut the connection of a client, and wait until it has noticed."""
	before = len([line for line in client.lines if "disconnect" in line])
	client.cut()
	client.wait_for("disconnect", before + 1)


def reconnect(client: NodeClient) -> None:
	"""Let a client that has lost its connection connect now."""
	client.disconnect()
	client.reconnect()


def receives(raw: WebSocketSession, name: str, message: object) -> bool:
	"""Read up to an event; return False if the connection ends before."""
	try:
		while f'["{name}",{message},' not in str(raw.receive()):
			pass
	except ConnectionClosed:
		return False
	return True


def recover(bench: Bench, user: User, pid: object, offset: object, site: str = APP_SITE) -> WebSocketSession:
	"""Reconnect as a client does after its connection was lost."""
	raw = WebSocketSession(bench, bench.headers(user, site, more={**BROWSER}))
	raw.send(f"40/{site}," + json.dumps({"pid": pid, "offset": offset}))
	return raw


def answer(raw: WebSocketSession, site: str = APP_SITE) -> dict[str, str]:
	"""Return the answer to CONNECT."""
	text = str(raw.receive())
	assert text.startswith(f"40/{site},"), text
	return dict(json.loads(text.partition(",")[2]))


def event(raw: WebSocketSession) -> list[object]:
	"""Return the next event."""
	return list(json.loads(str(raw.receive()).partition(",")[2]))


def first(bench: Bench, user: User) -> tuple[WebSocketSession, dict[str, str], str]:
	"""Return a new client that can recover, the answer to its CONNECT, and its offset."""
	raw = WebSocketSession(bench, bench.headers(user, more={**BROWSER}))
	raw.send(f"40/{APP_SITE},")
	known = answer(raw)
	name, offset = event(raw)
	assert name == "frappe_realtime:offset"
	return raw, known, str(offset)
