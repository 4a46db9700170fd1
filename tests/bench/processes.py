"""The processes of a bench: which of them run already, and those that the tests start."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.wire.conditions import PATIENCE, accepts, until


class Process:
	"""A process with children, in a group of its own, with a log.

	Args:
		command: what to run.
		folder: where.
		log: gets its output.
		env: more environment variables.
	"""

	def __init__(
		self, command: Sequence[str | Path], folder: Path, log: Path, env: dict[str, str] | None = None
	) -> None:
		self.command = [str(part) for part in command]
		self.folder = folder
		self.log_path = log
		self._env = {**os.environ, "PYTHONUNBUFFERED": "1", **(env or {})}
		# The bench is found by the folder, as for its owner.
		self._env.pop("FRAPPE_BENCH_ROOT", None)
		self._process: subprocess.Popen[bytes] | None = None

	def start(self) -> None:
		"""Start it and do not wait."""
		with self.log_path.open("ab") as log:
			self._process = subprocess.Popen(
				self.command,
				cwd=self.folder,
				env=self._env,
				stdin=subprocess.DEVNULL,
				stdout=log,
				stderr=log,
				start_new_session=True,
			)

	@property
	def pid(self) -> int:
		"""The process's id."""
		assert self._process
		return self._process.pid

	@property
	def alive(self) -> bool:
		"""Whether it runs."""
		return self._process is not None and self._process.poll() is None

	@property
	def log(self) -> str:
		"""What it has written, over all its lives."""
		return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

	def wait_for(self, condition: Callable[[], object], what: str, patience: float = 2 * PATIENCE) -> None:
		"""Wait for a condition as long as the process lives; fail with its log."""
		until(lambda: condition() or not self.alive, f"{what}; {self.command}:\n{self.log[-3000:]}", patience)
		assert self.alive, f"{self.command} ended:\n{self.log[-3000:]}"

	def signal(self, signum: int) -> None:
		"""Send a signal to the process alone."""
		assert self._process
		self._process.send_signal(signum)

	def stop(self) -> int:
		"""Stop it by SIGTERM and wait; what is left of its group is killed. Returns the exit code."""
		if self._process is None:
			return 0
		if self.alive:
			self._process.terminate()
			with contextlib.suppress(subprocess.TimeoutExpired):
				self._process.wait(2 * PATIENCE)
		with contextlib.suppress(ProcessLookupError):
			os.killpg(self._process.pid, signal.SIGKILL)
		return self._process.wait()


class Listener(Process):
	"""A process that listens on a port; one that listens there already is used and left alone."""

	def __init__(
		self,
		port: int,
		command: Sequence[str | Path],
		folder: Path,
		log: Path,
		env: dict[str, str] | None = None,
	) -> None:
		super().__init__(command, folder, log, env)
		self.port = port

	@property
	def is_ours(self) -> bool:
		"""Whether the tests have started it."""
		return self.alive

	def start_unless_running(self) -> None:
		"""Start it, and wait until it listens, where nothing does."""
		if not accepts(self.port):
			self.start()
			self.wait_for(lambda: accepts(self.port), f"port {self.port} is listened on")

	def stop(self) -> int:
		"""Stop it where it is ours, and wait until nothing listens."""
		was_ours = self.is_ours
		code = super().stop()
		if was_ours:
			until(lambda: not accepts(self.port), f"port {self.port} is free")
		return code
