"""The server that the official Engine.IO and Socket.IO test suites connect to: engine and Socket.IO layer without Frappe.

python tests/protocol_server.py --port 3000                 for docs/socket.io-protocol/v5-test-suite
python tests/protocol_server.py --port 3000 --engine-only   for docs/engine.io-protocol/v4-test-suite
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any

import uvloop

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from realtime.engine import Connection, Encoded, Engine, EngineSettings
from realtime.socketio.errors import ConnectRefused
from realtime.socketio.namespace import Admission, Namespaces, ServerSocket
from realtime.socketio.server import Ack, SocketIOServer


class EngineEcho:
	"""Echoes every message."""

	def on_open(self, connection: Connection) -> None: ...

	def on_message(self, connection: Connection, message: str | bytes) -> None:
		connection.send(Encoded(message))

	def on_ping(self, connection: Connection) -> None: ...

	def on_close(self, connection: Connection, reason: str) -> None: ...


class SocketEcho:
	"""The event handlers that the Socket.IO test suite expects."""

	def authorize(self, connection: Connection, namespace: str, auth: dict[str, Any]) -> Admission:
		if namespace not in ("/", "/custom"):
			raise ConnectRefused("Invalid namespace")
		return Admission(namespace)

	def on_connect(self, socket: ServerSocket, auth: dict[str, Any], admission: Admission) -> None:
		socket.send_connect()
		socket.emit("auth", auth)

	def on_event(self, socket: ServerSocket, event: str, arguments: list[Any], ack: Ack | None) -> None:
		if event == "message":
			socket.emit("message-back", *arguments)
		elif event == "message-with-ack" and ack is not None:
			ack(*arguments)

	def on_disconnect(self, socket: ServerSocket, reason: str, rooms: Collection[str]) -> None: ...


async def serve(port: int, engine_only: bool, ping_interval: float) -> None:
	"""Serve until the process ends."""
	path = "/engine.io/" if engine_only else "/socket.io/"
	settings = EngineSettings(
		ping_interval=ping_interval, ping_timeout=ping_interval * 2 / 3, max_payload=1_000_000, path=path
	)
	if engine_only:
		engine = Engine(settings, EngineEcho())
	else:
		engine = Engine(
			settings, SocketIOServer(SocketEcho(), Namespaces(), connect_timeout=max(1.0, ping_interval))
		)
	server = await asyncio.get_running_loop().create_server(engine.protocol, None, port)
	print(f"listening on {port}", flush=True)
	await server.serve_forever()


if __name__ == "__main__":
	parser = argparse.ArgumentParser(
		description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
	)
	parser.add_argument("--port", type=int, default=3000)
	parser.add_argument("--engine-only", action="store_true")
	parser.add_argument("--ping-interval", type=float, default=0.3, help="seconds; the suites expect 0.3")
	options = parser.parse_args()
	uvloop.install()
	asyncio.run(serve(options.port, options.engine_only, options.ping_interval))
