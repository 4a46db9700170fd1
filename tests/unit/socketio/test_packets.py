"""Socket.IO packets: compared with python-socketio's codec, and invalid packets."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from socketio.packet import Packet as Stock

from frappe_realtime.contract.channels import MAX_ATTACHMENTS
from frappe_realtime.contract.events import RESERVED_EVENTS
from realtime.json_codec import dumps, loads
from realtime.socketio import packets
from realtime.socketio.packets import PacketError

values = st.recursive(
	st.none()
	| st.booleans()
	| st.integers(-(2**53), 2**53)
	| st.text()
	| st.floats(allow_nan=False, allow_infinity=False),
	lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
	max_leaves=12,
)
with_bytes = st.recursive(
	values | st.binary(),
	lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(min_size=1), inner, max_size=3),
	max_leaves=8,
)
names: st.SearchStrategy[str] = st.text(min_size=1).filter(lambda name: name not in RESERVED_EVENTS)
namespaces = st.sampled_from(["/", "/site.example.com", "/a b"])
ids = st.none() | st.integers(0, 10**9)


def count_bytes(value: Any) -> int:
	if isinstance(value, bytes):
		return 1
	if isinstance(value, dict):
		return sum(map(count_bytes, value.values()))
	return sum(map(count_bytes, value)) if isinstance(value, list) else 0


def read(messages: tuple[str | bytes, ...]) -> packets.Packet:
	text, *attachments = messages
	assert isinstance(text, str)
	packet = packets.decode(text)
	assert packet.missing == len(attachments)
	if attachments:
		packet.data = packets.reconstruct(packet.data, [bytes(item) for item in attachments])  # type: ignore[arg-type]
	return packet


@given(namespaces, names, st.lists(with_bytes, max_size=3), ids)
def test_an_event_is_decoded_as_it_was_encoded(
	namespace: str, name: str, arguments: list[Any], id: int | None
) -> None:
	if count_bytes(arguments) > MAX_ATTACHMENTS:
		return
	packet = read(packets.encode_event(namespace, [name, *arguments], id).messages)
	assert (packet.namespace, packet.id, packet.data) == (namespace, id, [name, *arguments])


@given(namespaces, names, st.lists(values, max_size=3), ids)
def test_python_socketio_decodes_and_encodes_the_same(
	namespace: str, name: str, arguments: list[Any], id: int | None
) -> None:
	ours = packets.encode_event(namespace, [name, *arguments], id).messages[0]
	theirs = Stock(encoded_packet=ours)
	assert (theirs.namespace or "/", theirs.id, theirs.data) == (namespace, id, [name, *arguments])
	written = Stock(packets.EVENT, data=[name, *arguments], namespace=namespace, id=id).encode()
	packet = packets.decode(written)
	assert (packet.namespace, packet.id, packet.data) == (namespace, id, [name, *arguments])


@given(st.text(max_size=80))
def test_garbage_is_refused_or_decoded(text: str) -> None:
	try:
		packet = packets.decode(text)
	except PacketError:
		return
	assert packet.missing <= MAX_ATTACHMENTS


@given(st.sampled_from("0123456"), st.text('0123456789-/,[]{}"aé ', max_size=40))
def test_nearly_valid_packets_are_refused_or_decoded(kind: str, rest: str) -> None:
	with contextlib.suppress(PacketError):
		packets.decode(kind + rest)


@pytest.mark.parametrize(
	"text",
	[
		"",
		"7",
		"x",
		"2",
		"2{}",
		"2[]",
		"2[null]",
		"2[true]",
		"2[[]]",
		'2["connect",{}]',
		'2["disconnect"]',
		'2["connect_error"]',
		'2["disconnecting"]',
		'2["newListener"]',
		'2["removeListener"]',
		'20-["a"]',
		'5["a"]',
		'5-["a"]',
		'511-["a"]',
		'59999999999-["a"]',
		'2["a"',
		'2["a"]x',
		"0[]",
		'0"a"',
		"1{}",
		"4[]",
		"3{}",
		"3",
		'2٣["a"]',
		'299999999999999999["a"]',
		'2["a",' + "[" * 100_000,
	],
)
def test_invalid_packets(text: str) -> None:
	with pytest.raises(PacketError):
		packets.decode(text)


@pytest.mark.parametrize(
	"data",
	[
		{"_placeholder": True, "num": 1},
		{"_placeholder": True, "num": -1},
		{"_placeholder": True, "num": True},
		{"_placeholder": True, "num": "0"},
		{"_placeholder": True},
	],
)
def test_a_placeholder_without_its_attachment(data: dict[str, Any]) -> None:
	with pytest.raises(PacketError):
		packets.reconstruct(["a", data], [b"x"])


def test_the_depth_of_a_binary_event_is_bounded() -> None:
	deep: Any = []
	for _ in range(5000):
		deep = [deep]
	with pytest.raises(PacketError):
		packets.reconstruct(["a", deep], [b""])


@pytest.mark.parametrize(
	("value", "text"),
	[
		(float("nan"), "null"),
		(2**70, str(2**70)),
		("\ud800", '"\\ud800"'),
		({1: 2}, '{"1":2}'),
		(
			["\ud800", {"a": float("nan"), "b": [float("-inf"), 2**70]}],
			f'["\\ud800",{{"a":null,"b":[null,{2**70}]}}]',
		),
	],
)
def test_values_that_json_encoders_disagree_on(value: Any, text: str) -> None:
	assert dumps(value) == text


def test_what_a_client_sends_can_be_read_by_others() -> None:
	"""Together, NaN and a lone surrogate are accepted, and neither of the two ways to write JSON is used for both alone."""
	packet = packets.decode('2/a,["e",{"a":NaN,"b":"\\ud800"}]')
	for data in (packet.data, [*packet.data, b"x"]):
		text = str(packets.encode_event("/a", data).messages[0])
		assert '{"a":null,"b":"\\ud800"}' in text


def test_a_value_that_is_not_json_raises_type_error() -> None:
	with pytest.raises(TypeError, match="not JSON serializable"):
		packets.encode_event("/", ["a", object()])


@pytest.mark.parametrize("text", ['{"a": NaN}', '"\\ud800"', "[Infinity]"])
def test_extensions_of_json_by_python_and_javascript_are_decoded(text: str) -> None:
	loads(text)


def outcome(text: str) -> object:
	try:
		return packets.decode(text)
	except PacketError:
		return None


@given(
	st.sampled_from(["/a", "/a[b", "/", '/"']),
	st.sampled_from(["", "7", "007", "1234567890123456", "12345678901234567", "x", "-1", "\u0667"]),
	st.sampled_from(
		["", "x", "1", "{}", "null", "[]", "[1]", "[true]", "[null]", '["connect"]', '["e"', '["e"]x']
	)
	| st.lists(values, max_size=3).map(lambda data: dumps(["e", *data])),
)
def test_the_fast_path_decodes_as_the_general_one(namespace: str, id: str, data: str) -> None:
	assert outcome(f"2{namespace},{id}{data}") == outcome(f"2{namespace}?a=b,{id}{data}")


def test_deep_nesting_is_encoded_and_decoded() -> None:
	deep = json.loads("[" * 600 + "]" * 600)
	assert read(packets.encode_event("/a", ["e", deep]).messages).data == ["e", deep]


def test_a_value_that_contains_itself_raises_value_error() -> None:
	endless: list[Any] = []
	endless.append(endless)
	with pytest.raises(ValueError, match="Circular"):
		packets.encode_event("/a", ["e", endless])


@pytest.mark.parametrize(
	"arguments",
	[
		[b"x"] * (MAX_ATTACHMENTS + 1),
		[{"a": [bytearray(b"x")] * (MAX_ATTACHMENTS + 1)}],
		[b"x", {"a": [{"_placeholder": True, "num": 7}]}],
	],
)
@pytest.mark.parametrize("kind", [packets.EVENT, packets.ACK])
def test_binary_values_that_clients_would_not_accept_are_refused(arguments: list[Any], kind: int) -> None:
	with pytest.raises(ValueError, match="binary values"):
		packets.encode_event("/a", ["event", *arguments], 1, kind)
	encoded = packets.encode_event("/a", ["event", {"_placeholder": "text"}, *[b"x"] * MAX_ATTACHMENTS])
	assert len(encoded.messages) == 1 + MAX_ATTACHMENTS
