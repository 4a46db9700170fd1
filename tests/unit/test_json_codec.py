"""JSON of clients: how deeply it is nested, and how it is shown in messages."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from realtime.json_codec import SAFE_DEPTH, is_deeper, loads, shown


def nested(levels: int) -> Any:
	return loads("[" * levels + "]" * levels)


@pytest.mark.parametrize(
	("value", "levels"),
	[
		(None, 0),
		("[[[", 0),
		([], 1),
		({}, 1),
		([1, "a"], 1),
		({"a": 1, "b": [2]}, 2),
		([1, [2], {"a": {}}], 3),
		([[1, 2], [[3, 4]], 5], 3),
		(nested(900), 900),
	],
)
def test_how_deeply_a_value_is_nested(value: Any, levels: int) -> None:
	assert not is_deeper(value, levels)
	if levels:
		assert is_deeper(value, levels - 1)


def test_orjson_writes_what_is_safe_also_as_a_part_of_a_message() -> None:
	value = nested(SAFE_DEPTH)
	assert not is_deeper(value)
	assert is_deeper([value])
	for _ in range(50):
		value = {"key": value}
	orjson.dumps(value)


@pytest.mark.parametrize(
	("value", "text"),
	[
		(None, "None"),
		(True, "True"),
		(1.5, "1.5"),
		("a'b", '"a\'b"'),
		("x" * 1000, "'" + "x" * 19),
		(nested(1000), "a value of the type list"),
		({"a": nested(1000)}, "a value of the type dict"),
		(b"x" * 1000, "a value of the type bytes"),
	],
)
def test_a_value_in_a_message(value: Any, text: str) -> None:
	assert shown(value, 20) == text
