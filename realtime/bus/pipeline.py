"""Batches of commands to Redis over one connection, which is opened when it is needed.

The batches of one turn of the event loop are one write: when all clients reconnect, hundreds of sessions are read in one
turn. Replies are read as they arrive, also while later batches are under way. The pipeline of redis-py takes twenty times
as long for a short command, and redis-py itself takes a tenth of the memory of a sidecar that has just started.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Coroutine, Sequence
from typing import Any, cast

import hiredis

from frappe_realtime.contract.redis_keys import TRANSIENT_REDIS_ERRORS

from .commands import Command, greeting, pack
from .endpoint import TIMEOUT, Endpoint


class _Batch:
	"""The replies to one batch of `count` commands, the future of all of them, and when they must be there (loop time)."""

	__slots__ = ("count", "deadline", "done", "replies")

	def __init__(self, count: int, done: asyncio.Future[list[Any]], deadline: float) -> None:
		self.count = count
		self.replies: list[Any] = []
		self.done = done
		self.deadline = deadline


class _Connection(asyncio.Protocol):
	"""One connection, on which replies come in the order of the commands."""

	def __init__(self) -> None:
		self._reader = hiredis.Reader()
		self._batches: deque[_Batch] = deque()
		self._unwritten: list[bytes] = []
		"""The batches of this turn of the loop."""
		self._timer: asyncio.TimerHandle | None = None
		"""One timer for all batches, which time out in their order; it runs while there are any."""
		self._transport: asyncio.Transport | None = None
		self._loop = asyncio.get_running_loop()

	@property
	def usable(self) -> bool:
		"""True until the connection is closed."""
		return self._transport is not None and not self._transport.is_closing()

	def send(self, commands: Sequence[Command]) -> asyncio.Future[list[Any]]:
		"""Send commands at the end of this turn of the loop; return the future of their replies.

		An error of a command is a `hiredis.ReplyError` among the replies. The future fails with an OSError or an
		asyncio.TimeoutError if there are no replies; the connection is closed then.
		"""
		done: asyncio.Future[list[Any]] = self._loop.create_future()
		if self._transport is None:
			done.set_exception(ConnectionResetError("the connection was closed"))
			return done
		deadline = self._loop.time() + TIMEOUT
		self._batches.append(_Batch(len(commands), done, deadline))
		if not self._unwritten:
			self._loop.call_soon(self._write)
		self._unwritten.append(pack(commands))
		if self._timer is None:
			self._timer = self._loop.call_at(deadline, self._on_timer)
		return done

	def _write(self) -> None:
		unwritten, self._unwritten = self._unwritten, []
		if self._transport is not None:
			self._transport.write(b"".join(unwritten))

	def close(self) -> None:
		"""Close without waiting for replies."""
		if self._transport is not None:
			self._transport.abort()

	def _on_timer(self) -> None:
		"""Fail if the oldest batch is overdue; otherwise wait for the oldest one that there is now."""
		self._timer = None
		if not self._batches:
			return
		deadline = self._batches[0].deadline
		if deadline <= self._loop.time():
			self._fail(asyncio.TimeoutError(f"no reply within {TIMEOUT:g} s"))
		else:
			self._timer = self._loop.call_at(deadline, self._on_timer)

	def _fail(self, error: Exception) -> None:
		batches, self._batches = self._batches, deque()
		for batch in batches:
			if not batch.done.done():
				batch.done.set_exception(error)
		self.close()

	# -- asyncio.Protocol

	def connection_made(self, transport: asyncio.BaseTransport) -> None:
		# uvloop's transports do not inherit from asyncio's.
		self._transport = cast(asyncio.Transport, transport)

	def data_received(self, data: bytes) -> None:
		reader = self._reader
		reader.feed(data)
		try:
			while (reply := reader.gets()) is not False:
				if not self._batches:
					raise hiredis.ProtocolError("a reply without a command")
				batch = self._batches[0]
				batch.replies.append(reply)
				if len(batch.replies) == batch.count:
					self._batches.popleft()
					# A caller that was cancelled does not wait any more.
					if not batch.done.done():
						batch.done.set_result(batch.replies)
		except hiredis.ProtocolError as error:
			self._fail(ConnectionResetError(f"invalid reply: {error}"))

	def connection_lost(self, error: Exception | None) -> None:
		self._transport = None
		if self._timer is not None:
			self._timer.cancel()
			self._timer = None
		self._fail(ConnectionResetError(str(error or "the connection was closed")))


class _Attempt:
	"""An attempt to connect. All callers that need the connection meanwhile wait for it; it goes on if one of them is cancelled.

	If each made an attempt of its own, in turn, the last of hundreds would wait for minutes when Redis does not answer.
	"""

	def __init__(self, connecting: Coroutine[Any, Any, _Connection]) -> None:
		# Not a wait for the task itself: each of thousands that are cancelled would search the callbacks of all others.
		self._ended = asyncio.Event()
		self._task = asyncio.get_running_loop().create_task(connecting)
		self._task.add_done_callback(self._on_end)

	@property
	def ended(self) -> bool:
		"""True when it has succeeded or failed."""
		return self._task.done()

	async def connection(self) -> _Connection:
		"""Wait for the connection; the error of the attempt is raised to each caller."""
		await self._ended.wait()
		if self._task.cancelled():
			raise ConnectionResetError("the connection was closed")
		error = self._task.exception()
		if error is not None:
			# Its traceback would grow with each caller.
			raise error.with_traceback(None)
		return self._task.result()

	def cancel(self) -> None:
		"""End the attempt; the callers that wait for it get a ConnectionResetError."""
		self._task.cancel()

	def _on_end(self, task: asyncio.Task[_Connection]) -> None:
		if not task.cancelled():
			# asyncio would log an exception that nobody takes because all callers were cancelled.
			task.exception()
		self._ended.set()


class RedisPipeline:
	"""Sends batches of commands to one Redis.

	Args:
		endpoint: The address.
	"""

	def __init__(self, endpoint: Endpoint) -> None:
		self._endpoint = endpoint
		self._connection: _Connection | None = None
		self._attempt: _Attempt | None = None
		"""The last attempt to connect; None before the first one, and after `close`."""

	async def execute(self, commands: Sequence[Command], transaction: bool = False) -> list[Any]:
		"""Send commands and return their replies.

		Args:
			commands: Any commands that have one reply each; at least one.
			transaction: Execute them as one transaction.

		Raises:
			hiredis.ReplyError: Redis refuses a command; the others may have been executed.
			OSError, asyncio.TimeoutError: Redis cannot be reached, or does not reply.
		"""
		connection = await self._connect()
		batch = [("MULTI",), *commands, ("EXEC",)] if transaction else commands
		replies = await connection.send(batch)
		if transaction:
			replies = [*replies[:-1], *(replies[-1] if isinstance(replies[-1], list) else [replies[-1]])]
		try:
			_raise_errors(replies)
		except hiredis.ReplyError as error:
			if is_transient(str(error)):
				# The server has become a replica, for example: the next batch asks for the address again.
				connection.close()
			raise
		return replies[-len(commands) :]

	async def _connect(self) -> _Connection:
		if self._connection is not None and self._connection.usable:
			return self._connection
		if self._attempt is None or self._attempt.ended:
			self._attempt = _Attempt(self._open())
		return await self._attempt.connection()

	async def _open(self) -> _Connection:
		connection, address = await self._endpoint.connect(_Connection)
		try:
			if commands := greeting(address):
				_raise_errors(await connection.send(commands))
		except BaseException:
			connection.close()
			raise
		self._connection = connection
		return connection

	def close(self) -> None:
		"""Close the connection; what waits for it, or for replies, fails."""
		if self._attempt is not None:
			self._attempt.cancel()
			# The next caller must not wait for an attempt that is about to end.
			self._attempt = None
		if self._connection is not None:
			self._connection.close()


def is_transient(message: str) -> bool:
	"""Return True for an error of Redis that a retry may not meet, such as that of a replica or of one that is loading."""
	return any(code in message.upper() for code in TRANSIENT_REDIS_ERRORS)


def _raise_errors(replies: Sequence[Any]) -> None:
	for reply in replies:
		if isinstance(reply, hiredis.ReplyError):
			raise reply
