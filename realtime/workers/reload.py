"""The reload: checks the program and the configuration on disk, and then replaces the workers one at a time."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections import deque
from collections.abc import Sequence
from tempfile import TemporaryFile

from .processes import WorkerProcesses
from .slots import Slot, State

logger = logging.getLogger("realtime.workers")

CHECK_SECONDS = 60.0
"""Seconds that the check may take; importing everything takes one."""

READY_SECONDS = 60.0
"""Seconds that a new worker has to be ready; the reload ends otherwise."""

MAX_OUTPUT = 64 * 1024
"""Bytes of the output of the check that are read; its last line is what matters."""


def own_command() -> list[str]:
	"""Return the command line of this process, as it was given to the interpreter."""
	return [sys.executable, *sys.orig_argv[1:]]


class ReloadCheck:
	"""A process that imports the program, and reads the configuration, as they are on disk now.

	Args:
		command: The command line of the supervisor.
		replaceable: What `State.replaceable` returns.

	Raises:
		OSError: The process cannot be started.
	"""

	def __init__(self, command: Sequence[str], replaceable: str) -> None:
		self.deadline = time.monotonic() + CHECK_SECONDS
		"""When the process is killed (monotonic)."""
		self._output = TemporaryFile()  # noqa: SIM115
		output = self._output.fileno()
		self.pid = os.posix_spawn(
			command[0],
			[*command, "--check", "--replaces", replaceable],
			os.environ,
			file_actions=[(os.POSIX_SPAWN_DUP2, output, 1), (os.POSIX_SPAWN_DUP2, output, 2)],
		)

	def error(self, code: int) -> str:
		"""Return why the program cannot be replaced; empty if it can.

		Args:
			code: The exit code of the process; negative for a signal.
		"""
		with self._output:
			self._output.seek(0)
			lines = self._output.read(MAX_OUTPUT).decode(errors="replace").strip().splitlines()
		if code == 0:
			return ""
		if code < 0:
			return f"the check was ended by signal {-code}"
		return lines[-1] if lines else f"the check has ended with exit code {code}"


class Rollover:
	"""Replaces the workers that the program before this one has started.

	Args:
		state: The slots.
		processes: The processes.
		count: How many workers there shall be; the others are ended last.
	"""

	def __init__(self, state: State, processes: WorkerProcesses, count: int) -> None:
		self.complete = False
		"""True when all workers are replaced."""
		self.deadline = time.monotonic() + READY_SECONDS
		"""When the worker that is started now has to be ready (monotonic)."""
		self._state = state
		self._processes = processes
		self._count = count
		self._waiting = deque(slot for slot in state.slots[:count] if slot.current is not None)
		self._slot: Slot | None = None
		"""The slot whose worker is being replaced."""

	def advance(self, now: float) -> str:
		"""Do the next step if the last one is done.

		Args:
			now: The present time (monotonic).

		Returns:
			Why the workers cannot be replaced; empty if they can.
		"""
		if self._slot is not None and (error := self._continue(self._slot, now)):
			return error
		while self._slot is None and self._waiting:
			slot = self._waiting.popleft()
			# A worker that has ended meanwhile is started anew by this program.
			if slot.current is not None and slot.listening is not None:
				self._slot, self.deadline = slot, now + READY_SECONDS
				try:
					slot.successor = self._processes.fork(slot, slot.listening)
				except OSError as error:
					return f"the new worker {slot.number} cannot be started: {error}"
		if self._slot is None:
			self._end_surplus()
			self.complete = True
		return ""

	def _continue(self, slot: Slot, now: float) -> str:
		successor = slot.successor
		if successor is None:
			if not self._processes.ending:
				logger.info("worker %d is replaced", slot.number)
				self._slot = None
		elif successor.ready:
			former, slot.current, slot.successor = slot.current, successor, None
			slot.pause = 0.0
			if former is not None:
				self._processes.terminate(former)
		elif self.deadline <= now:
			slot.successor = None
			self._processes.terminate(successor)
			return f"the new worker {slot.number} is not ready after {READY_SECONDS:.0f} s"
		return ""

	def _end_surplus(self) -> None:
		for slot in self._state.slots[self._count :]:
			# First: the worker accepts what waits in it, and closes it last.
			if slot.listening is not None and slot.listening is not self._state.slots[0].listening:
				slot.listening.close()
			for process in slot.processes:
				self._processes.terminate(process)
		del self._state.slots[self._count :]
