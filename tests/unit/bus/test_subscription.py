"""What is read from the channel of events, and what is no event."""

from __future__ import annotations

import json
from typing import Any

import pytest

from realtime.bus.events import PublishedEvent, read_event
from realtime.bus.subscription import CHANNEL, EventSubscriber


def payload(message: Any, **more: Any) -> bytes:
	return json.dumps({"event": "e", "message": message, "room": "r", "namespace": "s", **more}).encode()


def nested(levels: int) -> Any:
	return json.loads("[" * levels + "]" * levels)


@pytest.mark.parametrize(
	"message", [None, "text", nested(300), [{"row": [number]} for number in range(1000)]]
)
def test_what_can_be_written_is_an_event(message: Any) -> None:
	event = read_event(payload(message, offset="1-1"))
	assert (event.site, event.room, event.event, event.message) == ("s", "r", "e", message)
	assert event.offset == "1-1"


def test_what_could_not_be_written_is_none() -> None:
	for levels in range(900, 5000, 50):
		brackets = "[" * levels + "]" * levels
		try:
			event = read_event(b'{"event":"e","message":' + brackets.encode() + b"}")
		except ValueError:
			continue
		assert json.dumps(event.message) == brackets


@pytest.mark.parametrize("names", [{"event": 1}, {"room": 1}, {"namespace": ["s"]}, {"offset": 7}])
def test_names_are_strings(names: dict[str, Any]) -> None:
	with pytest.raises(ValueError, match="must be strings"):
		read_event(payload(1, **names))


def test_events_of_sites_that_are_not_needed_are_left_out() -> None:
	events: list[PublishedEvent] = []
	endpoint: Any = None
	subscriber = EventSubscriber(endpoint, events.extend, {}, is_needed=lambda site: site == "ours")
	messages = [
		payload(1, namespace="ours"),
		payload(2, namespace="another"),
		payload(3, namespace="another", room=7),
		payload(4, namespace=None),
		payload(5, namespace=""),
		payload(6, namespace=["ours"]),
		b"[]",
	]
	subscriber._on_messages([(CHANNEL, message) for message in messages])
	assert [(event.site, event.message) for event in events] == [("ours", 1), (None, 4), (None, 5)]
	assert subscriber.received == 7
	assert subscriber.invalid == 2
