"""JSON as browsers, Redis and Frappe write it: orjson, and the standard library for what orjson refuses."""

from __future__ import annotations

import json
from typing import Any

import orjson


def loads(text: str | bytes) -> Any:
	"""Return the value of a JSON text.

	Accepts what Python and JavaScript write beyond the standard: NaN and lone surrogates.

	Raises:
		ValueError: The text is not JSON, or is nested too deeply.
	"""
	try:
		return orjson.loads(text)
	except orjson.JSONDecodeError:
		try:
			return json.loads(text)
		except RecursionError as error:
			raise ValueError("nested too deeply") from error


def dumps(value: Any) -> str:
	"""Return `value` as JSON that JavaScript can read: NaN becomes null.

	Raises:
		TypeError: JSON cannot hold the value, for instance bytes.
		ValueError: The value contains itself, or is nested more deeply than the standard library can write.
	"""
	try:
		return orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS).decode()
	except TypeError:
		return dumps_slowly(value)


def dumps_slowly(value: Any) -> str:
	"""Return what orjson refuses and JSON allows: integers beyond 64 bits, lone surrogates, more than 254 levels."""
	try:
		return json.dumps(value, separators=(",", ":"))
	except RecursionError as error:
		raise ValueError("nested too deeply") from error
