"""What systemd is told, and what its watchdog needs."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.wire.conditions import until
from tests.wire.conftest import LONG, MakeBench
from tests.wire.workers import workers


class Systemd:
	"""Receives the notifications of a sidecar.

	Args:
		folder: Where its socket is.
	"""

	def __init__(self, folder: Path) -> None:
		self.path = folder / "notify"
		self.messages: list[str] = []
		self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
		self._socket.bind(str(self.path))
		self._socket.setblocking(False)

	def received(self, prefix: str, count: int = 1) -> bool:
		"""Return whether `count` messages that begin with `prefix` have come."""
		try:
			while True:
				self.messages.append(self._socket.recv(4096).decode())
		except BlockingIOError:
			return sum(message.startswith(prefix) for message in self.messages) >= count

	def close(self) -> None:
		"""Close the socket."""
		self._socket.close()


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[Systemd]:
	one = Systemd(tmp_path)
	yield one
	one.close()


@pytest.mark.parametrize("count", [1, 2])
def test_notifications(make_bench: MakeBench, systemd: Systemd, count: int) -> None:
	env = {"NOTIFY_SOCKET": str(systemd.path), "WATCHDOG_USEC": "9000000"}
	bench = make_bench(common={"socketio_workers": count}, env=env)
	until(lambda: systemd.received("READY=1"), "READY=1")
	until(lambda: systemd.received("WATCHDOG=1", 3), "the watchdog")
	if count > 1:
		workers(bench, count)
		bench.sidecar.signal(signal.SIGHUP)
		until(lambda: systemd.received("READY=1", 2), "READY=1 after the reload", LONG)
		kinds = [
			message.partition("=")[0] for message in systemd.messages if not message.startswith("WATCHDOG")
		]
		assert kinds == ["READY", "RELOADING", "READY"]
	assert bench.sidecar.stop() == 0
	assert systemd.received("STOPPING=1")


def test_the_watchdog_kills_a_worker_that_is_blocked(make_bench: MakeBench, systemd: Systemd) -> None:
	env = {"NOTIFY_SOCKET": str(systemd.path), "WATCHDOG_USEC": "9000000"}
	bench = make_bench(common={"socketio_workers": 2}, env=env)
	pid = workers(bench, 2)[1]
	os.kill(pid, signal.SIGSTOP)
	until(lambda: f"worker 1 (pid {pid}) has not reported" in bench.sidecar.log, "the watchdog")
	until(lambda: pid not in workers(bench, 2).values(), "a successor", LONG)
