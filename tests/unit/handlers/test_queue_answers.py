"""The event queue of a socket: middleware, listeners, acknowledgements, and set-up functions."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from frappe_realtime.handlers.registry import current_app
from frappe_realtime.handlers.sync_socket import SyncSocket
from realtime.handlers.queue import SETUP
from realtime.handlers.reply import Reply
from realtime.socketio.server import _ack_of
from tests.unit.handlers.fakes import sent, settle
from tests.unit.handlers.queues import AppOfOneSocket, run


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


def test_an_exception_that_no_text_can_be_made_of_does_not_stop_the_queue() -> None:
	"""Its arguments may be what the client has sent."""

	class Unprintable(Exception):
		def __str__(self) -> str:
			raise RecursionError

	async def scenario() -> None:
		one = AppOfOneSocket()
		answers: list[Any] = []

		def middleware(event: str, arguments: list[Any]) -> None:
			if event == "raises":
				raise Unprintable

		async def later(socket: Any) -> None:
			one.ran.append("later")

		one.queue.middleware.append(middleware)
		one.on("later", later)
		reply = Reply(answers.append, "raises", "a.site", shows_errors=True)
		one.push("raises", ack=reply)
		one.push("later")
		reply.end()
		await settle()
		assert one.ran == ["later"]
		assert "Unprintable: (RecursionError while its text was made)" in answers[0]["message"]

	run(scenario)


@pytest.mark.parametrize("is_call", [True, False])
def test_an_answer_that_cannot_be_encoded_is_no_answer(is_call: bool) -> None:
	async def scenario() -> None:
		one = AppOfOneSocket()

		async def returns_it(socket: Any) -> object:
			return object()

		async def catches_it(socket: Any, ack: Any) -> None:
			try:
				ack(object())
			except TypeError:
				ack("otherwise")

		one.on("returns it", returns_it)
		one.on("catches it", catches_it)
		for id, event in enumerate(("returns it", "catches it")):
			ack = _ack_of(one.server_socket, id)
			if not is_call:
				one.push(event, ack=ack)
				continue
			reply = Reply(ack, event, "a.site", shows_errors=False)
			one.push(event, ack=reply)
			reply.end()
		await one.finish()
		assert [type(failure) for failure in one.failures] == [TypeError]
		answers = sent(one.server_socket)
		if is_call:
			assert [error["code"] for error in answers.pop(0)] == ["failed"]
		assert answers == ([[None, "otherwise"]] if is_call else [["otherwise"]])

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


@pytest.mark.parametrize("is_setup", [True, False], ids=["set-up function", "connect"])
def test_events_wait_for_what_may_add_listeners(is_setup: bool) -> None:
	"""An async set-up function, or a handler of `connect`, that has not ended."""

	async def scenario() -> None:
		gate = asyncio.Event()

		async def add_listener(socket: Any) -> None:
			await gate.wait()

			async def listener() -> None:
				one.ran.append("listener")

			one.listen("go", listener)

		if is_setup:
			one = AppOfOneSocket(add_listener)
			one.queue.run_setup()
			await settle()
		else:
			one = AppOfOneSocket()
			one.on("connect", add_listener)
			one.queue.push_lifecycle("connect")
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
