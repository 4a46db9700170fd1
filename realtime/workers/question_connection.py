"""A kept connection between two workers of a host, on which both ask and answer.

Each frame is a line with a JSON array, which begins with its kind:

| frame | |
| --- | --- |
| `["name", name]` | the first one, of the worker that has connected |
| `["ask", number, kind, question]` | a question |
| `["answer", number, answer]` | its answer; null: none |
| `["cancel", number]` | no client waits for the answer any more |
| `["ping"]`, `["pong"]` | whether the event loop of the other worker runs |

An answer may take as long as the web process does, so it has no time limit of its own: with one, each worker would ask the web process
too when that is slow. What is limited is the silence of a worker that is asked: it answers pings while it waits for the web process.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from itertools import count
from typing import Any, cast

from ..json_codec import dumps, loads
from ..signals import Signal

PING_SECONDS = 1.0
"""Seconds between two pings while questions wait."""

MAX_SILENT = 2
"""Pings without any frame after them; then the other worker is not asked until it sends one."""

MAX_FRAME = 256 * 1024
"""Bytes of a frame. A longer question is not sent."""

Answer = Callable[[Any], Awaitable[Any]]
"""Returns the answer to a question, as JSON; None for none."""


class QuestionConnection(asyncio.Protocol):
	"""One end of the connection.

	Args:
		own_name: The name of this worker.
		name: The name of the other worker; empty at the accepting end until the first frame.
		answers: What answers the questions of the other worker, by kind.
	"""

	def __init__(self, own_name: str, name: str, answers: Mapping[str, Answer]) -> None:
		self.name = name
		self.is_responsive = True
		"""False while the other worker does not answer pings."""
		self.opened: Signal[[QuestionConnection]] = Signal()
		"""Sent when there is a connection."""
		self.named: Signal[[QuestionConnection]] = Signal()
		"""Sent when the name of the other worker is known."""
		self.closed: Signal[[QuestionConnection]] = Signal()
		"""Sent when the connection has ended."""
		self._own_name = own_name
		self._answers = answers
		self._transport: asyncio.Transport | None = None
		self._received = b""
		self._numbers = count()
		self._waiting: dict[int, asyncio.Future[Any]] = {}
		self._answering: dict[int, asyncio.Task[None]] = {}
		self._silent = 0
		self._timer: asyncio.TimerHandle | None = None

	# -- questions

	async def ask(self, kind: str, question: Any) -> Any:
		"""Return the answer of the other worker; None if it has none, has ended or is not responsive."""
		number = next(self._numbers)
		frame = _frame("ask", number, kind, question)
		if len(frame) > MAX_FRAME:
			return None
		answer = self._waiting[number] = asyncio.get_running_loop().create_future()
		self._write(frame)
		if self._timer is None:
			self._timer = asyncio.get_running_loop().call_later(PING_SECONDS, self._check)
		try:
			return await answer
		finally:
			if self._waiting.pop(number, None) is not None:
				self._write(_frame("cancel", number))

	def _check(self) -> None:
		"""Ping while questions wait; give them up if the pings before were not answered."""
		self._timer = None
		if not self._waiting:
			self._silent = 0
		elif self._silent == MAX_SILENT:
			self.is_responsive = False
			self._give_up()
		else:
			self._silent += 1
			self._write(_frame("ping"))
			self._timer = asyncio.get_running_loop().call_later(PING_SECONDS, self._check)

	def _give_up(self) -> None:
		# Without `cancel`, for the clients have not left: if the other worker answers later, it keeps the answer.
		waiting, self._waiting = self._waiting, {}
		for answer in waiting.values():
			if not answer.done():
				answer.set_result(None)

	# -- the connection

	def connection_made(self, transport: asyncio.BaseTransport) -> None:
		# uvloop's transports do not inherit from asyncio's.
		self._transport = cast(asyncio.Transport, transport)
		self.opened.send(self)
		if self.name:
			self._write(_frame("name", self._own_name))
			self.named.send(self)

	def connection_lost(self, error: Exception | None) -> None:
		self._transport = None
		if self._timer is not None:
			self._timer.cancel()
		# What the other worker has asked goes on: its clients are about to connect to the workers that are left.
		self.closed.send(self)
		self._give_up()

	def close(self) -> None:
		"""Close the connection: the questions that wait at both ends get no answer."""
		if self._transport is not None:
			self._transport.abort()

	def _write(self, frame: bytes) -> None:
		if self._transport is not None:
			self._transport.write(frame)

	def data_received(self, data: bytes) -> None:
		self._silent = 0
		self.is_responsive = True
		*frames, self._received = (self._received + data).split(b"\n")
		for frame in frames:
			self._on_frame(*loads(frame))

	def _on_frame(self, kind: str, *values: Any) -> None:
		if kind == "ask":
			self._on_question(*values)
		elif kind == "answer":
			number, content = values
			answer = self._waiting.pop(number, None)
			if answer is not None and not answer.done():
				answer.set_result(content)
		elif kind == "cancel":
			task = self._answering.get(values[0])
			if task is not None:
				task.cancel()
		elif kind == "ping":
			self._write(_frame("pong"))
		elif kind == "name":
			(self.name,) = values
			self.named.send(self)

	def _on_question(self, number: int, kind: str, question: Any) -> None:
		task = asyncio.get_running_loop().create_task(self._answer(number, kind, question))
		self._answering[number] = task
		task.add_done_callback(lambda task: self._answering.pop(number))

	async def _answer(self, number: int, kind: str, question: Any) -> None:
		answer = None
		# Without an answer the other worker does what was asked itself, and meets the same error.
		with suppress(Exception):
			answer = await self._answers[kind](question)
		self._write(_frame("answer", number, answer))


def _frame(*values: Any) -> bytes:
	return dumps(values).encode() + b"\n"
