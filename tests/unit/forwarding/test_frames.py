"""Frames on a link: written, cut anywhere, and read again; what is no frame is refused."""

from __future__ import annotations

import random

import pytest

from realtime.forwarding import frames
from realtime.forwarding.frames import FrameError, FrameParser

EXAMPLES = [
	(frames.OPEN, 1, b"198.51.100.7"),
	(frames.DATA, 1, b"x" * frames.MAX_DATA),
	(frames.CREDIT, 2**40, frames.encode_count(70_000)),
	(frames.END, 3, b""),
	(frames.PING, 0, b""),
]


def test_frames_are_read_wherever_they_are_cut() -> None:
	data = b"".join(frames.encode(*frame) for frame in EXAMPLES)
	for seed in range(200):
		chooser = random.Random(seed)
		cuts = sorted(chooser.randrange(len(data)) for _ in range(chooser.randrange(8)))
		parser = FrameParser()
		found: list[frames.Frame] = []
		for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True):
			found += parser.feed(data[start:end])
		assert found == EXAMPLES


@pytest.mark.parametrize(
	"data",
	[frames.encode(99), frames.encode(0), b"GET / HTTP/1.1\r\n\r\n", b"\x02" + b"\0" * 8 + b"\xff\xff"],
)
def test_what_is_no_frame_is_refused_with_its_head(data: bytes) -> None:
	with pytest.raises(FrameError):
		list(FrameParser().feed(data))


@pytest.mark.parametrize("payload", [b"", b"\0", b"\0" * 5])
def test_a_credit_of_another_size_is_refused(payload: bytes) -> None:
	with pytest.raises(FrameError):
		frames.read_count(payload)
