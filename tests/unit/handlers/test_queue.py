"""The event queue of a socket for an app: order, bounds, exceptions, slow handlers, listeners and middleware."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from frappe_realtime.handlers.registry import Handler, Registry, Signature, current_app, is_async
from frappe_realtime.handlers.sync_socket import SyncSocket
from realtime.cluster.members import RemoteMembers
from realtime.cluster.sockets import SocketTable
from realtime.handlers.app import App
from realtime.handlers.executor import HandlerExecutor, HandlerLimits
from realtime.handlers.files import HandlerFiles
from realtime.handlers.loaded_apps import LoadedApps
from realtime.handlers.queue import SETUP, HandlerQueue
from realtime.handlers.reply import Reply
from realtime.handlers.runtime import HandlerRuntime
from realtime.memory import memory_of
from realtime.socketio.fanout import Fanout
from realtime.socketio.namespace import Namespaces
from tests.unit.handlers.fakes import add_socket, settle

EAGER = sys.version_info >= (3, 12)


class AppOfOneSocket:
	"""One app and its queue for one socket. Must be made in a running event loop.

	Args:
		limits: Limits of handlers.
		setup: The set-up function of the app.
		user: The user of the socket.
	"""

	def __init__(self, setup: Callable[..., Any] | None = None, user: str = "ann", **limits: Any) -> None:
		self.ran: list[Any] = []
		"""Handlers append to it."""
		self.failures: list[BaseException] = []
		namespaces = Namespaces()
		loop = asyncio.get_running_loop()
		self.executor = HandlerExecutor(Path(), HandlerLimits(**limits), loop)
		self.executor.handler_failed.connect(lambda queue, event, error: self.failures.append(error))
		unused: Any = None
		self.runtime = HandlerRuntime(
			Fanout(namespaces),
			unused,
			unused,
			RemoteMembers(),
			SocketTable(namespaces),
			unused,
			unused,
			LoadedApps(HandlerFiles(Path("no such bench")), Path()),
			self.executor,
		)
		self.app = App.named("app")
		self.app.replace_handlers([], setup)
		self.server_socket = add_socket(namespaces, user)
		self.queue: HandlerQueue = self.runtime.queue_of(self.server_socket, self.app)

	def on(self, event: str, function: Callable[..., Any], **options: Any) -> None:
		"""Register a decorated function."""
		registry = Registry()
		with registry.collecting() as handlers:
			registry.on(event, **options)(function)
		self.app.handlers.setdefault(event, []).extend(handlers)

	def listen(self, event: str, function: Callable[..., Any], once: bool = False) -> None:
		"""Add a listener as `socket.on` and `socket.once` do."""
		self.queue.listeners.setdefault(event, []).append(
			Handler(
				event,
				function,
				"app",
				Signature.of(function),
				is_async(function),
				takes_socket=False,
				once=once,
			)
		)

	def push(self, event: str, *arguments: Any, ack: Any = None) -> None:
		"""Queue an event."""
		self.queue.push((event, list(arguments), ack))

	async def finish(self) -> None:
		"""Wait until all events have been handled."""
		while tasks := self.executor.tasks():
			await asyncio.wait(tasks, timeout=5)


def run(scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
	asyncio.run(scenario())


def test_a_handler_that_does_not_wait_runs_at_once() -> None:
	"""From Python 3.12 on, in the call that queues the event; before that, in the next iteration of the loop."""

	async def scenario() -> None:
		one = AppOfOneSocket()

		async def handler(socket: Any, number: int) -> None:
			one.ran.append((number, current_app.get(), asyncio.current_task() is not None))

		one.on("go", handler)
		one.push("go", 1)
		assert one.ran == ([(1, "app", True)] if EAGER else [])
		assert bool(one.executor.tasks()) is not EAGER
		await settle()
		assert one.ran == [(1, "app", True)]
		assert one.executor.tasks() == []
		assert one.queue.worker is None

	run(scenario)


def test_an_eager_handler_does_not_become_the_current_task_of_its_caller() -> None:
	async def scenario() -> None:
		one = AppOfOneSocket()
		caller = asyncio.current_task()
		tasks: list[Any] = []

		async def handler(socket: Any) -> None:
			tasks.append(asyncio.current_task())
			await asyncio.sleep(0)
			tasks.append(asyncio.current_task())

		one.on("go", handler)
		one.push("go")
		assert asyncio.current_task() is caller
		await one.finish()
		assert tasks[0] is tasks[1] is not caller

	run(scenario)


def test_events_are_handled_in_order_one_at_a_time() -> None:
	async def scenario() -> None:
		one = AppOfOneSocket()

		async def slow(socket: Any, number: int) -> None:
			one.ran.append(f"{number} starts")
			await asyncio.sleep(0.001 * (3 - number))
			one.ran.append(f"{number} ends")

		def plain(socket: Any, number: int) -> None:
			one.ran.append(
				f"{number} in a thread: {threading.current_thread() is not threading.main_thread()}"
			)

		one.on("slow", slow)
		one.on("plain", plain)
		one.push("slow", 1)
		one.push("plain", 2)
		one.push("slow", 3)
		await one.finish()
		assert one.ran == ["1 starts", "1 ends", "2 in a thread: True", "3 starts", "3 ends"]

	run(scenario)


def test_a_full_queue_drops_events_except_disconnect(caplog: pytest.LogCaptureFixture) -> None:
	async def scenario() -> None:
		one = AppOfOneSocket(queue=2)
		gate = asyncio.Event()

		async def handler(socket: Any, number: Any) -> None:
			await gate.wait()
			one.ran.append(number)

		one.on("go", handler)
		one.on("disconnect", handler)
		one.push("go", 0)
		await settle()
		for number in range(1, 5):
			one.push("go", number)
		one.queue.push_lifecycle("disconnect", "reason")
		gate.set()
		await one.finish()
		assert one.ran == [0, 1, 2, "reason"]
		assert one.executor.counters.dropped == {"realtime_handler_queue": 2}

	run(scenario)
	assert caplog.text.count("2 events wait already (realtime_handler_queue)") == 1


def test_queued_events_are_bounded_in_bytes(caplog: pytest.LogCaptureFixture) -> None:
	async def scenario() -> None:
		one = AppOfOneSocket(queue_bytes=10_000)
		gate = asyncio.Event()

		async def handler(socket: Any, number: int, text: str = "") -> None:
			await gate.wait()
			one.ran.append(number)

		one.on("go", handler)
		# The first event does not wait.
		one.push("go", 0, "x" * 100_000)
		await settle()
		for number, size in enumerate((4000, 4000, 4000, 1000, 1000), 1):
			one.push("go", number, "x" * size)
		one.push("go", 6, [[]] * 200)
		assert one.executor.counters.dropped == {"realtime_handler_queue_bytes": 3}
		gate.set()
		await one.finish()
		assert one.ran == [0, 1, 2, 4]
		# There is space again.
		gate.clear()
		one.push("go", 7)
		await settle()
		one.push("go", 8, "x" * 9000)
		gate.set()
		await one.finish()
		assert one.ran == [0, 1, 2, 4, 7, 8]

	run(scenario)
	assert "would take more than 10000 bytes (realtime_handler_queue_bytes)" in caplog.text


@pytest.mark.parametrize(
	("value", "least", "most"),
	[
		([], 56, 200),
		(["x" * 1000], 1000, 1200),
		([b"x" * 1000], 1000, 1200),
		([{"key" * 100: {"a": ["x" * 1000]}}], 1300, 2500),
		([[[]] * 1000], 64_000, 80_000),
		([None, True, 1, 1.5], 80, 300),
	],
)
def test_memory_of_arguments(value: list[Any], least: int, most: int) -> None:
	assert least <= memory_of(value, 1_000_000) <= most


def test_counting_memory_stops_at_the_limit() -> None:
	assert 1000 < memory_of([["x" * 100] * 1_000_000, "y"], 1000) < 9_000_000


def test_queued_events_of_a_disconnected_client_are_dropped() -> None:
	async def scenario() -> None:
		one = AppOfOneSocket(queue_bytes=10_000)
		gate = asyncio.Event()

		async def handler(socket: Any, what: Any = "connect") -> None:
			await gate.wait()
			one.ran.append(what)

		for event in ("go", "connect", "disconnect"):
			one.on(event, handler)
		# Also before Python 3.12, where the first handler starts in the next iteration of the loop.
		one.push("go", 0)
		one.push("go", 1, "x" * 5000)
		one.queue.push_lifecycle("connect")
		one.queue.drop_client_events()
		one.queue.push_lifecycle("disconnect", "reason")
		gate.set()
		await one.finish()
		assert one.ran == [0, "connect", "reason"]
		assert one.executor.counters.dropped == {}

	run(scenario)


def test_the_next_event_does_not_wait_for_a_slow_handler(caplog: pytest.LogCaptureFixture) -> None:
	async def scenario() -> None:
		one = AppOfOneSocket(seconds=0.01)
		gate = asyncio.Event()

		async def slow(socket: Any) -> None:
			await gate.wait()
			one.ran.append("slow")

		async def fast(socket: Any) -> None:
			one.ran.append("fast")

		one.on("slow", slow)
		one.on("fast", fast)
		one.push("slow")
		one.push("fast")
		await asyncio.sleep(0.02)
		one.executor.report_slow_handlers()
		await settle()
		assert one.ran == ["fast"]
		# It is reported once, and events that come later are handled at once.
		one.executor.report_slow_handlers()
		one.push("fast")
		await settle()
		assert one.ran == ["fast", "fast"]
		gate.set()
		await one.finish()
		assert one.ran == ["fast", "fast", "slow"]
		assert one.executor.counters.slow == 1

	run(scenario)
	assert "a handler of 'slow' runs for more than 0.01 s" in caplog.text


ERRORS = [ValueError("no"), SystemExit(1), KeyboardInterrupt(), asyncio.CancelledError()]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("kind", ["async", "plain", "after waiting", "middleware", "listener"])
def test_an_exception_ends_only_its_own_handler(kind: str, error: BaseException) -> None:
	async def scenario() -> None:
		one = AppOfOneSocket()

		async def failing(*_: Any) -> None:
			if kind == "after waiting":
				await asyncio.sleep(0)
			raise error

		def failing_in_thread(*_: Any) -> None:
			raise error

		async def next_handler(socket: Any) -> None:
			one.ran.append("next handler")

		async def next_event(socket: Any) -> None:
			one.ran.append("next event")

		if kind == "middleware":
			one.queue.middleware.append(
				lambda event, arguments: failing_in_thread() if event == "go" else None
			)
		elif kind == "listener":
			one.listen("go", failing)
		else:
			one.on("go", failing_in_thread if kind == "plain" else failing)
		one.on("go", next_handler)
		one.on("later", next_event)
		one.push("go")
		one.push("later")
		await one.finish()
		assert one.ran == (["next event"] if kind == "middleware" else ["next handler", "next event"])
		assert [type(failure) for failure in one.failures] == [type(error)]
		assert one.executor.counters.failures == 1

	run(scenario)


def test_a_cancelled_future_does_not_stop_the_queue() -> None:
	async def scenario() -> None:
		one = AppOfOneSocket()
		future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

		async def waiting(socket: Any) -> None:
			await future

		async def later(socket: Any) -> None:
			one.ran.append("later")

		one.on("wait", waiting)
		one.on("later", later)
		one.push("wait")
		one.push("later")
		await settle()
		future.cancel()
		await one.finish()
		assert one.ran == ["later"]

	run(scenario)


def test_a_stop_cancels_running_handlers_and_handles_no_more_events() -> None:
	async def scenario() -> None:
		one = AppOfOneSocket()

		async def waiting(socket: Any) -> None:
			try:
				await asyncio.Event().wait()
			finally:
				one.ran.append("cancelled")

		one.on("wait", waiting)
		one.push("wait")
		one.push("wait")
		await settle()
		one.executor.stop()
		await settle()
		assert one.ran == ["cancelled"]
		assert one.failures == []

	run(scenario)


def test_middleware_may_change_or_stop_an_event() -> None:
	async def scenario() -> None:
		one = AppOfOneSocket()

		def upper(event: str, arguments: list[Any]) -> None:
			arguments[0] = arguments[0].upper()

		async def stop(event: str, arguments: list[Any]) -> bool:
			return arguments[0] != "SECRET"

		async def handler(socket: Any, text: str) -> None:
			one.ran.append(text)

		one.queue.middleware += [upper, stop]
		one.on("say", handler)
		one.push("say", "hi")
		one.push("say", "secret")
		one.push("say", "again")
		await one.finish()
		assert one.ran == ["HI", "AGAIN"]

	run(scenario)


def test_a_listener_for_one_event_runs_once() -> None:
	async def scenario() -> None:
		one = AppOfOneSocket()

		async def first(number: int) -> None:
			one.ran.append(("once", number))
			# Queued while the listener runs: it must have been removed already.
			await asyncio.sleep(0)

		async def each(number: int) -> None:
			one.ran.append(("on", number))

		one.listen("go", first, once=True)
		one.listen("go", each)
		one.push("go", 1)
		one.push("go", 2)
		await one.finish()
		assert one.ran == [("once", 1), ("on", 1), ("on", 2)]
		assert list(one.queue.listeners) == ["go"]

	run(scenario)


def test_acknowledgements() -> None:
	async def scenario() -> None:
		one = AppOfOneSocket()
		answers: list[tuple[Any, ...]] = []

		async def value(socket: Any, value: Any) -> Any:
			return value

		def with_ack(socket: Any, ack: Any) -> None:
			ack("from a thread", threading.current_thread() is threading.main_thread())

		def ack(*arguments: Any) -> None:
			answers.append((*arguments, threading.current_thread() is threading.main_thread()))

		one.on("value", value)
		one.on("ack", with_ack)
		for returned in (1, (1, 2), (), None):
			one.push("value", returned, ack=ack)
		one.push("ack", ack=ack)
		one.push("ack")
		await one.finish()
		assert answers == [(1, True), (1, 2, True), (True,), ("from a thread", False, True)]
		assert one.failures == []

	run(scenario)


@pytest.mark.parametrize(
	("event", "code"),
	[
		("answers", None),
		("unknown", "no_handler"),
		("quiet", "no_answer"),
		("needs more", "bad_arguments"),
		("raises", "failed"),
		("stopped", "not_allowed"),
		("middleware raises", "failed"),
		("one of two answers", None),
		("one of two raises", "failed"),
	],
)
def test_a_call_is_answered_in_any_case(event: str, code: str | None) -> None:
	async def scenario() -> None:
		one = AppOfOneSocket()
		answers: list[tuple[Any, ...]] = []

		async def answers_it(socket: Any) -> str:
			return "yes"

		def quiet(socket: Any) -> None:
			pass

		async def needs_more(socket: Any, value: Any) -> None:
			raise AssertionError

		async def raises(socket: Any) -> None:
			raise ValueError("why")

		async def middleware(event: str, arguments: list[Any]) -> bool:
			if event == "middleware raises":
				raise ValueError("why")
			return event != "stopped"

		one.queue.middleware.append(middleware)
		one.on("answers", answers_it)
		one.on("quiet", quiet)
		one.on("needs more", needs_more)
		one.on("raises", raises)
		one.on("one of two answers", raises)
		one.on("one of two answers", answers_it)
		one.on("one of two raises", raises)
		one.on("one of two raises", quiet)
		reply = Reply(lambda *arguments: answers.append(arguments), event, "a.site", shows_errors=True)
		one.push(event, ack=reply)
		reply.end()
		await one.finish()
		if code is None:
			assert answers == [(None, "yes")]
			return
		((error,),) = answers
		assert error["code"] == code
		assert ("why" in error["message"], "in raises" in error.get("traceback", "")) == (
			code == "failed",
			code == "failed" and event != "middleware raises",
		)

	run(scenario)


def test_a_call_that_is_dropped() -> None:
	async def scenario() -> None:
		one = AppOfOneSocket(queue=1)
		answers: list[Any] = []
		free = asyncio.Event()

		async def waits(socket: Any) -> str:
			await free.wait()
			return "done"

		one.on("waits", waits)
		for _ in range(3):
			reply = Reply(lambda *arguments: answers.append(arguments), "waits", "a.site", shows_errors=False)
			one.push("waits", ack=reply)
			reply.end()
		((error,),) = answers
		assert error == {
			"code": "dropped",
			"message": 'Too many events wait for the app app; "waits" was dropped (realtime_handler_queue).',
		}
		free.set()
		await one.finish()
		assert answers[1:] == [(None, "done")] * 2

	run(scenario)


def test_a_handler_with_a_parameter_for_it_may_answer_a_call_later() -> None:
	async def scenario() -> None:
		one = AppOfOneSocket()
		answers: list[Any] = []
		kept: list[Any] = []

		async def keeps(socket: Any, ack: Any) -> None:
			kept.append(ack)

		one.on("keeps", keeps)
		reply = Reply(lambda *arguments: answers.append(arguments), "keeps", "a.site", shows_errors=False)
		one.push("keeps", ack=reply)
		reply.end()
		await one.finish()
		assert answers == []
		kept[0]("late")
		kept[0]("twice")
		assert answers == [(None, "late")]

	run(scenario)


def test_guests_reach_only_handlers_with_allow_guest() -> None:
	async def scenario() -> None:
		one = AppOfOneSocket(user="Guest")

		async def handler(socket: Any) -> None:
			one.ran.append("closed")

		async def for_guests(socket: Any) -> None:
			one.ran.append("open")

		one.on("go", handler)
		one.on("go", for_guests, allow_guest=True)
		one.push("go")
		await one.finish()
		assert one.ran == ["open"]

	run(scenario)


def test_a_plain_set_up_function_runs_at_once_with_a_sync_socket() -> None:
	async def scenario() -> None:
		seen: list[Any] = []
		one = AppOfOneSocket(lambda socket: seen.append((type(socket), current_app.get())))
		one.queue.run_setup()
		assert seen == [(SyncSocket, "app")]

	run(scenario)


def test_events_wait_for_an_async_set_up_function() -> None:
	async def scenario() -> None:
		gate = asyncio.Event()

		async def setup(socket: Any) -> None:
			await gate.wait()

			async def listener() -> None:
				one.ran.append("listener")

			one.listen("go", listener)

		one = AppOfOneSocket(setup)
		one.queue.run_setup()
		await settle()
		assert one.queue.may_handle("go")
		one.push("go")
		gate.set()
		await one.finish()
		assert one.ran == ["listener"]
		assert not one.queue.may_handle("other")

	run(scenario)


def test_a_client_cannot_run_the_set_up_function() -> None:
	"""It may send an event with the same name that the queue uses internally."""

	async def scenario() -> None:
		async def setup(socket: Any) -> None:
			one.ran.append("set-up")
			await asyncio.sleep(0)

		one = AppOfOneSocket(setup)
		one.queue.run_setup()
		await settle()
		one.push("".join(list(SETUP)))
		await one.finish()
		assert one.ran == ["set-up"]
		assert one.failures == []

	run(scenario)
