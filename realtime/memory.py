"""The memory that decoded JSON takes."""

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
	total = getsizeof(arguments)
	containers: list[Any] = [arguments]
	while containers:
		container = containers.pop()
		if isinstance(container, dict):
			total += sum(map(getsizeof, container))
			container = container.values()
		for value in container:
			if total > limit:
				return total
			total += getsizeof(value)
			if isinstance(value, list | dict):
				containers.append(value)
	return total
