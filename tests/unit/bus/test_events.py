"""The format in which publishers write events."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from realtime.bus.events import read_event
from realtime.bus.kept_events import KeptEvent


def payload(**fields: Any) -> bytes:
	return json.dumps({"event": "e", "message": None, "room": "r", "namespace": "s", **fields}).encode()


def text(value: bytes) -> str:
	return base64.b64encode(value).decode()


DEEP: Any = None
for _ in range(300):
	DEEP = [DEEP]


@pytest.mark.parametrize(
	("message", "binary", "expected"),
	[
		(None, [[[], text(b"\x00\xff")]], b"\x00\xff"),
		({"a": None, "n": 1}, [[["a"], text(b"x")]], {"a": b"x", "n": 1}),
		([None, {"b": [None]}], [[[0], text(b"x")], [[1, "b", 0], text(b"y")]], [b"x", {"b": [b"y"]}]),
		({"_placeholder": True, "num": 0}, None, {"_placeholder": True, "num": 0}),
		({"binary": [[[], "eA=="]]}, None, {"binary": [[[], "eA=="]]}),
		({"a": "_placeholder", "b": None}, [[["b"], ""]], {"a": "_placeholder", "b": b""}),
	],
)
def test_binary_values(message: Any, binary: Any, expected: Any) -> None:
	event = read_event(payload(message=message, **({} if binary is None else {"binary": binary})))
	assert event.message == expected


@pytest.mark.parametrize(
	"fields",
	[
		{"binary": [[["a"], "eA=="]]},
		{"message": [], "binary": [[[3], "eA=="]]},
		{"message": [None], "binary": [[[0], "no base64"]]},
		{"message": {"_placeholder": True, "a": None}, "binary": [[["a"], "eA=="]]},
		{"message": [None] * 11, "binary": [[[number], "eA=="] for number in range(11)]},
		{"message": [None], "binary": [[0]]},
		{"message": [None], "binary": 5},
		{"message": DEEP, "binary": [[[0] * 300, "eA=="]]},
		{"offset": "1-0", "latest": {"key": "a"}},
		{"offset": "1-0", "latest": 5},
		*[
			{"offset": "1-0", "latest": {"key": "a", "seconds": seconds}}
			for seconds in (10**400, float("inf"), float("nan"), -1, "1")
		],
		{"event": "connect"},
		{"event": "disconnect", "offset": "1-0"},
	],
)
def test_invalid_events(fields: dict[str, Any]) -> None:
	with pytest.raises((ValueError, KeyError, TypeError, AttributeError, IndexError)):
		read_event(payload(**fields))


def test_an_event_of_which_only_the_newest_one_is_kept() -> None:
	event = read_event(payload(latest={"key": "a", "seconds": 1}))
	assert (event.latest, event.latest_seconds) == ("a", 1)


def test_a_kept_event_has_its_binary_values_each_time() -> None:
	event = read_event(payload(offset="1-0", message={"a": None}, binary=[[["a"], "eA=="]]))
	event.position = (1, 0)
	kept = KeptEvent.of(event)
	for offset in ("", "2-0", ""):
		head = f'51-/s,["e",{{"a":{{"_placeholder":true,"num":0}}}},"{offset or "1-0"}"]'
		assert list(kept.encode("/s", offset).messages) == [head, b"x"]
