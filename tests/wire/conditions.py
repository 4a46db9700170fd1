"""Waits for conditions. No test sleeps for a fixed time to let something happen."""

from __future__ import annotations

import fcntl
import random
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

Found = TypeVar("Found")

PATIENCE = 30.0
"""Seconds after which a test that waits for something fails."""

LOOK_SECONDS = 0.1
"""Seconds between two looks at a condition for which something is done meanwhile."""

PORTS = range(20000, 32000)
"""Below the range that the system uses for outgoing connections."""

PORTS_OF_A_RUN = 500


def _own_ports() -> Iterator[int]:
	"""Yield the ports of a block that no other test process on this machine uses, again and again."""
	blocks = list(range(PORTS.start, PORTS.stop, PORTS_OF_A_RUN))
	random.shuffle(blocks)
	for first in blocks:
		lock = (Path(tempfile.gettempdir()) / f"frappe-realtime-ports-{first}.lock").open("w")
		try:
			fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
		except OSError:
			lock.close()
			continue
		while lock:
			yield from range(first, first + PORTS_OF_A_RUN)
	raise RuntimeError(f"{len(blocks)} test processes use the ports {PORTS.start} to {PORTS.stop} already")


_ports = _own_ports()


def until(
	condition: Callable[[], Found],
	what: str | Callable[[], str] = "",
	patience: float = PATIENCE,
	pause: float = 0.05,
) -> Found:
	"""Call `condition` until its result is truthy, and return the result.

	The pauses between the calls grow: what takes seconds is not asked for a hundred times a second, by a test that takes the
	processor from those that run beside it.

	Args:
		condition: What to wait for.
		what: Its description, for the failure; a function if it says what has arrived by then.
		patience: Seconds after which the test fails.
		pause: Seconds between two calls at most.
	"""
	begun = time.monotonic()
	while not (found := condition()):
		waited = time.monotonic() - begun
		if waited > patience:
			description = what() if callable(what) else what or condition
			raise AssertionError(f"timeout after {patience:.0f} s: {description}")
		time.sleep(min(pause, max(0.01, waited / 10)))
	return found


def repeat_until(
	action: Callable[[], object], condition: Callable[[], object], what: str, patience: float = PATIENCE
) -> None:
	"""Call `action` about fifty times a second until `condition` is truthy, which costs more and is called less often.

	Args:
		action: What to do meanwhile, such as to publish an event.
		condition: What to wait for.
		what: Its description, for the failure.
		patience: Seconds after which the test fails.
	"""
	looked = 0.0

	def step() -> object:
		nonlocal looked
		action()
		if time.monotonic() < looked + LOOK_SECONDS:
			return False
		found = condition()
		looked = time.monotonic()
		return found

	until(step, what, patience, pause=0.02)


def free_port() -> int:
	"""Return a free port that this process has not been given lately: a port is bound only some time after it was chosen."""
	while True:
		port = next(_ports)
		with socket.socket() as probe:
			try:
				probe.bind(("127.0.0.1", port))
			except OSError:
				continue
			return port


def accepts(port: int, host: str = "127.0.0.1") -> bool:
	"""Return whether a process listens on a port of an address of this machine."""
	with socket.socket() as probe:
		probe.settimeout(1)
		return probe.connect_ex((host, port)) == 0
