"""Binary values of a message, which JSON cannot hold: they are published beside it, as base64.

A path, and not a mark within the message, says where a binary value belongs. So no content of a message can pass for one.
"""

from __future__ import annotations

from base64 import b64encode
from typing import Any

from ..contract.channels import MAX_ATTACHMENTS, PLACEHOLDER

BinaryValues = list[tuple[list[str | int], str]]
"""Paths and base64 (`BINARY_FIELD` in the contract)."""


def take_binary(message: Any) -> tuple[Any, BinaryValues]:
	"""Return a message with null in place of its binary values, and these values.

	Args:
		message: What is published; binary values are `bytes`, `bytearray` and `memoryview` in mappings, lists and tuples.

	Returns:
		The same object and an empty list, if there are none.

	Raises:
		ValueError: There are too many, or the message contains a key that Socket.IO reserves for messages with binary values.
	"""
	values: BinaryValues = []
	try:
		rest = _without_binary(message, [], values)
	except RecursionError:
		# The encoder of JSON has an error of its own for it.
		return message, []
	if not values:
		return message, values
	if len(values) > MAX_ATTACHMENTS:
		raise ValueError(
			f"the message has {len(values)} binary values; Socket.IO allows {MAX_ATTACHMENTS} in an event. "
			"Publish several events, or join the values."
		)
	if _has_placeholder(rest):
		raise ValueError(
			f'the message has binary values and the key "{PLACEHOLDER}", which Socket.IO reserves for their places. '
			"Rename the key, or publish the binary values in an event of their own."
		)
	return rest, values


def _without_binary(value: Any, path: list[str | int], values: BinaryValues) -> Any:
	if isinstance(value, bytes | bytearray | memoryview):
		values.append(([*path], b64encode(value).decode()))
		return None
	if isinstance(value, dict):
		found = len(values)
		# JSON has the keys as text.
		copy = {key: _without_binary(item, [*path, str(key)], values) for key, item in value.items()}
		return copy if len(values) > found else value
	if isinstance(value, list | tuple):
		found = len(values)
		items = [_without_binary(item, [*path, index], values) for index, item in enumerate(value)]
		return items if len(values) > found else value
	return value


def _has_placeholder(value: Any) -> bool:
	if isinstance(value, dict):
		return PLACEHOLDER in value or any(_has_placeholder(item) for item in value.values())
	return isinstance(value, list | tuple) and any(_has_placeholder(item) for item in value)
