"""The supervisor: starts the workers of a host, restarts those that end, replaces them one at a time, and stops them.

It has imported everything before it forks, so that its workers share the memory of the code. It runs no event loop and no
thread, and handles no client. On a TCP port each worker has a listening socket of its own, which the supervisor keeps open:
the connections that wait in it are served by the successor of a worker that has ended.
"""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from tempfile import mkdtemp

from ..config import EXIT_LISTEN, Config, ConfigError
from ..listener import address_of, bind_again, bind_shared, remove_socket
from .notify import Notifier
from .processes import WorkerProcesses
from .reload import ReloadCheck, Rollover, own_command
from .slots import Process, Slot, State
from .worker import Worker

logger = logging.getLogger("realtime.workers")

MIN_PAUSE, MAX_PAUSE = 0.2, 30.0
"""Seconds before a worker is started again; doubled for each one that ends within `STABLE_SECONDS`."""

STABLE_SECONDS = 60.0
"""How long a worker has to run for the pause to begin anew."""

LONG_PAUSE = 2.0
"""Seconds of a pause from which the listening socket of the slot is closed: no connection waits so long, others take them."""

MAX_FOLDER = 76
"""Bytes of the path of the folder: the sockets in it have 27 more, and a path of a socket has at most 103 (macOS) or 107 (Linux)."""

IDLE_SECONDS = 60.0
"""Seconds after which the supervisor looks around although nothing has happened."""


class Supervisor:
	"""Supervises the workers of one host until SIGTERM or SIGINT; SIGHUP replaces the program and the workers.

	Args:
		config: The configuration.
		serve: Runs a worker in its own process, and returns the exit code.
		notifier: Tells systemd the state.
		state: What the program before this one has left; None at the first start.

	Raises:
		ConfigError: The address cannot be listened on, or there is no place for the sockets of the workers.
	"""

	def __init__(
		self, config: Config, serve: Callable[[Worker], int], notifier: Notifier, state: State | None
	) -> None:
		self._config = config
		self._notifier = notifier
		self._state = _first_state(config) if state is None else state
		self._processes = WorkerProcesses(
			self._state, serve, config.socketio_workers, notifier.watchdog_seconds
		)
		self._rollover = None if state is None else Rollover(state, self._processes, config.socketio_workers)
		"""The replacement of the workers of the program before this one, until it is complete."""
		self._check: ReloadCheck | None = None
		self._reload_wanted = False
		self._stopping = False
		self._announced = False
		# nohup lets a process ignore SIGHUP, so that it outlives its terminal.
		self._terminal = _has_terminal() and signal.getsignal(signal.SIGHUP) != signal.SIG_IGN

	def run(self) -> int:
		"""Supervise, and return the exit code."""
		self._add_slots()
		self._processes.begin()
		try:
			while not self._stopping or self._processes.ending:
				if not self._stopping:
					self._tick(time.monotonic())
				for number in self._processes.wait(self._timeout()):
					self._on_signal(number)
				for pid, code in self._processes.reap():
					self._on_end(pid, code)
				self._processes.kill_overdue()
		finally:
			self._processes.close()
			if self._config.socketio_uds:
				remove_socket(self._config.socketio_uds)
		logger.info("all workers have ended")
		return 0

	def _add_slots(self) -> None:
		slots = self._state.slots
		while len(slots) < self._config.socketio_workers:
			# On a Unix socket, all have one.
			shared = slots[0].listening if self._config.socketio_uds else None
			slots.append(Slot(len(slots) + 1, shared))

	def _timeout(self) -> float:
		"""Return the seconds until there is something to do."""
		now = time.monotonic()
		times = [now + IDLE_SECONDS]
		if self._notifier.watchdog_seconds:
			times.append(now + self._notifier.watchdog_seconds / 3)
		times += [one.kill_at for one in self._processes.ending.values() if one.kill_at is not None]
		if self._check is not None:
			times.append(self._check.deadline)
		if self._rollover is not None and self._rollover.deadline > now:
			times.append(self._rollover.deadline)
		if not self._stopping:
			times += [slot.start_at for slot in self._state.slots if slot.is_empty]
		return max(0.0, min(times) - now)

	def _on_signal(self, number: int) -> None:
		if number in (signal.SIGTERM, signal.SIGINT):
			self._stop(signal.Signals(number).name)
		elif number == signal.SIGHUP and self._terminal and not _has_terminal():
			# Not a request to reload: the terminal was closed.
			self._stop("SIGHUP")
		elif number == signal.SIGHUP:
			self._reload_wanted = True

	def _stop(self, name: str) -> None:
		if self._stopping:
			return
		self._stopping = True
		logger.info("%s: stopping %d workers", name, len(self._state.slots))
		self._notifier.stopping()
		if self._check is not None:
			os.kill(self._check.pid, signal.SIGKILL)
		for slot in self._state.slots:
			if slot.listening is not None:
				slot.listening.close()
			for process in slot.processes:
				self._processes.terminate(process)
			slot.current = slot.successor = None

	# -- workers

	def _on_end(self, pid: int, code: int) -> None:
		if self._check is not None and pid == self._check.pid:
			check, self._check = self._check, None
			if not self._stopping:
				self._on_checked(check.error(code))
			return
		ended = self._processes.ending.pop(pid, None)
		if ended is not None:
			self._processes.clean_up(ended)
			return
		for slot in self._state.slots:
			for process in slot.processes:
				if process.pid == pid:
					self._processes.clean_up(process)
					self._on_failure(slot, process, _reason(code))

	def _on_failure(self, slot: Slot, process: Process, reason: str) -> None:
		"""Handle that a worker has ended by itself."""
		self._state.restarts += 1
		who = f"worker {slot.number} (pid {process.pid})"
		if process is slot.successor:
			slot.successor = None
			self._end_reload(f"the new {who} has ended before it was ready: {reason}")
		else:
			slot.current = None
			slot.predecessor = process.name
		if not slot.is_empty:
			return
		stable = time.monotonic() - process.started >= STABLE_SECONDS
		slot.pause = MIN_PAUSE if stable or not slot.pause else min(2 * slot.pause, MAX_PAUSE)
		logger.error("%s has ended: %s; it is started again in %.1f s", who, reason, slot.pause)
		self._postpone(slot, slot.pause)

	def _postpone(self, slot: Slot, pause: float) -> None:
		"""Start the next worker of an empty slot after `pause` seconds."""
		slot.start_at = time.monotonic() + pause
		if pause >= LONG_PAUSE and slot.listening is not None and not self._config.socketio_uds:
			slot.listening.close()
			slot.listening = None

	def _tick(self, now: float) -> None:
		"""Do what is due."""
		self._watch(now)
		for slot in self._state.slots:
			if slot.is_empty and slot.start_at <= now:
				self._start(slot)
		if self._rollover is not None:
			if error := self._rollover.advance(now):
				self._end_reload(error)
			elif self._rollover.complete:
				self._rollover = None
				logger.info("the reload is complete: %d workers", len(self._state.slots))
				self._notifier.ready()
		self._begin_reload(now)
		if not self._announced and all(slot.is_ready for slot in self._state.slots):
			self._announced = True
			logger.info("%d workers serve on %s", len(self._state.slots), self._state.address)
			if self._rollover is None:
				self._notifier.ready()

	def _start(self, slot: Slot) -> None:
		"""Start a worker in an empty slot; after the longest pause if the system does not allow it now."""
		if slot.listening is None:
			others = [other.listening for other in self._state.slots if other.listening is not None]
			try:
				slot.listening = bind_again(self._config, others)
			except OSError as error:
				logger.error(
					"worker %d cannot listen on %s (socketio_port): %s; it is tried again in %.0f s",
					slot.number,
					self._state.address,
					error,
					MAX_PAUSE,
				)
				self._postpone(slot, MAX_PAUSE)
				return
		try:
			slot.current = self._processes.fork(slot, slot.listening)
		except OSError as error:
			logger.error(
				"worker %d cannot be started: %s; it is tried again in %.0f s", slot.number, error, MAX_PAUSE
			)
			self._postpone(slot, MAX_PAUSE)
			return
		slot.predecessor = ""

	def _watch(self, now: float) -> None:
		"""Reset the watchdog of systemd, and kill workers whose event loop is blocked for as long as that allows."""
		seconds = self._notifier.watchdog_seconds
		if not seconds:
			return
		self._notifier.alive()
		for slot in self._state.slots:
			for process in slot.processes:
				if now - process.heard > seconds:
					logger.error(
						"worker %d (pid %d) has not reported for %.0f s (WATCHDOG_USEC); it is killed",
						slot.number,
						process.pid,
						now - process.heard,
					)
					process.heard = now
					os.kill(process.pid, signal.SIGKILL)

	# -- reload

	def _begin_reload(self, now: float) -> None:
		"""Start the check for a reload that is wanted, and end one that takes too long."""
		if self._check is not None:
			if self._check.deadline <= now:
				self._check.deadline = now + IDLE_SECONDS
				os.kill(self._check.pid, signal.SIGKILL)
		elif self._reload_wanted and self._rollover is None:
			self._reload_wanted = False
			logger.info("SIGHUP: checking the program and the configuration")
			self._notifier.reloading()
			try:
				self._check = ReloadCheck(own_command(), self._state.replaceable())
			except OSError as error:
				self._end_reload(f"the check cannot be started: {error}")

	def _on_checked(self, error: str) -> None:
		"""Replace the program by the one on disk, which then replaces the workers."""
		if not error:
			command = own_command()
			error = f"cannot execute {command[0]}: {self._processes.replace_program(command)}"
		self._end_reload(error)

	def _end_reload(self, error: str) -> None:
		"""End a reload that has failed."""
		logger.error("the reload has failed, and the workers that run are kept: %s", error)
		self._rollover = None
		self._notifier.ready()


def _first_state(config: Config) -> State:
	folder = _new_folder()
	try:
		sockets = bind_shared(config, config.socketio_workers)
	except ConfigError:
		folder.rmdir()
		raise
	slots = [Slot(number, listening) for number, listening in enumerate(sockets, 1)]
	return State(folder, address_of(config), slots)


def _new_folder() -> Path:
	"""Make the folder for the sockets of the workers.

	Raises:
		ConfigError: It cannot be made, or no socket could be in it.
	"""
	try:
		folder = Path(mkdtemp(prefix="frappe-realtime-"))
	except OSError as error:
		raise ConfigError(
			f"no folder for the sockets of the workers can be made: {error}. Set TMPDIR to a folder that this user may write",
			EXIT_LISTEN,
		) from error
	if len(os.fsencode(folder)) > MAX_FOLDER:
		folder.rmdir()
		raise ConfigError(
			f"the path {folder} is too long for the sockets of the workers. Set TMPDIR to a folder with a shorter path",
			EXIT_LISTEN,
		)
	return folder


def _has_terminal() -> bool:
	"""Return True if this process has a controlling terminal."""
	try:
		os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
	except OSError:
		return False
	return True


def _reason(code: int) -> str:
	"""Return how a process has ended, from its exit code; negative for a signal."""
	if code >= 0:
		return f"exit code {code}"
	with suppress(ValueError):
		return f"killed by {signal.Signals(-code).name}"
	return f"killed by signal {-code}"
