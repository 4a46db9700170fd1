"""The state of a supervisor outlives its program."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path
from typing import Any

import pytest

from realtime.workers.slots import VARIABLE, Process, Slot, State, check_replaces, inherited


def with_duplicates(text: str) -> str:
	"""Return the JSON of a state with duplicates of its descriptors, which the objects of the test own themselves."""
	values = json.loads(text)
	duplicates: dict[int, int] = {}

	def duplicate(holder: dict[str, Any] | None, key: str) -> None:
		if holder is not None and holder[key] is not None:
			descriptor = holder[key]
			if descriptor not in duplicates:
				duplicates[descriptor] = os.dup(descriptor)
			holder[key] = duplicates[descriptor]

	for slot in values["slots"]:
		duplicate(slot, "listening")
		duplicate(slot["current"], "control")
	return json.dumps(values)


def test_the_next_program_has_the_sockets_and_the_workers(
	tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
	monkeypatch.delenv(VARIABLE, raising=False)
	listening = socket.socket()
	ours, theirs = socket.socketpair()
	slots = [
		Slot(1, listening, Process(7, "name", ours), pause=0.4),
		Slot(2, None, pause=3.2, predecessor="former"),
	]
	state = State(tmp_path, ":9000", slots, restarts=5)
	state.hand_on()
	assert listening.get_inheritable()
	assert ours.get_inheritable()
	# As the program after `execv` does, which has the same descriptors.
	monkeypatch.setenv(VARIABLE, with_duplicates(os.environ[VARIABLE]))
	found = inherited()
	assert found is not None
	assert VARIABLE not in os.environ
	assert (found.folder, found.address, found.restarts) == (tmp_path, ":9000", 5)
	first, second = found.slots
	assert first.current is not None
	assert (first.number, first.current.pid, first.current.name, first.pause) == (1, 7, "name", 0.4)
	assert first.is_ready
	assert first.listening is not None
	assert not first.listening.get_inheritable()
	assert (second.listening, second.current, second.predecessor) == (None, None, "former")
	assert second.is_empty
	for one in (listening, ours, theirs, first.listening, first.current.control):
		one.close()


def test_the_state_of_another_process_is_not_taken() -> None:
	environment = {VARIABLE: json.dumps({"pid": os.getpid() + 1})}
	assert inherited(environment) is None
	assert not environment
	assert inherited({}) is None


def test_one_unix_socket_of_all_slots_stays_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
	monkeypatch.delenv(VARIABLE, raising=False)
	with socket.socket() as listening:
		State(tmp_path, "/a.sock", [Slot(1, listening), Slot(2, listening)]).hand_on()
		monkeypatch.setenv(VARIABLE, with_duplicates(os.environ[VARIABLE]))
		found = inherited()
	assert found is not None
	(one,) = {slot.listening for slot in found.slots}
	assert one is not None
	one.close()


def test_a_program_that_failed_to_start_is_undone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
	monkeypatch.delenv(VARIABLE, raising=False)
	with socket.socket() as listening:
		state = State(tmp_path, ":9000", [Slot(1, listening)])
		state.hand_on()
		state.take_back()
		assert VARIABLE not in os.environ
		assert not listening.get_inheritable()


def test_what_cannot_replace_a_supervisor(tmp_path: Path) -> None:
	text = State(tmp_path, ":9000", []).replaceable()
	assert check_replaces(text, ":9000") == ""
	assert ":9000 to :9100" in check_replaces(text, ":9100")
	assert "this version" in check_replaces(text.replace('"format": 1', '"format": 2'), ":9000")
