"""What handlers in the Node process ask for."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from realtime.javascript.background import BackgroundTasks
from realtime.javascript.handler_requests import HandlerRequests
from realtime.javascript.replication import SocketReplica
from realtime.json_codec import loads
from tests.unit.javascript.fakes import JavaScriptBench, call


def requests_of(bench: JavaScriptBench, presence: Any = None) -> HandlerRequests:
	unused: Any = None
	return HandlerRequests(
		bench.channel,
		bench.sockets,
		bench.table,
		unused,
		unused,
		presence,
		unused,
		BackgroundTasks(),
		unused,
		unused,
		unused,
		unused,
	)


def test_the_acknowledgement_of_a_client(tmp_path: Path) -> None:
	"""Also one that is nested too deeply to be written on some Pythons."""

	async def run() -> None:
		bench = JavaScriptBench(tmp_path, "chat")
		bench.start_process()
		socket = bench.connect("one", "chat")
		requests = requests_of(bench)
		failures: list[Any] = []
		asyncio.get_running_loop().set_exception_handler(lambda loop, context: failures.append(context))
		requests.execute([["emit", "one", token, '["question"]', 0] for token in (7, 8)], [])
		await bench.process.operations()
		socket.acknowledged(1, loads("[" * 1000 + "]" * 1000))
		socket.acknowledged(2, ["yes"])
		await asyncio.sleep(0)
		assert (await bench.process.operations())[-1] == ["ack", "one", 8, 0, ["yes"]]
		assert failures == []

	asyncio.run(run())


def test_an_answer_to_a_socket_that_has_gone_is_not_taken_for_one_to_the_recovered_socket_of_its_id(
	tmp_path: Path,
) -> None:
	def connect() -> tuple[SocketReplica, int, list[tuple[Any, ...]]]:
		"""Return the replica of a new socket, the token of a call of its client, and what the client is answered."""
		bench.connect("one", "chat")
		replica = bench.sockets.get("one")
		assert replica is not None
		reply, answers = call()
		return replica, replica.add_ack(reply), answers

	bench = JavaScriptBench(tmp_path, "chat")
	requests = requests_of(bench)
	gone, old, unsent = connect()
	bench.sockets.remove(gone.socket, "transport close")
	_, new, answers = connect()
	requests.execute([["ack", "one", old, '["old"]', 0]], [])
	requests.execute([["call_ended", "one", old, "chat", "failed", "an error", ""]], [])
	assert answers == []
	requests.execute([["ack", "one", new, '["new"]', 0]], [])
	assert (unsent, answers) == ([], [(None, "new")])


def test_a_question_with_a_value_that_is_nested_too_deeply_is_refused(tmp_path: Path) -> None:
	"""Whatever its handler asks: it waits for the answer."""

	async def run() -> None:
		bench = JavaScriptBench(tmp_path, "chat")
		bench.start_process()
		bench.connect("one", "chat")
		await bench.process.operations()
		deep = "[" * 10_000 + "]" * 10_000
		requests_of(bench).execute(
			[
				["presence", 1, "one", "/site.test", "set", "site", f"[{deep},null]"],
				["rewind", 2, "one", "room", f"[{deep}]"],
			],
			[],
		)
		assert await bench.process.operations() == [
			["answer", 1, ["bad_request", "the value is not JSON: nested too deeply"], None],
			["answer", 2, ["bad_request", "the value is not JSON: nested too deeply"], None],
		]

	asyncio.run(run())


def test_the_handler_of_a_socket_that_has_gone_learns_who_stays(tmp_path: Path) -> None:
	"""As in Python; it changes nothing for the socket any more."""

	class FakePresence:
		"""A place with one member, which nobody may change."""

		def members(self, namespace: str, place: str) -> tuple[list[dict[str, Any]], int]:
			assert (namespace, place) == ("/site.test", "site")
			return [{"id": "two"}], 1

	async def run() -> None:
		bench = JavaScriptBench(tmp_path, "chat")
		bench.start_process()
		await bench.process.operations()
		actions = ("members", "join", "set", "leave")
		requests_of(bench, FakePresence()).execute(
			[
				["presence", token, "gone", "/site.test", action, "site", "[null,null]"]
				for token, action in enumerate(actions)
			],
			[],
		)
		assert await bench.process.operations() == [
			["answer", 0, None, [[{"id": "two"}], 1]],
			*[["answer", token, None, None] for token in (1, 2, 3)],
		]

	asyncio.run(run())
