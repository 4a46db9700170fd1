"""What is read from the channel of events, and what is no event."""

from __future__ import annotations

import json
from typing import Any

import pytest

from realtime.bus.events import read_event


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
