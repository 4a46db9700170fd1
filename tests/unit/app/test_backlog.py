"""The backlog: order, numbers, and the bounds of count, age and bytes."""

from __future__ import annotations

import pytest

from frappe_realtime.publishing import backlog as backlog_module
from frappe_realtime.publishing.backlog import Backlog, Message


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
	"""The time of the backlog's clock, which a test can change."""
	now = [1000.0]
	monkeypatch.setattr(backlog_module, "monotonic", lambda: now[0])
	return now


def message(payload: str = "{}", expires: bool = True) -> Message:
	return Message("events", payload, expires=expires)


def numbers(messages: list[Message]) -> list[int]:
	return [message.number for message in messages]


def test_a_message_has_no_history_and_expires_unless_it_says_otherwise() -> None:
	it = Message("events", "{}")
	assert (it.stream, it.history_count, it.history_seconds, it.expires) == (None, 0, 0, True)
	assert (it.number, it.created) == (0, 0.0)


def test_messages_are_numbered_in_order_and_stay_until_they_are_written(now: list[float]) -> None:
	backlog = Backlog(10, 60)
	assert backlog.add([message("a"), message("bb")]) == []
	now[0] += 5
	assert backlog.add([message("ccc")]) == []
	assert [each.created for each in backlog.messages] == [1000, 1000, 1005]
	assert numbers(backlog.oldest(2)) == [1, 2]
	assert (len(backlog), backlog.bytes, backlog.last_number, backlog.dropped) == (3, 6, 3, 0)
	backlog.remove_written(2)
	assert numbers(backlog.oldest(10)) == [3]
	assert (len(backlog), backlog.bytes, backlog.last_number, backlog.dropped) == (1, 3, 3, 0)
	backlog.remove_written(5)
	assert (len(backlog), backlog.bytes) == (0, 0)


def test_a_payload_over_the_bytes_is_refused_and_gets_no_number(monkeypatch: pytest.MonkeyPatch) -> None:
	monkeypatch.setattr(backlog_module, "PENDING_BYTES", 3)
	backlog = Backlog(10, 60)
	large = message("aaaa")
	assert backlog.add([large, message("bbb")]) == [large]
	assert (large.number, backlog.last_number, backlog.bytes, backlog.dropped) == (0, 1, 3, 1)
	assert backlog.drop_excess() == []


@pytest.mark.parametrize(("max_count", "kept"), [(2, [2, 3]), (1, [3]), (0, [3]), (-1, [3])])
def test_the_oldest_are_dropped_over_the_count(max_count: int, kept: list[int]) -> None:
	"""One message is held at least, since it may be under way."""
	backlog = Backlog(max_count, 60)
	backlog.add([message("a"), message("b"), message("c")])
	dropped = backlog.drop_excess()
	assert numbers(dropped) == [number for number in (1, 2, 3) if number not in kept]
	assert numbers(backlog.oldest(10)) == kept
	assert (backlog.bytes, backlog.dropped) == (len(kept), len(dropped))


def test_the_oldest_are_dropped_over_the_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
	monkeypatch.setattr(backlog_module, "PENDING_BYTES", 5)
	backlog = Backlog(10, 60)
	backlog.add([message("aa"), message("bbb")])
	assert backlog.drop_excess() == []
	backlog.add([message("c")])
	assert numbers(backlog.drop_excess()) == [1]
	assert backlog.bytes == 4


def test_messages_expire_in_order(now: list[float]) -> None:
	"""A message that does not expire keeps those behind it."""
	backlog = Backlog(10, 60)
	backlog.add([message()])
	now[0] += 1
	backlog.add([message(), message(expires=False), message()])
	now[0] += 59
	assert backlog.drop_excess() == []
	now[0] += 0.5
	assert numbers(backlog.drop_excess()) == [1]
	now[0] += 100
	assert numbers(backlog.drop_excess()) == [2]
	assert numbers(backlog.oldest(10)) == [3, 4]
	assert backlog.dropped == 2


@pytest.mark.parametrize(("count", "half_full"), [(0, False), (2, False), (3, True)])
def test_half_full(count: int, half_full: bool) -> None:
	backlog = Backlog(4, 60)
	backlog.add([message() for _ in range(count)])
	assert backlog.is_half_full is half_full


def test_all_messages_can_expire(now: list[float]) -> None:
	backlog = Backlog(10, 60)
	assert backlog.drop_excess() == []
	backlog.add([message(), message()])
	now[0] += 61
	assert numbers(backlog.drop_excess()) == [1, 2]
	assert (len(backlog), backlog.bytes) == (0, 0)
