"""Frames between the sidecar and its Node process."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime.javascript.ipc import MAX_FRAME, FrameDecoder, FrameError, encode_arguments, encode_frame

operations = st.lists(st.lists(st.text() | st.integers(-(2**53), 2**53) | st.none()), max_size=4)
attachments = st.lists(st.binary(max_size=50), max_size=3)


@given(st.lists(st.tuples(operations, attachments), max_size=4), st.integers(1, 40))
def test_frames_round_trip_in_any_segments(frames: list[tuple[list[object], list[bytes]]], size: int) -> None:
	stream = b"".join(
		encode_frame([json.dumps(operation) for operation in operations], attachments)
		for operations, attachments in frames
	)
	decoder = FrameDecoder()
	decoded = [
		frame for start in range(0, len(stream), size) for frame in decoder.feed(stream[start : start + size])
	]
	assert decoded == frames


@pytest.mark.parametrize(
	"stream",
	[
		(MAX_FRAME + 1).to_bytes(4, "big"),
		encode_frame(["{"], []),
		b"\x00\x00\x00\x06\x00\x00\x00\x02{}",
		b"\x00\x00\x00\x07\x00\x00\x00\x02[]\x00",
		b"\x00\x00\x00\x0a\x00\x00\x00\x02[]\x00\x00\x00\x09",
	],
	ids=["too large", "not JSON", "not a list", "half a length", "truncated attachment"],
)
def test_invalid_frames(stream: bytes) -> None:
	with pytest.raises(FrameError):
		list(FrameDecoder().feed(stream))


def test_arguments_are_encoded_with_placeholders_for_binary() -> None:
	assert encode_arguments(["event", {"a": 1}]) == ('["event",{"a":1}]', [])
	json_text, binary = encode_arguments(["event", {"a": b"\x00"}])
	assert (json.loads(json_text), binary) == (["event", {"a": {"_placeholder": True, "num": 0}}], [b"\x00"])
