"""`frappe-realtime listen` as a process, and what it prints."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.wire.bench import Bench
from tests.wire.conditions import PATIENCE, until
from tests.wire.sidecar import ROOT, environment


class Listener:
	"""A listening process.

	Args:
		bench: The bench that it is given.
		folder: An empty folder for its output.
		arguments: Its arguments besides `--bench`.
		terminal: True to give it a terminal as standard output instead of a file.
		command: What stands before `listen`.
		cwd: The folder that it runs in.
	"""

	def __init__(
		self,
		bench: Bench,
		folder: Path,
		*arguments: str,
		terminal: bool = False,
		command: tuple[str, ...] = (sys.executable, "-m", "realtime"),
		cwd: Path = ROOT,
	) -> None:
		self._output = folder / "stdout"
		self._errors = folder / "stderr"
		self._terminal = -1
		self._typed = b""
		own_end = -1
		if terminal:
			self._terminal, own_end = pty.openpty()
			os.set_blocking(self._terminal, False)
		with self._output.open("wb") as output, self._errors.open("wb") as errors:
			self.process = subprocess.Popen(
				[*command, "listen", "--bench", str(bench.folder), *arguments],
				stdin=subprocess.DEVNULL,
				stdout=own_end if terminal else output,
				stderr=errors,
				cwd=cwd,
				env=environment(),
			)
		if terminal:
			os.close(own_end)

	@property
	def errors(self) -> str:
		"""What it has written to its standard error."""
		return self._errors.read_text()

	@property
	def text(self) -> str:
		"""What it has printed."""
		if self._terminal < 0:
			return self._output.read_text()
		# Raised if there is nothing to read now, and after the end of the process.
		with contextlib.suppress(OSError):
			self._typed += os.read(self._terminal, 65536)
		return self._typed.decode()

	def events(self, event: str) -> list[dict[str, Any]]:
		"""The JSON lines about an event."""
		lines = [json.loads(line) for line in self.text.splitlines()]
		return [line for line in lines if line["event"] == event]

	def next(self, event: str) -> dict[str, Any]:
		"""Wait for the first line about an event."""
		found = until(lambda: self.events(event), lambda: f"{event!r}; so far {self.text!r}, {self.errors!r}")
		return found[0]

	def wait_until_listening(self) -> None:
		"""Wait until it is connected, or subscribed to Redis."""
		wanted = ("listening to", "subscribed to the events")
		until(
			lambda: any(text in self.errors for text in wanted) or self.process.poll() is not None,
			"the listener listens",
		)
		assert self.process.poll() is None, self.errors

	def interrupt(self) -> int:
		"""Press Ctrl-C; return the exit code."""
		self.process.send_signal(signal.SIGINT)
		return self.wait()

	def wait(self) -> int:
		"""Wait for the end of the process; return its exit code."""
		code = self.process.wait(PATIENCE)
		assert "Traceback" not in self.errors, self.errors
		return code

	def close(self) -> None:
		"""End the process, whatever state it is in."""
		self.process.kill()
		self.process.wait(PATIENCE)
		if self._terminal >= 0:
			os.close(self._terminal)
