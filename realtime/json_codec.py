"""JSON as browsers, Redis and Frappe write it: orjson, and the standard library for what orjson refuses."""

from __future__ import annotations

import json
from typing import Any

import orjson

SAFE_DEPTH = 200
"""Levels of nested JSON that all JSON libraries used here can read and write, also as a part of a message and from any stack."""


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
		try:
			return json.dumps(value, separators=(",", ":"), allow_nan=False)
		except ValueError:
			# It contains itself, or NaN, which clients cannot read: they would close their connections.
			readable = json.loads(json.dumps(value), parse_constant=lambda name: None)
			return json.dumps(readable, separators=(",", ":"))
	except RecursionError as error:
		raise ValueError("nested too deeply") from error


def is_deeper(value: Any, levels: int = SAFE_DEPTH) -> bool:
	"""Return True if lists and objects in decoded JSON are nested in more than `levels` levels.

	A value that one client sends and that others receive must not be: the encoder of the standard library raises at a depth that depends
	on the version of Python and on the stack, so a value that was accepted here may raise where it is encoded for another client.
	"""
	inner = [value]
	for _ in range(levels):
		inner = [
			one
			for outer in inner
			if isinstance(outer, list | dict)
			for one in (outer.values() if isinstance(outer, dict) else outer)
		]
		if not inner:
			return False
	return any(isinstance(one, list | dict) for one in inner)


def shown(value: Any, most: int) -> str:
	"""Return what a client has sent for a message to it: text and numbers, in `most` characters, and of anything else the type.

	The text of a list or an object may be large, or nested too deeply to be made.
	"""
	if value is None or isinstance(value, str | int | float):
		return f"{value!r:.{most}}"
	return f"a value of the type {type(value).__name__}"
