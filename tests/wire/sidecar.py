"""The sidecar as a process, with its log."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from tests.wire.conditions import PATIENCE, accepts, free_port, until

ROOT = Path(__file__).parents[2]


def environment(**more: str) -> dict[str, str]:
	"""Return the environment of this process without the variables that configure the sidecar, and with `more`.

	Compiled modules are kept, as those of an installed package are.
	"""
	dropped = ("FRAPPE_", "PYTHONDONTWRITEBYTECODE")
	kept = {key: value for key, value in os.environ.items() if not key.startswith(dropped)}
	return {**kept, "PYTHONUNBUFFERED": "1", **more}


def copy_older(folder: Path) -> Path:
	"""Copy the packages that a sidecar needs, as those of the version 0.0.1, to `folder`, and return it."""
	# Python writes a compiled module under another name first.
	temporary = shutil.ignore_patterns("*.pyc.*")
	for package in ("realtime", "frappe_realtime"):
		shutil.copytree(ROOT / package, folder / package, ignore=temporary)
	version = folder / "frappe_realtime" / "__init__.py"
	version.write_text(re.sub(r'__version__ = "[^"]*"', '__version__ = "0.0.1"', version.read_text()))
	return folder


class Sidecar:
	"""`python -m realtime serve`, on the same port after each restart.

	Args:
		bench: The bench folder.
		log: The file for its standard output and standard error.
		arguments: More arguments of `serve`.
		env: More environment variables.
		port: The port in its configuration. If None, a free port is given as an argument.
		command: The command before the word `serve`.
		host: The address that it listens on.
	"""

	def __init__(
		self,
		bench: Path,
		log: Path,
		arguments: tuple[str, ...] = (),
		env: dict[str, str] | None = None,
		port: int | None = None,
		command: tuple[str, ...] = (sys.executable, "-m", "realtime"),
		host: str = "127.0.0.1",
	) -> None:
		self.host = host
		self.port = port or free_port()
		self.log_path = log
		self.expects_traceback = False
		self.cwd = ROOT
		self._command = [*command, "serve", "--bench", str(bench)]
		if port is None:
			self._command += ["--host", host, "--port", str(self.port)]
		self._command += arguments
		self._env = environment(**(env or {}))
		self._checked = 0
		self.process: subprocess.Popen[bytes] | None = None

	def leave_out_bench(self) -> None:
		"""Remove `--bench` from the command line."""
		position = self._command.index("--bench")
		del self._command[position : position + 2]

	@staticmethod
	def run(*command: str, env: dict[str, str] | None = None) -> str:
		"""Run another command and return its output; the test fails if the command fails."""
		done = subprocess.run(
			command,
			capture_output=True,
			text=True,
			timeout=PATIENCE,
			env=environment(**(env or {})),
			check=False,
		)
		assert done.returncode == 0, done.stdout + done.stderr
		return done.stdout

	@property
	def url(self) -> str:
		"""The URL of the sidecar."""
		return f"http://{self.host}:{self.port}"

	@property
	def log(self) -> str:
		"""The log so far, over all restarts."""
		return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

	def launch(self) -> None:
		"""Start the process, without waiting."""
		with self.log_path.open("ab") as log:
			self.process = subprocess.Popen(
				self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.cwd, env=self._env
			)

	def start(self) -> None:
		"""Start the process and wait until it listens."""
		self.launch()
		until(lambda: accepts(self.port, self.host) or not self.alive, "the sidecar listens")
		assert self.alive, f"the sidecar ended during its start:\n{self.log}"

	@property
	def alive(self) -> bool:
		"""Whether the process runs."""
		return self.process is not None and self.process.poll() is None

	def signal(self, signum: int) -> None:
		"""Send a signal."""
		assert self.process
		self.process.send_signal(signum)

	def wait(self, patience: float = PATIENCE) -> int:
		"""Wait for the end of the process and return its exit code."""
		assert self.process
		return self.process.wait(patience)

	def stop(self) -> int:
		"""Stop by SIGTERM; return the exit code."""
		self.signal(signal.SIGTERM)
		return self.wait()

	def kill(self) -> None:
		"""Stop by SIGKILL."""
		self.signal(signal.SIGKILL)
		self.wait()

	def restart(self) -> None:
		"""Stop by SIGTERM and start again."""
		self.stop()
		self.start()

	def get(self, path: str, headers: dict[str, str] | None = None) -> tuple[int, str]:
		"""GET a path; return status and body."""
		request = urllib.request.Request(self.url + path, headers=headers or {})
		try:
			with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
				return answer.status, answer.read().decode()
		except urllib.error.HTTPError as error:
			return error.code, error.read().decode()

	def health(self) -> tuple[int, dict[str, Any]]:
		"""GET `/health`; return the status and the object in the body."""
		status, body = self.get("/health")
		return status, json.loads(body)

	def memory(self) -> int:
		"""Return the resident memory of the process in bytes."""
		assert self.process
		fields = Path(f"/proc/{self.process.pid}/statm").read_text().split()
		return int(fields[1]) * os.sysconf("SC_PAGE_SIZE")

	def check_log(self) -> None:
		"""Fail if the log has a new traceback since the last call, unless the test has set `expects_traceback`."""
		log = self.log
		new, self._checked = log[self._checked :], len(log)
		expected, self.expects_traceback = self.expects_traceback, False
		assert expected or "Traceback (most recent call last)" not in new, new

	def close(self) -> None:
		"""End the process, also if it is stopped by SIGSTOP."""
		if self.alive:
			self.signal(signal.SIGCONT)
			self.signal(signal.SIGTERM)
			try:
				self.wait(2 * PATIENCE)
			except subprocess.TimeoutExpired:
				self.kill()
				raise AssertionError(f"SIGTERM did not end the sidecar:\n{self.log}") from None
