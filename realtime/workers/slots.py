"""The state of the supervisor: its slots, and the processes in them; as JSON, for the program that replaces it."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterator, Mapping, MutableMapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FORMAT = 1
"""The version of the JSON; a program that reads another one must be restarted in place of being reloaded."""

VARIABLE = "FRAPPE_REALTIME_SUPERVISOR"
"""The environment variable with the JSON."""


@dataclass(eq=False)
class Process:
	"""A worker, as its supervisor sees it.

	Args:
		pid: Its process id.
		name: Its name, see `Worker`.
		control: The connection to it.
		ready: Whether it serves.
		started: When it was started (monotonic).
		heard: When its event loop has last reported (monotonic).
		kill_at: When it is killed because it has not ended (monotonic); None while it shall run.
	"""

	pid: int
	name: str
	control: socket.socket
	ready: bool = False
	started: float = field(default_factory=time.monotonic)
	heard: float = field(default_factory=time.monotonic)
	kill_at: float | None = None


@dataclass(eq=False)
class Slot:
	"""A place for one worker.

	Args:
		number: From 1 on.
		listening: Its listening socket; None while its workers fail again and again.
		current: The worker; None while it has to be started.
		successor: The worker that replaces `current` when it is ready.
		pause: The pause before the last restart, in seconds; 0 before the first one.
		start_at: When the next worker is started (monotonic).
		predecessor: The name of the last worker, if it has ended by itself.
	"""

	number: int
	listening: socket.socket | None
	current: Process | None = None
	successor: Process | None = None
	pause: float = 0.0
	start_at: float = 0.0
	predecessor: str = ""

	@property
	def is_empty(self) -> bool:
		"""True if a worker has to be started."""
		return self.current is None and self.successor is None

	@property
	def is_ready(self) -> bool:
		"""True if its worker serves."""
		return self.current is not None and self.current.ready

	@property
	def processes(self) -> Iterator[Process]:
		"""The workers of this slot."""
		yield from (process for process in (self.current, self.successor) if process is not None)


@dataclass
class State:
	"""What outlives the program of the supervisor.

	Args:
		folder: The folder with the sockets of the workers.
		address: Where the workers listen, see `listener.address_of`.
		slots: All slots.
		restarts: How many workers have ended by themselves.
	"""

	folder: Path
	address: str
	slots: list[Slot]
	restarts: int = 0

	def replaceable(self) -> str:
		"""Return what `check_replaces` needs."""
		return json.dumps({"format": FORMAT, "address": self.address})

	def hand_on(self) -> None:
		"""Let the sockets outlive the program, and put the JSON into the environment."""
		self._set_inheritable(True)
		slots = [
			{
				"number": slot.number,
				"listening": _descriptor(slot.listening),
				"pause": slot.pause,
				"predecessor": slot.predecessor,
				"current": slot.current
				and {
					"pid": slot.current.pid,
					"name": slot.current.name,
					"control": slot.current.control.fileno(),
				},
			}
			for slot in self.slots
		]
		os.environ[VARIABLE] = json.dumps(
			{
				"format": FORMAT,
				"pid": os.getpid(),
				"folder": str(self.folder),
				"address": self.address,
				"restarts": self.restarts,
				"slots": slots,
			}
		)

	def take_back(self) -> None:
		"""Undo `hand_on`: the program could not be replaced."""
		self._set_inheritable(False)
		del os.environ[VARIABLE]

	def _set_inheritable(self, inheritable: bool) -> None:
		for slot in self.slots:
			if slot.listening is not None:
				slot.listening.set_inheritable(inheritable)
			for process in slot.processes:
				process.control.set_inheritable(inheritable)


def inherited(environment: MutableMapping[str, str] = os.environ) -> State | None:
	"""Return the state of the program that this one has replaced, and remove it from the environment; None at the first start."""
	text = environment.pop(VARIABLE, "")
	values: dict[str, Any] = json.loads(text) if text else {}
	if values.get("pid") != os.getpid():
		return None
	listening: dict[int, socket.socket] = {}
	state = State(
		Path(values["folder"]),
		values["address"],
		[_slot(slot, listening) for slot in values["slots"]],
		values["restarts"],
	)
	state._set_inheritable(False)
	return state


def check_replaces(text: str, address: str) -> str:
	"""Return why this program cannot replace a running supervisor; empty if it can.

	Args:
		text: What `State.replaceable` has returned there.
		address: Where this program would listen.
	"""
	values: Mapping[str, Any] = json.loads(text)
	if values["format"] != FORMAT:
		return "this version cannot take over from the one that runs"
	if values["address"] != address:
		return f"the address to listen on has changed from {values['address']} to {address}"
	return ""


def _slot(values: Mapping[str, Any], listening: dict[int, socket.socket]) -> Slot:
	descriptor = values["listening"]
	if descriptor is not None and descriptor not in listening:
		# One socket for all slots if it is a Unix socket.
		listening[descriptor] = socket.socket(fileno=descriptor)
	current = values["current"]
	return Slot(
		values["number"],
		None if descriptor is None else listening[descriptor],
		current
		and Process(current["pid"], current["name"], socket.socket(fileno=current["control"]), ready=True),
		pause=values["pause"],
		predecessor=values["predecessor"],
	)


def _descriptor(listening: socket.socket | None) -> int | None:
	return None if listening is None else listening.fileno()
