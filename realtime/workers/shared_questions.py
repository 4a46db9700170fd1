"""Lets one worker of the host ask the web process what several of them need to know.

Each question has a subject, and the name of a worker and a subject make a weight (rendezvous hashing): the worker with the highest
weight asks. So the workers agree without a message, a worker that ends leaves its subjects to all others evenly, and no two of them
wait for each other. If they do not know the same workers for a moment, more than one of them asks.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Any

from .question_connection import Answer, QuestionConnection

SUFFIX = ".questions"


class SharedQuestions:
	"""The connections with the other workers of the host, for questions of which each is asked by one of them.

	Args:
		folder: The folder with the sockets of the workers.
		name: The name of this worker.
	"""

	def __init__(self, folder: Path, name: str) -> None:
		self._folder = folder
		self._name = name
		self._path = folder / (name + SUFFIX)
		self._answers: dict[str, Answer] = {}
		self._open: set[QuestionConnection] = set()
		# The one on which this worker asks, by the name of the other worker.
		self._connections: dict[str, QuestionConnection] = {}
		self._server: asyncio.AbstractServer | None = None

	def on_question(self, kind: str, answer: Answer) -> None:
		"""Call `answer` with each question of `kind` that another worker asks."""
		self._answers[kind] = answer

	async def start(self) -> None:
		"""Connect to the workers that run already; later ones connect to this one."""
		loop = asyncio.get_running_loop()
		self._server = await loop.create_unix_server(self._new_connection, self._path)
		for path in self._folder.glob("*" + SUFFIX):
			if path != self._path:
				# It may have been killed.
				with suppress(OSError):
					await loop.create_unix_connection(partial(self._new_connection, path.stem), str(path))

	def stop(self) -> None:
		"""Answer no more, and ask nobody; questions that wait are asked by the workers that wait for them."""
		self._path.unlink(missing_ok=True)
		if self._server is not None:
			self._server.close()
		self._connections.clear()
		for connection in self._open:
			connection.close()

	async def ask(self, kind: str, subject: str, question: Any) -> Any:
		"""Ask the worker with the highest weight.

		Args:
			kind: The kind of the question.
			subject: What it is about.
			question: The question, as JSON.

		Returns:
			The answer, as JSON; None if that worker is this one, or gives no answer.
		"""
		names = [name for name, connection in self._connections.items() if connection.is_responsive]
		name = max([self._name, *names], key=lambda name: _weight(name, subject))
		connection = self._connections.get(name)
		return None if connection is None else await connection.ask(kind, question)

	def _new_connection(self, name: str = "") -> QuestionConnection:
		connection = QuestionConnection(self._name, name, self._answers)
		connection.opened.connect(self._open.add)
		connection.named.connect(self._on_named)
		connection.closed.connect(self._on_closed)
		return connection

	def _on_named(self, connection: QuestionConnection) -> None:
		# Two workers that start together may connect to each other. Then each asks on one of the connections, and answers on both.
		self._connections.setdefault(connection.name, connection)

	def _on_closed(self, connection: QuestionConnection) -> None:
		self._open.discard(connection)
		if self._connections.get(connection.name) is connection:
			del self._connections[connection.name]


def _weight(name: str, subject: str) -> bytes:
	return blake2b(f"{name} {subject}".encode(errors="replace"), digest_size=8).digest()
