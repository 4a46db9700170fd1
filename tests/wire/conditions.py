"""Waits for conditions. No test sleeps for a fixed time to let something happen."""

from __future__ import annotations

import itertools
import os
import random
import socket
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

Found = TypeVar("Found")

PATIENCE = 30.0
"""Seconds after which a test that waits for something fails."""


def _ports_in_turn() -> Iterator[int]:
	worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
	first = 20000 + worker % 6 * 2000
	# Another run on this machine, or the run before, may use the first ports of the range.
	start = random.randrange(2000)
	return itertools.cycle([first + (start + number) % 2000 for number in range(2000)])


_ports = _ports_in_turn()


def until(condition: Callable[[], Found], what: str = "", patience: float = PATIENCE) -> Found:
	"""Call `condition` until its result is truthy, and return the result.

	Args:
		condition: What to wait for.
		what: Its description, for the failure.
		patience: Seconds after which the test fails.
	"""
	end = time.monotonic() + patience
	while not (found := condition()):
		if time.monotonic() > end:
			raise AssertionError(f"timeout after {patience:.0f} s: {what or condition}")
		time.sleep(0.01)
	return found


def free_port() -> int:
	"""Return a free port below the range that the system uses for outgoing connections.

	Each process of pytest-xdist has a range of its own, and gets the ports of its range in turn, because a port is
	bound only some time after it was chosen.
	"""
	while True:
		port = next(_ports)
		with socket.socket() as probe:
			try:
				probe.bind(("127.0.0.1", port))
			except OSError:
				continue
			return port


def accepts(port: int) -> bool:
	"""Return whether a process listens on a port of this machine."""
	with socket.socket() as probe:
		probe.settimeout(1)
		return probe.connect_ex(("127.0.0.1", port)) == 0
