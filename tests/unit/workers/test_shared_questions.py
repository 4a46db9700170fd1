"""Which worker asks for all, over real Unix sockets, and what happens when it ends or does not react."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import stat
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from realtime.workers import question_connection
from realtime.workers.question_connection import MAX_FRAME
from realtime.workers.shared_questions import SharedQuestions

SUBJECTS = [f"subject {number}" for number in range(60)]


class Worker:
	"""A worker that answers with its name, or when the test says so."""

	def __init__(self, folder: Path, name: str) -> None:
		self.name = name
		self.asked: list[Any] = []
		self.pending: list[asyncio.Future[Any]] = []
		self.questions = SharedQuestions(folder, name)
		self.questions.on_question("name", self._answer)
		self.questions.on_question("wait", self._wait)
		self.questions.on_question("fail", self._fail)

	async def _answer(self, question: Any) -> Any:
		self.asked.append(question)
		return self.name

	async def _wait(self, question: Any) -> Any:
		self.pending.append(asyncio.get_running_loop().create_future())
		return await self.pending[-1]

	async def _fail(self, question: Any) -> Any:
		raise ZeroDivisionError

	async def ask(self, kind: str, subject: str, question: Any = None) -> Any:
		return await self.questions.ask(kind, subject, question)

	async def who_asks(self, subject: str) -> str:
		return await self.ask("name", subject) or self.name

	async def subject_of(self, other: str) -> str:
		"""Return a subject about which `other` asks, from the view of this worker."""
		for subject in SUBJECTS:
			if await self.who_asks(subject) == other:
				return subject
		raise AssertionError(other)


async def until(condition: Callable[[], Any]) -> None:
	"""Wait for something that happens in this process."""

	async def poll() -> None:
		while not condition():
			await asyncio.sleep(0.001)

	await asyncio.wait_for(poll(), 10)


def run(folder: Path, scenario: Callable[[list[Worker]], Awaitable[None]], count: int = 3) -> None:
	"""Run a scenario with so many workers, each of which is connected to the others."""

	async def main() -> None:
		workers = [Worker(folder, f"worker-{number}") for number in range(count)]
		await asyncio.gather(*(worker.questions.start() for worker in workers))
		names = {worker.name for worker in workers}
		for worker in workers:
			others, found = names - {worker.name}, worker.questions._connections
			await until(lambda others=others, found=found: found.keys() == others)  # type: ignore[misc]
		try:
			await scenario(workers)
		finally:
			for worker in workers:
				worker.questions.stop()
			await until(lambda: not any(worker.questions._open for worker in workers))

	asyncio.run(main())


def test_all_agree_on_the_worker_that_asks(tmp_path: Path) -> None:
	async def scenario(workers: list[Worker]) -> None:
		chosen = {subject: {await worker.who_asks(subject) for worker in workers} for subject in SUBJECTS}
		assert [names for names in chosen.values() if len(names) != 1] == []
		assert {name for names in chosen.values() for name in names} == {worker.name for worker in workers}

	run(tmp_path, scenario)


def test_a_single_worker_asks_nobody(tmp_path: Path) -> None:
	async def scenario(workers: list[Worker]) -> None:
		assert await workers[0].ask("name", "subject") is None

	run(tmp_path, scenario, 1)


def test_the_question_arrives_as_it_is(tmp_path: Path) -> None:
	async def scenario(workers: list[Worker]) -> None:
		subject = await workers[0].subject_of("worker-1")
		question = ["ü\n\ud800", {"a": [None, True, 1.5]}]
		assert await workers[0].ask("name", subject, question) == "worker-1"
		assert workers[1].asked[-1] == question

	run(tmp_path, scenario)


def test_the_sockets_are_in_the_folder_of_the_workers_and_go_with_them(tmp_path: Path) -> None:
	sockets: list[str] = []

	async def scenario(workers: list[Worker]) -> None:
		sockets.extend(entry.name for entry in os.scandir(tmp_path) if stat.S_ISSOCK(entry.stat().st_mode))

	run(tmp_path, scenario)
	assert sorted(sockets) == [f"worker-{number}.questions" for number in range(3)]
	assert list(tmp_path.iterdir()) == []


def test_a_worker_that_starts_later_gets_its_part(tmp_path: Path) -> None:
	async def scenario(workers: list[Worker]) -> None:
		before = {subject: await workers[0].who_asks(subject) for subject in SUBJECTS}
		late = Worker(tmp_path, "late")
		await late.questions.start()
		await until(lambda: all("late" in worker.questions._connections for worker in workers))
		after = {subject: await workers[0].who_asks(subject) for subject in SUBJECTS}
		assert "late" in after.values()
		assert {subject for subject in SUBJECTS if after[subject] != "late"} == {
			subject for subject in SUBJECTS if after[subject] == before[subject]
		}
		late.questions.stop()
		await until(lambda: all("late" not in worker.questions._connections for worker in workers))
		assert {subject: await workers[0].who_asks(subject) for subject in SUBJECTS} == before

	run(tmp_path, scenario)


def test_a_worker_that_was_killed_is_not_asked(tmp_path: Path) -> None:
	"""Its socket is still in the folder."""
	with socket.socket(socket.AF_UNIX) as killed:
		killed.bind(str(tmp_path / "killed.questions"))

	async def scenario(workers: list[Worker]) -> None:
		assert "killed" not in {await workers[0].who_asks(subject) for subject in SUBJECTS}

	run(tmp_path, scenario)


def test_a_worker_that_ends_before_it_has_answered(tmp_path: Path) -> None:
	async def scenario(workers: list[Worker]) -> None:
		subject = await workers[0].subject_of("worker-1")
		asking = [asyncio.ensure_future(workers[0].ask("wait", subject)) for _ in range(3)]
		await until(lambda: len(workers[1].pending) == 3)
		workers[1].questions.stop()
		assert await asyncio.gather(*asking) == [None] * 3
		assert await workers[0].who_asks(subject) != "worker-1"
		assert await workers[1].ask("name", subject) is None, "it asks nobody any more"

	run(tmp_path, scenario)


def test_what_a_worker_has_asked_that_ends_is_answered_all_the_same(tmp_path: Path) -> None:
	"""Its clients connect to the others, and need the answer there."""

	async def scenario(workers: list[Worker]) -> None:
		subject = await workers[0].subject_of("worker-1")
		asking = asyncio.ensure_future(workers[0].ask("wait", subject))
		await until(lambda: workers[1].pending)
		workers[0].questions.stop()
		assert await asking is None
		await until(lambda: "worker-0" not in workers[1].questions._connections)
		await asyncio.sleep(0)
		assert not workers[1].pending[0].done()
		workers[1].pending[0].set_result("x")

	run(tmp_path, scenario)


def test_a_worker_that_is_slow_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
	"""It waits for the web process itself, and answers pings meanwhile."""
	monkeypatch.setattr(question_connection, "PING_SECONDS", 0.001)

	async def scenario(workers: list[Worker]) -> None:
		pings = 0
		data_received = question_connection.QuestionConnection.data_received

		def received(one: question_connection.QuestionConnection, data: bytes) -> None:
			nonlocal pings
			pings += data.count(b'["pong"]')
			data_received(one, data)

		monkeypatch.setattr(question_connection.QuestionConnection, "data_received", received)
		subject = await workers[0].subject_of("worker-1")
		asking = asyncio.ensure_future(workers[0].ask("wait", subject))
		await until(lambda: pings > 10)
		assert not asking.done()
		workers[1].pending[0].set_result("late")
		assert await asking == "late"

	run(tmp_path, scenario)


def test_a_worker_that_does_not_react_is_given_up_until_it_does(
	tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
	monkeypatch.setattr(question_connection, "PING_SECONDS", 0.01)

	async def scenario(workers: list[Worker]) -> None:
		connections: list[asyncio.StreamWriter] = []
		frames: list[Any] = []

		async def blocked(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
			connections.append(writer)
			while line := await reader.readline():
				frames.append(json.loads(line))

		server = await asyncio.start_unix_server(blocked, tmp_path / "blocked.questions")
		worker = Worker(tmp_path, "worker")
		await worker.questions.start()
		for subject in SUBJECTS:
			await worker.ask("name", subject)
			if any(frame[0] == "ask" for frame in frames):
				break
		await until(lambda: len(frames) == 4)
		assert [frame[0] for frame in frames] == ["name", "ask", "ping", "ping"]
		assert await worker.who_asks(subject) != "blocked"
		assert len(frames) == 4
		connections[-1].write(b'["pong"]\n')
		await until(lambda: worker.questions._connections["blocked"].is_responsive)
		monkeypatch.setattr(question_connection, "PING_SECONDS", 60.0)
		asking = asyncio.ensure_future(worker.ask("name", subject))
		await until(lambda: len(frames) == 5)
		connections[-1].write(b'["answer",1,"blocked"]\n')
		assert await asking == "blocked"
		worker.questions.stop()
		for connection in connections:
			connection.close()
		server.close()

	run(tmp_path, scenario)


def test_a_question_that_nobody_waits_for_is_cancelled(tmp_path: Path) -> None:
	async def scenario(workers: list[Worker]) -> None:
		subject = await workers[0].subject_of("worker-1")
		asking = asyncio.ensure_future(workers[0].ask("wait", subject))
		await until(lambda: workers[1].pending)
		asking.cancel()
		await until(lambda: workers[1].pending[0].cancelled())
		assert await workers[0].who_asks(subject) == "worker-1"

	run(tmp_path, scenario)


@pytest.mark.parametrize(("kind", "question"), [("fail", 1), ("unknown", 1), ("name", "x" * MAX_FRAME)])
def test_a_question_without_an_answer(tmp_path: Path, kind: str, question: Any) -> None:
	async def scenario(workers: list[Worker]) -> None:
		subject = await workers[0].subject_of("worker-1")
		assert await workers[0].ask(kind, subject, question) is None
		assert await workers[0].who_asks(subject) == "worker-1"

	run(tmp_path, scenario)
