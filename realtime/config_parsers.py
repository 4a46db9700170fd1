"""Parsers of configuration values: each takes what a file or a variable holds, and raises `ValueError` for a bad value."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from ipaddress import ip_network
from math import ceil
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from frappe_realtime.contract.settings import AUTO_WORKERS, MAX_WORKERS


def text(value: Any) -> str:
	"""Return a string."""
	if not isinstance(value, str):
		raise ValueError("it must be a string")
	return value


def redis_url(value: Any) -> str:
	"""Return the URL of a Redis server: `redis://`, `rediss://` or `unix://`."""
	url_text = text(value)
	url = urlsplit(url_text)
	try:
		has_target = bool(url.path if url.scheme == "unix" else url.hostname and url.port != 0)
	except ValueError:
		has_target = False
	if url.scheme not in ("redis", "rediss", "unix") or not has_target:
		raise ValueError("it must be redis://HOST:PORT, rediss://HOST:PORT (TLS) or unix:///PATH")
	return url_text


def number(low: float, high: float) -> Callable[[Any], float]:
	"""Return a parser of numbers from `low` to `high`, both included."""

	def read(value: Any) -> float:
		if isinstance(value, bool):
			raise ValueError("it must be a number")
		try:
			result = float(value)
		except (TypeError, ValueError):
			raise ValueError("it must be a number") from None
		if not low <= result <= high:
			raise ValueError(f"it must be from {low:g} to {high:g}")
		return result

	return read


def integer(low: int, high: int) -> Callable[[Any], int]:
	"""Return a parser of whole numbers from `low` to `high`, both included."""

	def read(value: Any) -> int:
		result = number(low, high)(value)
		if result != int(result):
			raise ValueError("it must be a whole number")
		return int(result)

	return read


CPU_QUOTA = Path("/sys/fs/cgroup/cpu.max")
"""The CPU time that a container may use: microseconds, or `max`, and the period in microseconds (cgroup v2)."""


def worker_count(value: Any) -> int:
	"""Return a number of worker processes; `auto` is one for each core that this process may use."""
	return usable_cores() if value == AUTO_WORKERS else integer(1, MAX_WORKERS)(value)


def usable_cores() -> int:
	"""Return the number of cores that this process may use: of the machine, its CPU affinity or its container."""
	cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
	with suppress(OSError, ValueError):
		quota, period = map(int, CPU_QUOTA.read_text().split())
		cores = min(cores, ceil(quota / period))
	return max(1, cores)


def flag(value: Any) -> bool:
	"""Return a boolean; Frappe writes 0 and 1."""
	if value in (True, 1, "1", "true", "True"):
		return True
	if value in (False, 0, "0", "false", "False", None, ""):
		return False
	raise ValueError("it must be 0 or 1")


def choice(*choices: str) -> Callable[[Any], str]:
	"""Return a parser that accepts one of `choices`."""

	def read(value: Any) -> str:
		if value not in choices:
			raise ValueError(f"it must be one of {', '.join(map(repr, choices))}")
		return str(value)

	return read


def string_list(value: Any) -> tuple[str, ...]:
	"""Return a tuple of strings, from a JSON list or from a comma-separated text."""
	if isinstance(value, str):
		return tuple(item.strip() for item in value.split(",") if item.strip())
	if isinstance(value, list) and all(isinstance(item, str) for item in value):
		return tuple(value)
	raise ValueError("it must be a list of strings")


def networks(value: Any) -> tuple[str, ...]:
	"""Return addresses and networks of IPv4 and IPv6."""
	names = string_list(value)
	for name in names:
		try:
			ip_network(name, strict=False)
		except ValueError as error:
			raise ValueError(f"it must be a list of addresses and networks: {error}") from error
	return names


def log_level(value: Any) -> str:
	"""Return the name of a log level in upper case."""
	return choice("DEBUG", "INFO", "WARNING", "ERROR")(str(value).upper())


def transports(value: Any) -> tuple[str, ...]:
	"""Return the transports that clients may use, of which there is at least one."""
	names = string_list(value)
	if not names or set(names) - {"polling", "websocket"}:
		raise ValueError("it must be a list of 'polling' and 'websocket'")
	return names
