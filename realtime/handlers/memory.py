"""The memory that the arguments of an event take."""

from __future__ import annotations

from sys import getsizeof
from typing import Any


def memory_of(arguments: list[Any], limit: int) -> int:
	"""Return the memory of decoded JSON and binary values in bytes.

	The size of the message is no measure: an empty list is 3 bytes of JSON, but 64 bytes in memory.

	Args:
		arguments: The values. Objects that occur several times are counted each time.
		limit: Counting stops when the sum is above it, so that a large message does not take long.
	"""
	total = 0
	values: list[Any] = [arguments]
	while values:
		value = values.pop()
		total += getsizeof(value)
		if total > limit:
			break
		if isinstance(value, list):
			values.extend(value)
		elif isinstance(value, dict):
			values.extend(value)
			values.extend(value.values())
	return total
