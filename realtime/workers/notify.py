"""Notifications to systemd: ready, reloading, stopping, and the watchdog (sd_notify(3))."""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Mapping

logger = logging.getLogger("realtime.workers")


class Notifier:
	"""Tells systemd the state of this process; does nothing if systemd has not asked for it (`Type=notify`).

	Args:
		environment: The environment variables: NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID.
	"""

	def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
		address = environment.get("NOTIFY_SOCKET", "")
		# An address that begins with @ is in the abstract namespace.
		self._address = "\0" + address[1:] if address.startswith("@") else address
		self.watchdog_seconds = self._watchdog_seconds(environment)
		"""Seconds after which systemd kills the process unless `alive` is called; 0 if it does not."""

	def ready(self) -> None:
		"""Say that the process serves, after its start or after a reload."""
		self._send("READY=1")

	def reloading(self) -> None:
		"""Say that a reload has begun; `ready` ends it."""
		self._send(f"RELOADING=1\nMONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

	def stopping(self) -> None:
		"""Say that the process ends."""
		self._send("STOPPING=1")

	def alive(self) -> None:
		"""Reset the watchdog."""
		self._send("WATCHDOG=1")

	@staticmethod
	def _watchdog_seconds(environment: Mapping[str, str]) -> float:
		microseconds = environment.get("WATCHDOG_USEC", "")
		pid = environment.get("WATCHDOG_PID", "")
		if not microseconds.isdecimal() or (pid and pid != str(os.getpid())):
			return 0.0
		return int(microseconds) / 1e6

	def _send(self, state: str) -> None:
		if not self._address:
			return
		try:
			with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
				notify.setblocking(False)
				notify.sendto(state.encode(), self._address)
		except OSError as error:
			logger.warning(
				"cannot notify systemd of %s at NOTIFY_SOCKET: %s", state.partition("\n")[0], error
			)
