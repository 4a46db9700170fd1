"""Waiting for conditions, never for time."""

from __future__ import annotations

import random
import socket
import time
from collections.abc import Callable
from typing import TypeVar

Found = TypeVar("Found")

PATIENCE = 30.0
"""Seconds after which a test gives up; no test measures time."""


def until(condition: Callable[[], Found], what: str = "", patience: float = PATIENCE) -> Found:
	"""Return the first truthy result of `condition`; fail when it does not come."""
	end = time.monotonic() + patience
	while not (found := condition()):
		if time.monotonic() > end:
			raise AssertionError(f"in vain for {patience:.0f} s: {what or condition}")
		time.sleep(0.01)
	return found


def free_port() -> int:
	"""Return a free port outside the range from which the system takes ports for outgoing connections."""
	while True:
		port = random.randrange(20000, 32000)
		with socket.socket() as probe:
			try:
				probe.bind(("127.0.0.1", port))
			except OSError:
				continue
			return port


def accepts(port: int) -> bool:
	"""Tell whether something listens on a port of this machine."""
	with socket.socket() as probe:
		probe.settimeout(1)
		return probe.connect_ex(("127.0.0.1", port)) == 0
