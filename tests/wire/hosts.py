"""Two sidecars of one bench on different addresses, as on two hosts, behind an nginx that sends each request to the next one."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

from tests.wire.background import Background
from tests.wire.bench import APP_SITE, Bench
from tests.wire.conditions import until
from tests.wire.conftest import LONG
from tests.wire.nginx import Nginx
from tests.wire.sidecar import Sidecar

ADDRESSES = ("127.0.0.2", "127.0.0.3")
WORKERS = 2


class Hosts:
	"""A bench whose sidecars are on several addresses. `bench.sidecar` stands for the nginx in front of them.

	Args:
		background: The loop of the clients.
		folder: An empty folder.
		common: More keys of common_site_config.json.
		env: More environment variables of the second sidecar.
	"""

	def __init__(
		self,
		background: Background,
		folder: Path,
		common: dict[str, Any] | None = None,
		env: dict[str, str] | None = None,
	) -> None:
		self.bench = Bench(
			background, folder, persist=True, common={"socketio_workers": WORKERS, **(common or {})}
		)
		self.port = self.bench.sidecar.port
		self.sidecars = [
			Sidecar(
				self.bench.folder,
				folder / f"host-{address}.log",
				("--host", address),
				env if address == ADDRESSES[1] else None,
				port=self.port,
				host=address,
			)
			for address in ADDRESSES
		]
		self._folder = folder / "nginx"
		self._folder.mkdir()
		self._nginx: Nginx | None = None

	@property
	def nginx(self) -> Nginx:
		"""The nginx in front of the sidecars."""
		assert self._nginx
		return self._nginx

	def start(self) -> Hosts:
		"""Start all processes, and wait until all of them know each other."""
		self.bench.valkey.start()
		self.bench.start_web()
		for sidecar in self.sidecars:
			sidecar.start()
		self.wait_until_together()
		self._nginx = Nginx(
			self._folder, self.port, APP_SITE, hosts=ADDRESSES, port=self.port, addresses=("127.0.0.1",)
		)
		return self

	def wait_until_together(self) -> None:
		"""Wait until each worker of each host serves, and knows all others."""
		workers = int(self.bench.config["socketio_workers"])
		for sidecar in self.sidecars:
			until(lambda sidecar=sidecar: self._is_complete(sidecar, workers), f"{workers} workers", LONG)  # type: ignore[misc]

	def _is_complete(self, sidecar: Sidecar, workers: int) -> bool:
		with contextlib.suppress(OSError, json.JSONDecodeError):
			body = sidecar.health()[1]
			others = workers * (len(self.sidecars) - 1)
			serving = sum(bool(one["subscribed"]) for one in body["workers"])
			return (serving == workers or workers == 1) and len(body["sidecars"]) == others
		return False

	def metric(self, name: str) -> float:
		"""Return the sum of a metric of all hosts, given its name and labels."""
		wanted = f"frappe_realtime_{name} "
		return sum(
			float(line.removeprefix(wanted))
			for sidecar in self.sidecars
			if sidecar.alive
			for line in sidecar.get("/metrics")[1].splitlines()
			if line.startswith(wanted)
		)

	def pids(self) -> list[int]:
		"""Return the process ids of all workers, host by host."""
		return [
			one["pid"]
			for sidecar in self.sidecars
			for one in sorted(sidecar.health()[1]["workers"], key=lambda one: int(one["worker"]))
		]

	def names(self, number: int) -> set[str]:
		"""Return the names of the workers of a host, with which their session ids begin."""
		return {one["name"] for one in self.sidecars[number].health()[1]["workers"]}

	def kill_host(self, number: int) -> None:
		"""Kill all processes of a host at once."""
		process = self.sidecars[number].process
		assert process
		pids = [int(pid) for pid in subprocess.check_output(("pgrep", "-P", str(process.pid))).split()]
		# The supervisor first: it would start the workers again.
		process.kill()
		for pid in pids:
			with contextlib.suppress(ProcessLookupError):
				os.kill(pid, signal.SIGKILL)
		process.wait()

	def check_logs(self) -> None:
		"""Fail if a log has a traceback."""
		for sidecar in self.sidecars:
			sidecar.check_log()

	def close(self) -> None:
		"""Stop all processes."""
		if self._nginx is not None:
			self._nginx.close()
		try:
			for sidecar in self.sidecars:
				sidecar.close()
		finally:
			self.bench.close()
