"""The processes of the supervisor: forks workers, hears from them, ends them, and replaces the program itself."""

from __future__ import annotations

import gc
import logging
import os
import secrets
import selectors
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import NoReturn

from .counters import add_ended
from .handover import remove_sockets
from .slots import Process, Slot, State
from .worker import READY, Worker

logger = logging.getLogger("realtime.workers")

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)

STOP_SECONDS = 15.0
"""Seconds that a worker has to end after SIGTERM; then it is killed. It takes up to 14 for clients: `RealtimeServer.stop` has the times."""


class WorkerProcesses:
	"""The workers of one supervisor, and its signals.

	Args:
		state: The slots.
		serve: Runs a worker in its own process, and returns the exit code.
		count: How many workers there shall be.
		watchdog_seconds: Seconds within which a worker has to report; 0 for none.
	"""

	def __init__(
		self, state: State, serve: Callable[[Worker], int], count: int, watchdog_seconds: float
	) -> None:
		self.ending: dict[int, Process] = {}
		"""The workers that were told to end, by process id."""
		self._state = state
		self._serve = serve
		self._count = count
		self._watchdog_seconds = watchdog_seconds
		self._selector = selectors.DefaultSelector()
		self._wake, self._woken = socket.socketpair()

	def begin(self) -> None:
		"""Receive signals from now on, and hear the workers of the program before this one."""
		for one in (self._wake, self._woken):
			one.setblocking(False)
		for number in SIGNALS:
			signal.signal(number, lambda *_: None)
		signal.set_wakeup_fd(self._wake.fileno(), warn_on_full_buffer=False)
		self._selector.register(self._woken, selectors.EVENT_READ)
		for slot in self._state.slots:
			for process in slot.processes:
				self._selector.register(process.control, selectors.EVENT_READ, process)
		# The program before this one has blocked them, so that none is lost while it is replaced.
		signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)

	def close(self) -> None:
		"""Release the descriptors, and remove the folder of the workers."""
		self._selector.close()
		remove_sockets(self._state.folder, "*")
		with suppress(OSError):
			os.rmdir(self._state.folder)

	def wait(self, timeout: float) -> list[int]:
		"""Wait until a signal or a worker reports something, at most `timeout` seconds; return the signals."""
		signals: list[int] = []
		for key, _ in self._selector.select(timeout):
			if key.data is None:
				signals += self._woken.recv(4096)
			else:
				self._hear(key.data)
		return signals

	def _hear(self, process: Process) -> None:
		try:
			message = process.control.recv(4096)
		except OSError:
			message = b""
		if not message:
			# It ends; `reap` learns how.
			self._selector.unregister(process.control)
			return
		process.heard = time.monotonic()
		process.ready = process.ready or READY in message

	def reap(self) -> Iterator[tuple[int, int]]:
		"""Return the process id and the exit code of each child that has ended; the code is negative for a signal."""
		with suppress(ChildProcessError):
			while (ended := os.waitpid(-1, os.WNOHANG))[0]:
				yield ended[0], os.waitstatus_to_exitcode(ended[1])

	def clean_up(self, process: Process) -> None:
		"""Release what belongs to a worker that has ended."""
		with suppress(KeyError):
			self._selector.unregister(process.control)
		process.control.close()
		add_ended(self._state.folder, process.name)
		remove_sockets(self._state.folder, process.name)

	def terminate(self, process: Process) -> None:
		"""Tell a worker to end."""
		process.kill_at = time.monotonic() + STOP_SECONDS
		self.ending[process.pid] = process
		os.kill(process.pid, signal.SIGTERM)

	def kill_overdue(self) -> None:
		"""Kill the workers that were told to end, and have not."""
		for process in self.ending.values():
			if process.kill_at is not None and process.kill_at <= time.monotonic():
				logger.error("pid %d has not ended within %.0f s; it is killed", process.pid, STOP_SECONDS)
				process.kill_at = None
				os.kill(process.pid, signal.SIGKILL)

	def replace_program(self, command: list[str]) -> OSError:
		"""Execute `command` in this process, with the workers as its children; returns only if that fails."""
		signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
		# Those that have come before, and that nobody has read, wait with those that come now: the next program gets all.
		with suppress(BlockingIOError):
			for number in self._woken.recv(4096):
				signal.raise_signal(number)
		self._state.hand_on()
		try:
			os.execv(command[0], command)
		except OSError as error:
			self._state.take_back()
			signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
			return error

	def fork(self, slot: Slot, listening: socket.socket) -> Process:
		"""Start a worker, and return it.

		Raises:
			OSError: The system has no memory, process or descriptor left for it.
		"""
		ours, theirs = socket.socketpair()
		ours.setblocking(False)
		worker = Worker(
			slot.number,
			self._count,
			secrets.token_urlsafe(12),
			self._state.folder,
			listening,
			theirs,
			self._watchdog_seconds,
			self._state.restarts,
			slot.predecessor,
		)
		# Until the child has its own handlers, it would report its signals as those of the supervisor.
		signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
		# Objects that exist now are never collected: a collection would write to their memory, which is shared until then.
		gc.freeze()
		try:
			pid = os.fork()
		except OSError:
			signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
			ours.close()
			theirs.close()
			raise
		if pid == 0:
			ours.close()
			self._become(worker)
		theirs.close()
		signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
		process = Process(pid, worker.name, ours)
		self._selector.register(ours, selectors.EVENT_READ, process)
		return process

	def _become(self, worker: Worker) -> NoReturn:
		code = 1
		try:
			self._leave(worker)
			code = self._serve(worker)
		except BaseException:
			logger.exception("worker %d fails", worker.slot)
		finally:
			with suppress(Exception):
				logging.shutdown()
				sys.stdout.flush()
				sys.stderr.flush()
			os._exit(code)

	def _leave(self, worker: Worker) -> None:
		"""Release, in a worker, what belongs to the supervisor and to the other workers."""
		signal.set_wakeup_fd(-1)
		signal.signal(signal.SIGTERM, signal.SIG_DFL)
		signal.signal(signal.SIGCHLD, signal.SIG_DFL)
		# Ctrl-C and the end of a terminal reach all processes; the supervisor decides what they mean.
		for number in (signal.SIGINT, signal.SIGHUP):
			signal.signal(number, signal.SIG_IGN)
		self._selector.close()
		for one in (self._wake, self._woken):
			one.close()
		for process in self.ending.values():
			process.control.close()
		for slot in self._state.slots:
			for process in slot.processes:
				process.control.close()
			if slot.listening is not None and slot.listening is not worker.listening:
				slot.listening.close()
		signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
