"""Frames between the sidecar and its Node process."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime.javascript.frames import MAX_FRAME, Decoder, FrameError, encode

operations = st.lists(st.lists(st.text() | st.integers(-(2**53), 2**53) | st.none()), max_size=4)
attachments = st.lists(st.binary(max_size=50), max_size=3)


@given(st.lists(st.tuples(operations, attachments), max_size=4), st.integers(1, 40))
def test_what_is_encoded_is_decoded_however_it_is_cut(
	frames: list[tuple[list[object], list[bytes]]], size: int
) -> None:
	stream = b"".join(encode([json.dumps(one) for one in each], binary) for each, binary in frames)
	decoder = Decoder()
	found = [
		frame for start in range(0, len(stream), size) for frame in decoder.feed(stream[start : start + size])
	]
	assert found == frames


@pytest.mark.parametrize(
	"stream",
	[
		(MAX_FRAME + 1).to_bytes(4, "big"),
		encode(["{"], []),
		b"\x00\x00\x00\x06\x00\x00\x00\x02{}",
		b"\x00\x00\x00\x07\x00\x00\x00\x02[]\x00",
		b"\x00\x00\x00\x0a\x00\x00\x00\x02[]\x00\x00\x00\x09",
	],
	ids=["too large", "no JSON", "no list", "half a length", "an attachment that is cut off"],
)
def test_what_is_no_frame_is_refused(stream: bytes) -> None:
	with pytest.raises(FrameError):
		list(Decoder().feed(stream))
