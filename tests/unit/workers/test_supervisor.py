"""A supervisor whose system has no process, memory or descriptor left for a worker."""

from __future__ import annotations

import gc
import os
import signal
import socket
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

import pytest

from realtime.config import EXIT_LISTEN, Config, ConfigError
from realtime.workers import supervisor
from realtime.workers.notify import Notifier
from realtime.workers.processes import SIGNALS, WorkerProcesses
from realtime.workers.reload import Rollover
from realtime.workers.slots import Process, Slot, State
from realtime.workers.supervisor import MAX_PAUSE, Supervisor


def fail(*_: Any) -> NoReturn:
	raise OSError("no process is left")


def never(*_: Any) -> NoReturn:
	raise AssertionError("no worker is started")


@pytest.fixture
def restored_process() -> Iterator[None]:
	"""Restore what a supervisor changes in its process."""
	handlers = {number: signal.getsignal(number) for number in SIGNALS}
	mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
	descriptor = signal.set_wakeup_fd(-1)
	yield
	signal.set_wakeup_fd(descriptor)
	for number in SIGNALS:
		# One that is still blocked must not end the tests.
		signal.signal(number, signal.SIG_IGN)
	signal.pthread_sigmask(signal.SIG_SETMASK, mask)
	gc.unfreeze()
	for number, handler in handlers.items():
		signal.signal(number, handler)


@pytest.fixture
def pairs(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[socket.socket, socket.socket]]]:
	"""The pairs of sockets that are made; closed afterwards."""
	made: list[tuple[socket.socket, socket.socket]] = []
	make = socket.socketpair

	def socketpair(*arguments: Any) -> tuple[socket.socket, socket.socket]:
		made.append(make(*arguments))
		return made[-1]

	monkeypatch.setattr(socket, "socketpair", socketpair)
	yield made
	for pair in made:
		for one in pair:
			one.close()


def test_a_supervisor_goes_on_when_a_worker_cannot_be_forked(
	monkeypatch: pytest.MonkeyPatch,
	caplog: pytest.LogCaptureFixture,
	restored_process: None,
	pairs: list[tuple[socket.socket, socket.socket]],
	tmp_path: Path,
) -> None:
	def stop_and_fail() -> NoReturn:
		# Blocked until the failure is handled: it stays so, and the supervisor does not end, if the mask is not restored.
		# Sent to this thread: others of the process may not block it.
		signal.raise_signal(signal.SIGTERM)
		fail()

	monkeypatch.setattr(os, "fork", stop_and_fail)
	monkeypatch.setattr(supervisor, "IDLE_SECONDS", 1.0)
	config = Config(bench=Path(), socketio_workers=1, socketio_uds=str(tmp_path / "socket"))
	it = Supervisor(config, never, Notifier({}), None)
	assert it.run() == 0
	assert "worker 1 cannot be started: no process is left" in caplog.text


def test_a_worker_that_cannot_be_started_is_tried_again_after_the_longest_pause(
	monkeypatch: pytest.MonkeyPatch,
	pairs: list[tuple[socket.socket, socket.socket]],
	tmp_path: Path,
) -> None:
	listening = socket.create_server(("127.0.0.1", 0))
	slot = Slot(1, listening, predecessor="former")
	it = Supervisor(
		Config(bench=Path(), socketio_workers=1), never, Notifier({}), State(tmp_path, ":0", [slot])
	)
	monkeypatch.setattr(socket, "socketpair", fail)
	began = time.monotonic()
	it._tick(began)
	assert slot.is_empty
	assert began + MAX_PAUSE <= slot.start_at <= time.monotonic() + MAX_PAUSE
	assert slot.predecessor == "former", "the worker that is started then is its successor"
	assert slot.listening is None
	assert listening.fileno() == -1, "no connection waits in it for so long"
	# Nothing is tried before.
	monkeypatch.setattr(socket, "socketpair", never)
	it._tick(began + 1)


def test_a_worker_that_cannot_listen_is_tried_again_and_the_log_says_when(
	monkeypatch: pytest.MonkeyPatch,
	caplog: pytest.LogCaptureFixture,
	pairs: list[tuple[socket.socket, socket.socket]],
	tmp_path: Path,
) -> None:
	slot = Slot(1, None)
	it = Supervisor(
		Config(bench=Path(), socketio_workers=1), never, Notifier({}), State(tmp_path, ":9000", [slot])
	)
	monkeypatch.setattr(supervisor, "bind_again", fail)
	began = time.monotonic()
	it._tick(began)
	assert slot.is_empty
	assert slot.start_at >= began + MAX_PAUSE
	assert (
		"worker 1 cannot listen on :9000 (socketio_port): no process is left; it is tried again in 30 s"
		in caplog.text
	)


def test_a_fork_that_fails_leaves_nothing_behind(
	monkeypatch: pytest.MonkeyPatch,
	restored_process: None,
	pairs: list[tuple[socket.socket, socket.socket]],
	tmp_path: Path,
) -> None:
	processes = WorkerProcesses(State(tmp_path, ":0", []), never, 1, 0)
	monkeypatch.setattr(os, "fork", fail)
	mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
	with socket.socket() as listening, pytest.raises(OSError, match="no process"):
		processes.fork(Slot(1, listening), listening)
	assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == mask
	assert [one.fileno() for one in pairs[-1]] == [-1, -1]


def test_a_reload_whose_new_worker_cannot_be_forked_fails() -> None:
	ours, theirs = socket.socketpair()
	with ours, theirs, socket.socket() as listening:
		slot = Slot(1, listening, Process(7, "former", ours, ready=True))
		processes: Any = SimpleNamespace(fork=fail, ending={})
		rollover = Rollover(State(Path(), ":0", [slot]), processes, 1)
		error = rollover.advance(time.monotonic())
		assert error == "the new worker 1 cannot be started: no process is left"
		assert slot.is_ready, "the former worker serves on"
		assert slot.successor is None


def test_a_worker_too_many_ends_when_the_supervisor_has_closed_its_socket() -> None:
	"""So that the worker, which accepts what waits in it, closes it last."""
	ours, theirs = socket.socketpair()
	with ours, theirs, socket.socket() as first, socket.socket() as second:
		slots = [Slot(1, first), Slot(2, second, Process(7, "surplus", ours, ready=True))]
		open_at_end: list[tuple[bool, bool]] = []
		processes: Any = SimpleNamespace(
			terminate=lambda process: open_at_end.append((first.fileno() >= 0, second.fileno() >= 0)),
			ending={},
		)
		rollover = Rollover(State(Path(), ":0", slots), processes, 1)
		assert rollover.advance(time.monotonic()) == ""
		assert open_at_end == [(True, False)]


@pytest.mark.parametrize("arrived", [False, True])
def test_a_signal_just_before_the_program_is_replaced_waits_for_the_next_one(
	monkeypatch: pytest.MonkeyPatch,
	restored_process: None,
	pairs: list[tuple[socket.socket, socket.socket]],
	tmp_path: Path,
	arrived: bool,
) -> None:
	pending: list[bool] = []

	def execute(*_: Any) -> NoReturn:
		pending.append(signal.SIGTERM in signal.sigpending())
		fail()

	monkeypatch.setattr(os, "execv", execute)
	processes = WorkerProcesses(State(tmp_path, ":0", []), never, 1, 0)
	processes.begin()
	if arrived:
		signal.raise_signal(signal.SIGTERM)
	processes.replace_program(["program"])
	assert pending == [arrived]
	assert (signal.SIGTERM in processes.wait(0)) == arrived, "nothing was executed: this program handles it"
	processes.close()


@pytest.mark.parametrize(("folder", "says"), [("missing", "can be made"), ("x" * 100, "is too long")])
def test_without_a_place_for_the_sockets_of_the_workers_it_does_not_start(
	monkeypatch: pytest.MonkeyPatch, tmp_path: Path, folder: str, says: str
) -> None:
	temporary = tmp_path / folder
	if folder != "missing":
		temporary.mkdir()
	monkeypatch.setattr(tempfile, "tempdir", str(temporary))
	config = Config(bench=Path(), socketio_workers=1, realtime_host="127.0.0.1", socketio_port=0)
	with pytest.raises(ConfigError, match="TMPDIR") as refused:
		Supervisor(config, never, Notifier({}), None)
	assert says in str(refused.value)
	assert refused.value.exit_code == EXIT_LISTEN
	assert not temporary.exists() or not any(temporary.iterdir())


@pytest.mark.parametrize("ignored", [False, True], ids=["as usual", "with nohup"])
def test_the_end_of_the_terminal_ends_a_supervisor_without_nohup(
	monkeypatch: pytest.MonkeyPatch,
	restored_process: None,
	pairs: list[tuple[socket.socket, socket.socket]],
	tmp_path: Path,
	ignored: bool,
) -> None:
	signal.signal(signal.SIGHUP, signal.SIG_IGN if ignored else signal.SIG_DFL)
	monkeypatch.setattr(supervisor, "_has_terminal", lambda: True)
	config = Config(bench=Path(), socketio_workers=1)
	it = Supervisor(config, never, Notifier({}), State(tmp_path, ":0", []))
	monkeypatch.setattr(supervisor, "_has_terminal", lambda: False)
	it._on_signal(signal.SIGHUP)
	it._processes.close()
	assert it._stopping is not ignored
