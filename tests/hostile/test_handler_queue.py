"""What one client can make the handlers of an app keep in memory, write to the log, and do after a disconnect."""

from __future__ import annotations

import pytest

from tests.wire.apps import in_log, install, write_handlers
from tests.wire.bench import Bench
from tests.wire.conditions import until
from tests.wire.conftest import Connect, MakeBench

WAITING = """
import asyncio
from frappe.realtime import realtime

gate = asyncio.Event()

@realtime.on("wait")
async def wait(socket, number, text=""):
	await gate.wait()
	print("handled", number, flush=True)

@realtime.on("disconnect")
async def gone(socket):
	print("disconnect handled", flush=True)

@realtime.on("sids")
async def sids(socket):
	return list(socket.nsp.sockets)

@realtime.on("fail")
async def fail(socket):
	raise ValueError("on purpose")

@realtime.on("open")
async def open_gate(socket):
	gate.set()
"""


@pytest.fixture
def bench(make_bench: MakeBench) -> Bench:
	"""A bench whose app has a handler that waits until another client sends `open`."""
	one = make_bench(start=False)
	write_handlers(one, "waiting", WAITING)
	install(one, "waiting")
	return one.start()


def test_queued_events_are_bounded_in_bytes(bench: Bench, connect: Connect) -> None:
	client, other = connect(bench, bench.user()), connect(bench, bench.user())
	client.emit("wait", 0)
	client.fence()
	before = bench.sidecar.memory()
	for number in range(1, 201):
		client.emit("wait", number, "x" * 500_000)
	client.fence()
	assert bench.sidecar.memory() - before < 20_000_000
	assert bench.sidecar.health()[1]["handlers"]["python"]["dropped"] > 180
	in_log(bench, "(realtime_handler_queue_bytes)")
	assert 'limit="realtime_handler_queue_bytes"' in bench.sidecar.get("/metrics")[1]
	# Small events of the same client are dropped only while there is no space, those of others never.
	other.emit("open")
	in_log(bench, "handled 1\n")
	client.emit("wait", "later")
	in_log(bench, "handled later\n")


def test_small_messages_that_take_much_memory_are_bounded(bench: Bench, connect: Connect) -> None:
	"""An empty list is 3 bytes of JSON, and 64 bytes in memory."""
	client = connect(bench, bench.user())
	client.emit("wait", 0)
	client.fence()
	before = bench.sidecar.memory()
	for number in range(1, 31):
		client.emit("wait", number, [[]] * 100_000)
	client.fence()
	assert bench.sidecar.memory() - before < 40_000_000


def test_queued_events_of_a_client_that_has_gone_are_dropped(bench: Bench, connect: Connect) -> None:
	client, other = connect(bench, bench.user()), connect(bench, bench.user())
	for number in range(10):
		client.emit("wait", number)
	client.fence()
	client.close()
	until(lambda: len(other.call("sids")) == 1, "the disconnect")
	other.emit("open")
	in_log(bench, "disconnect handled")
	assert bench.sidecar.log.count("handled 0\n") == 1
	assert "handled 1\n" not in bench.sidecar.log


def test_failing_events_do_not_flood_the_log(bench: Bench, connect: Connect) -> None:
	client = connect(bench, bench.user())
	for _ in range(500):
		client.emit("fail")
		client.emit("wait")
	client.fence()
	until(
		lambda: bench.sidecar.health()[1]["handlers"]["python"]["failures"] == 500,
		"the failures to be counted",
	)
	assert len(bench.sidecar.log) < 10_000
	assert bench.sidecar.log.count("Traceback") == 1
	bench.sidecar.expects_traceback = True
