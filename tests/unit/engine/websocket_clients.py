"""Frames of a client, and clients that have connected by WebSocket."""

from __future__ import annotations

from websockets.frames import Frame, Opcode
from websockets.protocol import CLIENT, Protocol

from tests.unit.engine.fakes import FakeClient, websocket_request


def masked(opcode: Opcode, data: bytes, fin: bool = True) -> bytes:
	"""Return a frame as a client sends it."""
	return Frame(opcode, data, fin).serialize(mask=True)


def text(message: str) -> bytes:
	"""Return the frame of a text message of a client."""
	return masked(Opcode.TEXT, message.encode())


def connected(**settings: float) -> FakeClient:
	"""Return a client that has connected by WebSocket."""
	client = FakeClient(**settings)
	client.send(websocket_request())
	assert client.received().startswith(b"HTTP/1.1 101 ")
	return client


def frames(data: bytes) -> list[tuple[Opcode, bytes]]:
	"""Return opcode and payload of each frame that a server sent."""
	reader = Protocol(CLIENT, max_size=None)
	reader.receive_data(data)
	return [(frame.opcode, bytes(frame.data)) for frame in reader.events_received()]
