"""One end of a stream: its window, its order, and how it ends."""

from __future__ import annotations

import pytest

from realtime.forwarding import frames
from realtime.forwarding.frames import FrameError
from realtime.forwarding.stream import WINDOW, Stream


class FakeLink:
	"""Records the frames of a stream; not writable while `paused`."""

	def __init__(self) -> None:
		self.paused = False
		self.sent: list[tuple[int, bytes]] = []
		self.waiting: list[Stream] = []
		self.forgotten = False

	@property
	def writable(self) -> bool:
		return not self.paused

	def send(self, kind: int, stream: int, payload: bytes = b"") -> None:
		self.sent.append((kind, payload))

	def wait(self, stream: Stream) -> None:
		self.waiting.append(stream)

	def forget(self, stream: Stream) -> None:
		self.forgotten = True

	def data(self) -> bytes:
		"""Return the bytes that were sent."""
		return b"".join(payload for kind, payload in self.sent if kind == frames.DATA)


class FakeReceiver:
	"""Records the calls of a stream."""

	def __init__(self) -> None:
		self.calls: list[str] = []
		self.data = b""

	def on_data(self, data: bytes) -> None:
		self.data += data

	def on_flushed(self) -> None:
		self.calls.append("flushed")

	def on_drain(self) -> None:
		self.calls.append("drain")

	def on_end(self) -> None:
		self.calls.append("end")

	def on_close(self) -> None:
		self.calls.append("close")

	def on_done(self) -> None:
		self.calls.append("done")

	def on_reset(self) -> None:
		self.calls.append("reset")


def make() -> tuple[FakeLink, FakeReceiver, Stream]:
	"""Return a stream with its link and its receiver."""
	link, receiver = FakeLink(), FakeReceiver()
	stream = Stream(link, 1)
	stream.receiver = receiver
	return link, receiver, stream


def credit(stream: Stream, count: int) -> None:
	"""Let the other end have passed on bytes."""
	stream.on_frame(frames.CREDIT, frames.encode_count(count))


def test_not_more_than_a_window_is_on_the_way() -> None:
	link, receiver, stream = make()
	data = bytes(range(256)) * 1000
	stream.write(data)
	assert link.data() == data[:WINDOW]
	assert stream.waiting == len(data) - WINDOW
	assert all(len(payload) <= frames.MAX_DATA for _, payload in link.sent)
	credit(stream, 1000)
	assert link.data() == data[: WINDOW + 1000]
	for _ in range(3):
		credit(stream, WINDOW)
	assert link.data() == data
	assert receiver.calls == ["flushed"]


@pytest.mark.parametrize("kind", [frames.END, frames.CLOSE])
def test_what_was_sent_before_the_end_may_be_lost(kind: int) -> None:
	_, receiver, stream = make()
	stream.write(b"response")
	stream.finish(kind)
	stream.on_lost()
	assert receiver.calls == ["reset"]


@pytest.mark.parametrize(("delivered", "kind"), [(True, frames.DONE), (False, frames.RESET)])
def test_the_owner_is_told_whether_all_was_passed_on(delivered: bool, kind: int) -> None:
	link, _, stream = make()
	stream.on_frame(frames.END, b"")
	assert stream.ended
	stream.confirm(delivered)
	assert link.sent == [(kind, b"")]


def test_the_end_follows_all_that_waits() -> None:
	link, receiver, stream = make()
	stream.write(b"x" * (WINDOW + 10))
	stream.finish(frames.END)
	assert not stream.ended
	credit(stream, WINDOW)
	assert [kind for kind, _ in link.sent[-2:]] == [frames.DATA, frames.END]
	assert not stream.ended
	credit(stream, 10)
	assert link.sent[-1][0] == frames.END, "once"
	stream.on_frame(frames.DONE, b"")
	assert stream.ended
	assert receiver.calls[-1] == "done"
	assert link.forgotten
	assert receiver.calls == ["flushed", "done"]
	stream.write(b"more")
	assert link.sent[-1][0] == frames.END


def test_a_link_that_cannot_take_more_is_waited_for() -> None:
	link, _, stream = make()
	link.paused = True
	stream.write(b"one")
	stream.write(b"two")
	stream.finish(frames.CLOSE)
	assert link.sent == []
	assert link.waiting
	link.paused = False
	stream.flush()
	assert link.sent == [(frames.DATA, b"onetwo"), (frames.CLOSE, b"")]


def test_an_end_alone_waits_for_the_link_too() -> None:
	link, _, stream = make()
	link.paused = True
	stream.finish(frames.CLOSE)
	assert link.sent == []
	link.paused = False
	link.waiting[0].flush()
	assert link.sent == [(frames.CLOSE, b"")]


def test_credit_is_given_for_what_was_passed_on() -> None:
	link, receiver, stream = make()
	for _ in range(10):
		stream.on_frame(frames.DATA, b"x" * 16_000)
		stream.passed_on(16_000)
	assert receiver.data == b"x" * 160_000
	given = [frames.read_count(payload) for kind, payload in link.sent if kind == frames.CREDIT]
	assert 160_000 - WINDOW // 2 <= sum(given) <= 160_000
	assert len(given) < 10


def test_an_other_end_that_does_not_keep_the_window_is_refused() -> None:
	_, receiver, stream = make()
	for _ in range(4):
		stream.on_frame(frames.DATA, b"x" * 16_000)
	with pytest.raises(FrameError):
		stream.on_frame(frames.DATA, b"x" * 16_000)
	assert len(receiver.data) <= WINDOW
	_, _, stream = make()
	with pytest.raises(FrameError):
		credit(stream, 1)


@pytest.mark.parametrize(
	("kind", "call"), [(frames.END, "end"), (frames.CLOSE, "close"), (frames.RESET, "reset")]
)
def test_a_stream_that_has_ended_calls_nobody_and_sends_nothing(kind: int, call: str) -> None:
	link, receiver, stream = make()
	stream.write(b"x" * (WINDOW + 10))
	sent = len(link.sent)
	stream.on_frame(kind, b"")
	stream.on_frame(kind, b"")
	stream.on_frame(frames.DATA, b"late")
	stream.on_lost()
	stream.reset()
	stream.passed_on(WINDOW)
	assert receiver.calls == [call]
	assert receiver.data == b""
	assert len(link.sent) == sent
	assert stream.waiting == 0
