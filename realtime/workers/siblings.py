"""Questions between the workers of a host, over Unix sockets in their private folder: no Redis is needed for them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from ..json_codec import dumps, loads

SUFFIX = ".ask"

ANSWER_SECONDS = 1.0
"""Seconds that the others have for an answer."""

MAX_ANSWER = 16 * 1024 * 1024
"""Bytes of an answer."""

Answer = Callable[[], Awaitable[Any]]
"""Returns the answer to a question, as JSON."""


class Siblings:
	"""The other workers of the host.

	Args:
		folder: The folder with the sockets of the workers.
		name: The name of this worker.
		answers: The answers of this worker, by question.
	"""

	def __init__(self, folder: Path, name: str, answers: Mapping[str, Answer]) -> None:
		self._folder = folder
		self._path = folder / (name + SUFFIX)
		self._answers = answers
		self._server: asyncio.AbstractServer | None = None
		self._answering: set[asyncio.Task[None]] = set()

	async def start(self) -> None:
		"""Answer from now on."""
		self._server = await asyncio.start_unix_server(self._on_connection, self._path)

	async def stop(self) -> None:
		"""Answer no more."""
		self._path.unlink(missing_ok=True)
		if self._server is not None:
			self._server.close()
		for task in self._answering:
			task.cancel()
		await asyncio.gather(*self._answering, return_exceptions=True)

	def names(self) -> set[str]:
		"""Return the names of the others."""
		return {path.stem for path in self._folder.glob("*" + SUFFIX) if path != self._path}

	async def ask(self, question: str) -> dict[str, Any]:
		"""Ask all others.

		Returns:
			The answers by name; None for a worker that has not answered in time. One that has ended is left out.
		"""
		names = sorted(self.names())
		answers = await asyncio.gather(*(self._ask(name, question) for name in names), return_exceptions=True)
		return {
			name: None if isinstance(answer, BaseException) else answer
			for name, answer in zip(names, answers, strict=True)
			# It was killed; the supervisor starts another one.
			if not isinstance(answer, ConnectionError | FileNotFoundError)
		}

	async def _ask(self, name: str, question: str) -> Any:
		return await asyncio.wait_for(self._answer_of(name, question), ANSWER_SECONDS)

	async def _answer_of(self, name: str, question: str) -> Any:
		reader, writer = await asyncio.open_unix_connection(self._folder / (name + SUFFIX))
		with closing(writer):
			writer.write(question.encode() + b"\n")
			try:
				size = int(await reader.readline() or 0)
				if size > MAX_ANSWER:
					raise ValueError(f"an answer of {size} bytes")
				body = await reader.readexactly(size)
			except asyncio.IncompleteReadError:
				body = b""
			if not body:
				raise ConnectionResetError("it has ended before it has answered")
			return loads(body)

	def _on_connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
		task = asyncio.get_running_loop().create_task(self._on_question(reader, writer))
		self._answering.add(task)
		task.add_done_callback(self._answering.discard)

	async def _on_question(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
		# The other one may have ended, or wait no longer.
		with closing(writer), suppress(OSError, asyncio.TimeoutError):
			question = await asyncio.wait_for(reader.readline(), ANSWER_SECONDS)
			answer = self._answers.get(question.decode(errors="replace").strip())
			if answer is not None:
				body = dumps(await answer()).encode()
				writer.write(b"%d\n" % len(body) + body)
				await writer.drain()
