"""Sends mutated requests, frames, payloads and packets to the engine and the Socket.IO layer, in random segments.

A finding is an exception, or a second client that is affected. Each one is printed with the seed that reproduces it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
import traceback
from collections.abc import Collection
from random import Random
from typing import Any

from websockets.frames import Frame, Opcode

from realtime.engine import Connection, Engine, EngineSettings
from realtime.socketio.errors import ConnectRefused
from realtime.socketio.namespace import Admission, Namespaces, ServerSocket
from realtime.socketio.server import Ack, SocketIOServer
from tests.unit.engine.fakes import FakeClient, request, websocket_request

PACKETS = [
	'40/a,{"token":"x"}',
	'42/a,["event",{"deep":[1,2,{"x":null}]}]',
	'42/a,7["event",1]',
	'451-/a,["event",{"_placeholder":true,"num":0}]',
	'43/a,1["answer"]',
	"41/a,",
	"40/a,",
	"3",
	"1",
	'42/a,["connect",{"sid":"x"}]',
]


class Application:
	"""Accepts all clients in the namespace `/a`, echoes events and acknowledges them."""

	def authorize(self, connection: Connection, namespace: str, auth: dict[str, Any]) -> Admission:
		dict(connection.request.headers)
		if namespace != "/a":
			raise ConnectRefused("Invalid namespace")
		return Admission(None, "a-pid-of-twenty-letters" if auth.get("token") else None)

	def on_connect(self, socket: ServerSocket, auth: dict[str, Any], admission: Admission) -> None:
		socket.send_connect()
		socket.join("room")

	def on_event(self, socket: ServerSocket, event: str, arguments: list[Any], ack: Ack | None) -> None:
		assert isinstance(event, str)
		socket.emit("echo", *arguments)
		if ack is not None:
			ack(*arguments)

	def on_disconnect(self, socket: ServerSocket, reason: str, rooms: Collection[str]) -> None:
		assert "room" in rooms


def mutate(random: Random, data: bytes) -> bytes:
	"""Return `data` with up to four changes: bytes inserted, removed, repeated or flipped, or special bytes inserted."""
	mutated = bytearray(data)
	for _ in range(random.randint(0, 4)):
		position = random.randrange(len(mutated) + 1)
		match random.randrange(6):
			case 0:
				mutated[position:position] = bytes(random.randrange(256) for _ in range(random.randint(1, 6)))
			case 1:
				del mutated[position : position + random.randint(1, 6)]
			case 2:
				mutated[position:position] = mutated[position : position + random.randint(1, 30)]
			case 3:
				mutated[position:position] = random.choice(
					[b"\x1e", b"\r\n", b"\r\n\r\n", b"[" * 50, b"\xff", b"-", b",", b"9" * 20]
				)
			case 4 if position < len(mutated):
				mutated[position] ^= 1 << random.randrange(8)
			case _:
				del mutated[position:]
	return bytes(mutated)


def random_frame(random: Random) -> bytes:
	"""Return a frame of a client, valid in most cases."""
	text = random.choice(PACKETS).encode()
	if random.random() < 0.6:
		text = mutate(random, text)
	opcode = Opcode.BINARY if random.random() < 0.15 else Opcode.TEXT
	frame = Frame(opcode, text, random.random() < 0.95).serialize(mask=True)
	return mutate(random, frame) if random.random() < 0.2 else frame


def run_conversation(seed: int) -> None:
	"""Run the random conversation of a seed; raises for a finding."""
	random = Random(seed)
	server = SocketIOServer(Application(), Namespaces())
	engine = Engine(EngineSettings(max_payload=2000, max_unsent=10_000), server)
	other = FakeClient(engine)
	other.send(websocket_request())
	other.send(Frame(Opcode.TEXT, b"40/a,").serialize(mask=True))
	client = FakeClient(engine)
	if random.random() < 0.6:
		client.send(websocket_request())
		for _ in range(random.randint(1, 12)):
			data = random_frame(random)
			client.send_in_pieces(data, [random.randrange(4000) for _ in range(random.randint(0, 5))])
	else:
		client.send(request())
		packet = client.received().partition(b"\r\n\r\n0")[2]
		sid = json.loads(packet)["sid"]
		for _ in range(random.randint(1, 8)):
			body = mutate(
				random, b"\x1e".join(random.choice(PACKETS).encode() for _ in range(random.randint(1, 4)))
			)
			data = random.choice(
				[
					request("POST", f"transport=polling&sid={sid}", body),
					request(query=f"transport=polling&sid={sid}"),
					websocket_request(f"EIO=4&transport=websocket&sid={sid}"),
				]
			)
			if random.random() < 0.3:
				data = mutate(random, data)
			client = client if not client.transport.closed and random.random() < 0.8 else FakeClient(engine)
			client.send_in_pieces(data, [random.randrange(4000) for _ in range(random.randint(0, 5))])
	other.received()
	other.send(Frame(Opcode.TEXT, b'42/a,["event",1]').serialize(mask=True))
	assert b'["echo",1]' in other.received(), "the other client was affected"
	engine.close()
	assert not engine.connections
	assert not server.namespaces, "a socket was left in a namespace"


async def run(seconds: float, seed: int | None) -> int:
	"""Run conversations for `seconds`, or only the one of `seed`; return the number of findings."""
	asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
	findings = 0
	count = 0
	started = time.monotonic()
	first = Random().randrange(1 << 40) if seed is None else seed
	while (count == 0 or seed is None) and time.monotonic() - started < seconds:
		try:
			run_conversation(first + count)
		except Exception:
			findings += 1
			print(f"seed {first + count}:\n{traceback.format_exc()}")
		count += 1
	print(f"{count} conversations, {findings} findings")
	return findings


if __name__ == "__main__":
	parser = argparse.ArgumentParser(description=__doc__)
	parser.add_argument("--seconds", type=float, default=10)
	parser.add_argument("--seed", type=int)
	options = parser.parse_args()
	raise SystemExit(1 if asyncio.run(run(options.seconds, options.seed)) else 0)
