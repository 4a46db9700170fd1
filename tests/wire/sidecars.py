"""Two sidecars of one bench, with handlers in Python and JavaScript."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

from tests.wire import nodejs
from tests.wire.apps import install, write_handlers
from tests.wire.background import Background
from tests.wire.bench import SITES, Bench
from tests.wire.conditions import until
from tests.wire.javascript import write_app
from tests.wire.sidecar import Sidecar

CHANNEL = "frappe_realtime:sidecars"

PYTHON = """
from frappe.realtime import realtime

@realtime.on("enter")
async def enter(socket, room):
	await socket.join(room)
	return True

@realtime.on("exit")
async def exit(socket, room):
	await socket.leave(room)

@realtime.on("say")
async def say(socket, how, room, value):
	if how == "emit":
		await socket.emit("said", value, room=room)
		return
	ways = {
		"to": socket.to(room), "nsp.to": socket.nsp.to(room), "nsp": socket.nsp, "broadcast": socket.broadcast
	}
	await ways[how].emit("said", value)

@realtime.on("say_in_thread")
def say_in_thread(socket, room, value):
	socket.to(room).emit("said", value)

@realtime.on("own")
async def own(socket):
	await socket.emit("own", 1)
	await socket.nsp.sockets[socket.sid].emit("own", 2)
	await socket.emit("own", 3, room=socket.sid)
	return socket.sid

@realtime.on("mark")
async def mark(socket, value):
	await socket.nsp.emit("mark", value)

@realtime.on("who")
async def who(socket, room):
	return sorted([sid, socket.user_of(sid)] for sid in socket.participants(room))

@realtime.on("who_in_thread")
def who_in_thread(socket, room):
	return sorted([sid, socket.user_of(sid)] for sid in socket.participants(room))

@realtime.on("here")
async def here(socket, room):
	return [sorted(socket.nsp.rooms.get(room, ())), sorted(socket.nsp.sockets)]

@realtime.on("disconnect")
async def gone(socket):
	await socket.nsp.emit("gone", socket.user)
"""

JAVASCRIPT = """
module.exports = (socket) => {
	const nsp = socket.nsp;
	socket.on("js_enter", (room, answer) => { socket.join(room); answer(true); });
	socket.on("js_say", (how, room, value) => {
		const ways = {
			"to": () => socket.to(room), "nsp.to": () => nsp.to(room), "nsp": () => nsp,
			"broadcast": () => socket.broadcast, "except": () => nsp.except(room), "local": () => nsp.local,
		};
		ways[how]().emit("said", value);
	});
};
"""


class Pair:
	"""A bench with two sidecars. `first` and `second` are the same bench; each has one of the sidecars as `sidecar`.

	Args:
		background: The loop of the clients.
		folder: An empty folder.
		common: More keys of common_site_config.json.
	"""

	def __init__(self, background: Background, folder: Path, common: dict[str, object] | None = None) -> None:
		env = {"FRAPPE_REALTIME_NODE": nodejs.node()}
		self.first = Bench(background, folder, persist=True, common=common, env=env)
		write_handlers(self.first, "relay", PYTHON)
		write_app(self.first, "relay_js", JAVASCRIPT)
		for site in SITES:
			install(self.first, "relay", "relay_js", site=site)
		self.second = copy.copy(self.first)
		self.second.sidecar = Sidecar(self.first.folder, folder / "second.log", env=env)

	def start(self) -> Pair:
		"""Start all processes, and wait until each sidecar has discovered the other one."""
		self.first.start()
		self.second.sidecar.start()
		self.wait_until_together()
		return self

	def wait_until_together(self) -> None:
		"""Wait until each sidecar has discovered the other one."""
		for bench in (self.first, self.second):
			until(lambda bench=bench: len(others(bench)) == 1, "one other sidecar")  # type: ignore[misc]

	def check_logs(self) -> None:
		"""Fail if a log has a traceback."""
		for bench in (self.first, self.second):
			bench.sidecar.check_log()

	def close(self) -> None:
		"""Stop all processes."""
		try:
			self.second.sidecar.close()
		finally:
			self.first.close()


def others(bench: Bench) -> list[str]:
	"""Return the addresses of the other sidecars in `/health`."""
	addresses: list[str] = bench.sidecar.health()[1]["sidecars"]
	return addresses


def metric(bench: Bench, name: str) -> float:
	"""Return the value of a metric, given its name and labels; 0 if there is none."""
	wanted = f"frappe_realtime_{name} "
	lines = bench.sidecar.get("/metrics")[1].splitlines()
	return sum(float(line.removeprefix(wanted)) for line in lines if line.startswith(wanted))


MakePair = Callable[..., Pair]
"""Starts two sidecars for one test; its arguments are configuration keys."""
