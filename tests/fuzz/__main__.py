"""Feeds mutated requests, frames, payloads and packets to the engine and the Socket.IO layer, in random pieces.

A finding is an exception, a message that nobody sent, or a client beside it that is disturbed. Each is printed with the
seed that shows it again.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import time
import traceback
from typing import Any

from websockets.frames import Frame, Opcode

from realtime.engine import Connection, Engine, EngineSettings
from realtime.socketio.errors import ConnectRefused
from realtime.socketio.namespace import Admission, Namespaces, ServerSocket
from realtime.socketio.server import Ack, SocketIOServer
from tests.unit.engine.fakes import Wire, request, websocket_request

SEEDS = [
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
	"""Lets everybody into `/a`, and answers what can be answered."""

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

	def on_disconnect(self, socket: ServerSocket, reason: str, rooms: set[str]) -> None:
		assert "room" in rooms


def mutate(dice: random.Random, data: bytes) -> bytes:
	"""`data` with some of its bytes changed, taken away, repeated or exchanged for troublesome ones."""
	changed = bytearray(data)
	for _ in range(dice.randint(0, 4)):
		place = dice.randrange(len(changed) + 1)
		match dice.randrange(6):
			case 0:
				changed[place:place] = bytes(dice.randrange(256) for _ in range(dice.randint(1, 6)))
			case 1:
				del changed[place : place + dice.randint(1, 6)]
			case 2:
				changed[place:place] = changed[place : place + dice.randint(1, 30)]
			case 3:
				changed[place:place] = dice.choice(
					[b"\x1e", b"\r\n", b"\r\n\r\n", b"[" * 50, b"\xff", b"-", b",", b"9" * 20]
				)
			case 4 if place < len(changed):
				changed[place] ^= 1 << dice.randrange(8)
			case _:
				del changed[place:]
	return bytes(changed)


def frame(dice: random.Random) -> bytes:
	"""A client's frame, mostly a good one."""
	text = dice.choice(SEEDS).encode()
	if dice.random() < 0.6:
		text = mutate(dice, text)
	opcode = Opcode.BINARY if dice.random() < 0.15 else Opcode.TEXT
	built = Frame(opcode, text, dice.random() < 0.95).serialize(mask=True)
	return mutate(dice, built) if dice.random() < 0.2 else built


def one(seed: int) -> None:
	"""One random conversation; raises whatever is wrong."""
	dice = random.Random(seed)
	application = Application()
	server = SocketIOServer(application, Namespaces())
	engine = Engine(EngineSettings(max_payload=2000, max_unsent=10_000), server)
	witness = Wire(engine)
	witness.feed(websocket_request())
	witness.feed(Frame(Opcode.TEXT, b"40/a,").serialize(mask=True))
	wire = Wire(engine)
	if dice.random() < 0.6:
		wire.feed(websocket_request())
		for _ in range(dice.randint(1, 12)):
			data = frame(dice)
			wire.feed_in_pieces(data, [dice.randrange(4000) for _ in range(dice.randint(0, 5))])
	else:
		wire.feed(request())
		answer = wire.answers().partition(b"\r\n\r\n0")[2]
		sid = json.loads(answer)["sid"]
		for _ in range(dice.randint(1, 8)):
			body = mutate(dice, b"\x1e".join(dice.choice(SEEDS).encode() for _ in range(dice.randint(1, 4))))
			sent = dice.choice(
				[
					request("POST", f"transport=polling&sid={sid}", body),
					request(query=f"transport=polling&sid={sid}"),
					websocket_request(f"EIO=4&transport=websocket&sid={sid}"),
				]
			)
			if dice.random() < 0.3:
				sent = mutate(dice, sent)
			wire = wire if not wire.transport.closed and dice.random() < 0.8 else Wire(engine)
			wire.feed_in_pieces(sent, [dice.randrange(4000) for _ in range(dice.randint(0, 5))])
	witness.answers()
	witness.feed(Frame(Opcode.TEXT, b'42/a,["event",1]').serialize(mask=True))
	assert b'["echo",1]' in witness.answers(), "the client beside it was disturbed"
	engine.close()
	assert not engine.connections
	assert not server.namespaces, "somebody was left in a namespace"


async def run(seconds: float, seed: int | None) -> int:
	"""Conversations for `seconds`, or the one of `seed`; returns how many went wrong."""
	asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
	findings = 0
	count = 0
	begun = time.monotonic()
	first = random.randrange(1 << 40) if seed is None else seed
	while (count == 0 or seed is None) and time.monotonic() - begun < seconds:
		try:
			one(first + count)
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
