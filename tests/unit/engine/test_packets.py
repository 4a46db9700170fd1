"""Encoding and decoding of Engine.IO payloads and WebSocket frames."""

from __future__ import annotations

from base64 import b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Opcode
from websockets.protocol import CLIENT, Protocol

from realtime.engine.packets import MESSAGE, SEPARATOR, Encoded, PayloadError, decode_payload

texts = st.text().filter(lambda text: SEPARATOR not in text)
messages = st.lists(st.one_of(texts, st.binary()), min_size=1, max_size=8)


@given(messages)
def test_payload_round_trip(sent: list[str | bytes]) -> None:
	assert [data for _, data in decode_payload(Encoded(*sent).packets.encode(), 100)] == sent


@given(messages)
def test_frames_are_parsed_by_a_websocket_client(sent: list[str | bytes]) -> None:
	client = Protocol(CLIENT, max_size=None)
	client.receive_data(Encoded(*sent).frames)
	received = [
		frame.data.decode() if frame.opcode is Opcode.TEXT else frame.data
		for frame in client.events_received()
	]
	assert received == [MESSAGE + item if isinstance(item, str) else item for item in sent]


@pytest.mark.parametrize("size", [0, 1, 124, 125, 126, 65534, 65535, 65536, 100_000])
def test_frame_sizes(size: int) -> None:
	client = Protocol(CLIENT, max_size=None)
	client.receive_data(Encoded("x" * size, b"y" * size).frames)
	text, binary = client.events_received()
	assert (text.opcode, text.data) == (Opcode.TEXT, b"4" + b"x" * size)
	assert (binary.opcode, binary.data) == (Opcode.BINARY, b"y" * size)


@given(st.binary(max_size=200))
def test_garbage_is_decoded_or_rejected(body: bytes) -> None:
	try:
		for packet_type, data in decode_payload(body, 10):
			assert packet_type in "0123456"
			assert isinstance(data, str | bytes)
	except PayloadError:
		pass


@pytest.mark.parametrize("line_break", ["\n", "\r\n"])
def test_base64_in_lines(line_break: str) -> None:
	"""The Java client ends each line of 76 characters, and the last one, with a line break."""
	data = bytes(range(256))
	encoded = b64encode(data).decode()
	lines = [encoded[start : start + 76] + line_break for start in range(0, len(encoded), 76)]
	body = f'451-["x"]\x1eb{"".join(lines)}\x1e4after'
	assert [sent for _, sent in decode_payload(body.encode(), 10)] == ['51-["x"]', data, "after"]


@pytest.mark.parametrize(
	"body", [b"", b"\xff", b"x", b"4a\x1e", b"\x1e4a", b"b!", b"9", "bä".encode(), b"4a\x1e" * 10 + b"4a"]
)
def test_invalid_payloads(body: bytes) -> None:
	with pytest.raises(PayloadError):
		decode_payload(body, 10)
