"""Events that are kept for clients that recover: what is sent of them, and the memory that they take."""

from __future__ import annotations

import gc
import json
import tracemalloc
from typing import Any

import pytest

from realtime.bus.events import read_event
from realtime.bus.kept_events import KeptEvent
from realtime.json_codec import dumps, loads

NAMESPACE = "/site.test"


def payload(message: Any, room: str | None = "doc:ToDo/TASK-1", event: str = "doc_update") -> bytes:
	"""Return an event as the app publishes it."""
	return json.dumps({"event": event, "message": message, "room": room, "namespace": "site.test"}).encode()


def kept(published: bytes, milliseconds: int = 1_700_000_000_000, sequence: int = 3) -> KeptEvent:
	"""Return what is kept of an event in the stream."""
	event = read_event(published)
	event.position = (milliseconds, sequence)
	return KeptEvent.of(event)


def text_of(event: KeptEvent, offset: str = "") -> str:
	return str(event.encode(NAMESPACE, offset).messages[0])


MESSAGES = [
	1,
	None,
	{"doctype": "ToDo", "name": "a"},
	'ends like an offset "1700000000000-3"]',
	"ünïcödé 🎉",
	"\ud800 alone",
	1 << 70,
	[1e22, 1e15, 0.1],
]


@pytest.mark.parametrize("message", MESSAGES, ids=str)
@pytest.mark.parametrize("event", ["doc_update", "list_update"])
def test_each_client_is_sent_the_event_with_its_offset(event: str, message: Any) -> None:
	"""Also the second client, and one whose offset names lists whose updates it has not received."""
	one = kept(payload(message, event=event))
	own, other = "1700000000000-3", "1700000000000-9;1700000000000-1=doctype%3AToDo"
	expected = loads(dumps([event, message]))
	for offset in ("", other, "", other):
		head, _, data = text_of(one, offset).partition(",")
		assert head == f"2{NAMESPACE}"
		assert loads(data) == [*expected, offset or own]


def test_numbers_that_take_more_bytes_when_they_are_encoded_again() -> None:
	"""The event stays as it was read: it must not take more memory than was counted."""
	one = kept(payload(None).replace(b"null", b"[" + b"1e15," * 100 + b"0]"))
	assert text_of(one) == text_of(one)
	assert loads(text_of(one).partition(",")[2])[1][:2] == [1e15, 1e15]
	assert len(text_of(one)) > one.size


def test_another_message_for_a_list_update() -> None:
	one = kept(payload({"doctype": "ToDo", "name": "a"}, "doctype:ToDo", "list_update"))
	text_of(one)
	unnamed = one.with_message({"doctype": "ToDo"})
	assert (unnamed.room, unnamed.position, unnamed.size) == (one.room, one.position, one.size)
	assert '"name"' in text_of(one)
	assert '"name"' not in text_of(unnamed)


LIST_MESSAGE = {"doctype": "Sales Invoice", "name": "SINV-2026-00001", "user": "ann@example.com"}


# Each line would be measured for each of thousands of values, and the tests above run the same lines.
@pytest.mark.no_cover
@pytest.mark.parametrize("sent", [False, True], ids=["as it was read", "sent to a client"])
@pytest.mark.parametrize(
	("event", "message", "most"),
	[
		("doc_update", "x" * 40, 1.25),
		("doc_update", "x" * 1000, 1.1),
		("doc_update", "x" * 50_000, 1.1),
		("doc_update", "ü" * 1000, 6.0),
		("doc_update", [[] for _ in range(1000)], 1.4),
		("list_update", LIST_MESSAGE, 1.6),
		("list_update", {**LIST_MESSAGE, "rows": [[] for _ in range(1000)]}, 1.2),
	],
	ids=["40 bytes", "1 KB", "50 KB", "escaped", "empty lists", "list update", "large list update"],
)
def test_the_memory_that_is_counted_is_the_memory_that_is_taken(
	event: str, message: Any, most: float, sent: bool
) -> None:
	"""Never less. Once it is sent, JSON has no escapes and spaces any more; keys are counted, though decoded messages share them."""
	published = payload(message, event=event)
	count = max(40, 300_000 // len(published))
	for one in [kept(published) for _ in range(2)]:
		text_of(one)
	gc.collect()
	tracemalloc.start()
	try:
		before, _ = tracemalloc.get_traced_memory()
		# The bytes of each event are an object of their own, as those that are read from Redis.
		events = [
			kept(bytes(bytearray(published)), 1_700_000_000_000 + number, 300) for number in range(count)
		]
		if sent:
			for one in events:
				text_of(one)
		gc.collect()
		after, _ = tracemalloc.get_traced_memory()
	finally:
		tracemalloc.stop()
	counted = sum(one.memory for one in events)
	assert after - before <= counted * 1.01
	assert counted <= (after - before) * most
