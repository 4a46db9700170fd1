"""A bench with an app whose handlers pages call."""

from __future__ import annotations

from tests.wire.apps import install, write_handlers
from tests.wire.bench import Bench
from tests.wire.conftest import MakeBench

HANDLERS = """
from frappe.realtime import realtime

@realtime.on("add")
async def add(socket, one, other):
	return one + other

@realtime.on("answer_me")
async def answer_me(socket):
	await socket.emit("answer", "one text")

@realtime.on("fails")
async def fails(socket):
	raise ValueError("on purpose")

@realtime.on("keeps")
async def keeps(socket, ack):
	await socket.emit("kept")

@realtime.on("send_me_away")
async def send_me_away(socket):
	await socket.disconnect()
"""


def bench_with_handlers(make_bench: MakeBench) -> Bench:
	"""Make a bench with an app whose handlers are `HANDLERS`."""
	bench = make_bench(start=False)
	write_handlers(bench, "shop", HANDLERS)
	install(bench, "shop")
	return bench.start()
