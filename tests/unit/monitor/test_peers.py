"""Questions between sidecars: who answers, who is waited for, and for how long."""

from __future__ import annotations

import asyncio
from typing import Any

from realtime.cluster import message_reader, message_writer, messages
from realtime.monitor.peers import PeerQuestions
from tests.unit.cluster.processes import Channel, Process, beat, settle
from tests.unit.virtual_time import in_virtual_time


def answers(name: str) -> Any:
	"""Return a function that answers with its name and what it was asked."""

	def answer(method: str, arguments: dict[str, Any]) -> Any:
		if method == "unknown":
			raise ValueError
		return [name, method, arguments]

	return answer


class Pair:
	"""Two processes, and the questions of each."""

	def __init__(self) -> None:
		self.channel = Channel()
		self.first, self.second = Process(self.channel), Process(self.channel)
		self.of_first = PeerQuestions(self.first.adapter, answers("first"))
		self.of_second = PeerQuestions(self.second.adapter, answers("second"))

	async def meet(self) -> None:
		"""Let each process discover the other one."""
		await beat(self.first, self.second, times=2)
		assert self.of_first.peers == {self.second.publisher.id}


@in_virtual_time
async def test_a_process_alone_sends_no_question() -> None:
	channel = Channel()
	questions = PeerQuestions(Process(channel).adapter, answers("first"))
	assert await questions.ask("site", {}, 1.0) == {}
	assert channel.published == []


@in_virtual_time
async def test_the_peer_answers() -> None:
	it = Pair()
	await it.meet()
	loop = asyncio.get_running_loop()
	started = loop.time()
	answer = await it.of_first.ask("site", {"site": "a"}, 1.0)
	assert answer == {it.second.publisher.id: ["second", "site", {"site": "a"}]}
	assert loop.time() == started, "it does not wait for the timeout"


@in_virtual_time
async def test_a_peer_that_is_silent_is_left_out_after_the_timeout() -> None:
	it = Pair()
	await it.meet()
	it.channel.adapters.remove(it.second.adapter)
	loop = asyncio.get_running_loop()
	started = loop.time()
	assert await it.of_first.ask("site", {}, 1.0) == {}
	assert loop.time() == started + 1
	assert it.of_first._questions == {}


@in_virtual_time
async def test_a_late_answer_is_ignored() -> None:
	it = Pair()
	await it.meet()
	it.channel.adapters.remove(it.second.adapter)
	await it.of_first.ask("site", {}, 1.0)
	it.first.adapter.take(message_writer.reply(it.second.publisher.id, it.first.publisher.id, "1", ["late"]))
	it.channel.adapters.append(it.second.adapter)
	(answer,) = (await it.of_first.ask("site", {}, 1.0)).values()
	assert answer == ["second", "site", {}]


@in_virtual_time
async def test_a_peer_that_stops_is_not_waited_for() -> None:
	it = Pair()
	await it.meet()
	it.channel.adapters.remove(it.second.adapter)
	loop = asyncio.get_running_loop()
	started = loop.time()
	question = asyncio.ensure_future(it.of_first.ask("site", {}, 10.0))
	await settle()
	it.first.adapter.take(message_writer.goodbye(it.second.publisher.id))
	assert await question == {}
	assert loop.time() == started


@in_virtual_time
async def test_an_answer_of_a_process_that_was_not_asked_does_not_count() -> None:
	it = Pair()
	await it.meet()
	it.channel.adapters.remove(it.second.adapter)
	question = asyncio.ensure_future(it.of_first.ask("site", {}, 1.0))
	await settle()
	it.first.adapter.take(message_writer.reply("x" * 16, it.first.publisher.id, "1", ["forged"]))
	assert await question == {}


@in_virtual_time
async def test_an_invalid_question_is_counted_and_gets_no_answer() -> None:
	it = Pair()
	await it.meet()
	before = len(it.channel.published)
	it.second.adapter.take(message_writer.request("x" * 16, "1", "unknown", {}))
	await settle()
	assert it.second.adapter.received["invalid"] == 1
	assert len(it.channel.published) == before


@in_virtual_time
async def test_a_process_that_is_no_sidecar_gets_an_answer() -> None:
	it = Pair()
	it.first.adapter.take(message_writer.request("x" * 16, "7", "bench", {}))
	await settle()
	reply = message_reader.read(it.channel.published[-1])
	assert reply == messages.Reply("x" * 16, "7", ["first", "bench", {}])
