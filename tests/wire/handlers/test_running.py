"""How handlers run: in order, in their task and context, beside slow and stuck ones, and within limits."""

from __future__ import annotations

import time

from tests.wire.apps import in_log
from tests.wire.conditions import until
from tests.wire.conftest import Connect
from tests.wire.handlers.alpha import ALPHA, MakeAppBench

INTERRUPTS = """
from frappe.realtime import realtime

@realtime.on("interrupts")
async def interrupts(socket):
	raise KeyboardInterrupt

@realtime.on("interrupts_in_thread")
def interrupts_in_thread(socket):
	raise KeyboardInterrupt

@realtime.on("connect")
async def connected(socket):
	def middleware(event, arguments):
		if event == "stop":
			raise KeyboardInterrupt
	socket.use(middleware)

@realtime.on("stop")
async def stop(socket):
	return "not reached"
"""


def test_a_keyboard_interrupt_in_a_handler_ends_nothing_else(
	make_app_bench: MakeAppBench, connect: Connect
) -> None:
	bench = make_app_bench(
		interrupts=INTERRUPTS,
		at_import="raise KeyboardInterrupt",
		set_up="def set_up(socket):\n\traise KeyboardInterrupt\n",
		alpha=ALPHA,
	)
	bench.sidecar.expects_traceback = True
	client = connect(bench, bench.user())
	for event in ("interrupts", "interrupts_in_thread", "stop"):
		client.emit(event)
		in_log(bench, f"interrupts: a handler of {event!r} failed")
	assert client.call("alpha", 1)["value"] == 1
	assert bench.sidecar.alive


def test_events_of_a_socket_stay_in_order(make_app_bench: MakeAppBench, connect: Connect) -> None:
	bench = make_app_bench(
		ordered="""
import asyncio
from frappe.realtime import realtime

@realtime.on("slow")
async def slow(socket, number):
	await asyncio.sleep(0.05 if number % 2 else 0)
	await socket.emit("done", number)

@realtime.on("thread")
def thread(socket, number):
	socket.emit("done", number)
"""
	)
	client = connect(bench, bench.user())
	for number in range(10):
		client.emit("slow" if number % 3 else "thread", number)
	until(lambda: len(client.all("done")) == 10, "ten answers")
	assert [args[0] for args in client.all("done")] == list(range(10))


def test_a_handler_that_waits_keeps_its_task_and_its_context(
	make_app_bench: MakeAppBench, connect: Connect
) -> None:
	bench = make_app_bench(
		waiting="""
import asyncio
from contextvars import ContextVar
from frappe.realtime import realtime

value_here = ContextVar("value_here", default=None)

@realtime.on("wait")
async def wait(socket, value):
	value_here.set(value)
	task = asyncio.current_task()
	late = []
	for _ in range(3):
		try:
			await asyncio.wait_for(asyncio.Event().wait(), 0.01)
		except asyncio.TimeoutError:
			late.append(asyncio.current_task() is task)
	await asyncio.sleep(0)
	return value_here.get(), late

@realtime.on("see")
async def see(socket):
	return repr(value_here.get())

@realtime.on("fail_later")
async def fail_later(socket):
	await asyncio.sleep(0.01)
	raise RuntimeError("on purpose")
"""
	)
	one, two = connect(bench, bench.user()), connect(bench, bench.user())
	assert one.call("wait", "first") == ("first", [True] * 3)
	assert one.call("see") == "None"
	one.emit("wait", "meanwhile")
	assert two.call("wait", "of two") == ("of two", [True] * 3)
	one.emit("fail_later")
	assert one.call("wait", "after it") == ("after it", [True] * 3)
	in_log(bench, "waiting: a handler of 'fail_later' failed")
	bench.sidecar.expects_traceback = True


def test_a_handler_that_blocks_the_loop_is_logged(make_app_bench: MakeAppBench, connect: Connect) -> None:
	bench = make_app_bench(
		{"common": {"realtime_handler_blocking": 0.2}},
		blocker="""
import time
from frappe.realtime import realtime

@realtime.on("block")
async def block(socket):
	until = time.monotonic() + 0.5
	while time.monotonic() < until:
		pass
	time.sleep(2.5)
""",
	)
	connect(bench, bench.user()).emit("block")
	in_log(bench, "blocker: a handler of 'block'")
	in_log(bench, "blocks the event loop for 0.2 s already")


def test_the_next_event_does_not_wait_for_a_slow_handler(
	make_app_bench: MakeAppBench, connect: Connect
) -> None:
	bench = make_app_bench(
		{"common": {"realtime_handler_seconds": 0.2}},
		slow="""
import asyncio
from frappe.realtime import realtime

@realtime.on("forever")
async def forever(socket):
	await asyncio.Event().wait()

@realtime.on("next")
async def following(socket):
	return "next"
""",
	)
	client = connect(bench, bench.user())
	client.emit("forever")
	assert client.call("next") == "next"
	in_log(bench, "slow: a handler of 'forever' runs for more than 0.2 s")


def test_events_above_the_rate_limit_are_ignored(make_app_bench: MakeAppBench, connect: Connect) -> None:
	bench = make_app_bench({"common": {"realtime_events_per_second": 1}}, alpha=ALPHA)
	client = connect(bench, bench.user())
	began = time.monotonic()
	for _ in range(20):
		client.emit("alpha", 1)
	until(lambda: client.all("limit_reached"), "the event limit_reached")
	# Handlers of events from before the limit may still run when the client has received `limit_reached`.
	until(lambda: len(client.all("alpha_seen")) >= 5, "the events of the burst")
	assert len(client.all("alpha_seen")) <= 10 + (time.monotonic() - began) + 1
	assert client.all("limit_reached")[0][0]["limit"] == "realtime_events_per_second"


def test_events_beyond_the_queue_limit_are_dropped(make_app_bench: MakeAppBench, connect: Connect) -> None:
	bench = make_app_bench(
		{"common": {"realtime_handler_queue": 3}},
		waiting="""
import asyncio
from frappe.realtime import realtime

gates = {}

@realtime.on("wait")
async def wait(socket, number):
	await gates.setdefault(socket.sid, asyncio.Event()).wait()
	await socket.emit("done", number)

@realtime.on("open")
async def open_gate(socket, sid):
	gates[sid].set()
""",
	)
	client, other = connect(bench, bench.user()), connect(bench, bench.user())
	client.emit("wait", 0)
	client.fence()
	for number in range(1, 6):
		client.emit("wait", number)
	client.fence()
	other.emit("open", client.id)
	until(lambda: len(client.all("done")) == 4, "the first event, and the three that were queued")
	assert [args[0] for args in client.all("done")] == [0, 1, 2, 3]
	in_log(bench, "3 events wait already (realtime_handler_queue)")
	assert bench.sidecar.health()[1]["handlers"]["python"]["dropped"] == 2


def test_sigterm_ends_a_sidecar_with_a_stuck_thread(make_app_bench: MakeAppBench, connect: Connect) -> None:
	bench = make_app_bench(
		stuck="""
import time
from frappe.realtime import realtime

@realtime.on("stuck")
def stuck(socket):
	print("stuck now", flush=True)
	time.sleep(600)
"""
	)
	connect(bench, bench.user()).emit("stuck")
	in_log(bench, "stuck now")
	assert bench.sidecar.stop() == 0
