"""Answers to events of clients that wait for the web process or for Redis."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Hashable
from typing import Any, Generic, TypeVar

from ..socketio.namespace import ServerSocket

K = TypeVar("K", bound=Hashable)


class PendingAnswers(Generic[K]):
	"""The tasks that answer later: of each socket, one for each subject of its events, such as a place or a document.

	An event about the same subject takes the place of the one before, which then has no answer.
	"""

	def __init__(self) -> None:
		self._tasks: dict[ServerSocket, dict[K, asyncio.Task[None]]] = {}

	def __len__(self) -> int:
		"""Return the number of sockets with such answers."""
		return len(self._tasks)

	def start(self, socket: ServerSocket, subject: K, answer: Coroutine[Any, Any, None]) -> None:
		"""Run `answer`, instead of an earlier one about the same subject."""
		self.cancel(socket, subject)
		task = asyncio.get_running_loop().create_task(answer)
		self._tasks.setdefault(socket, {})[subject] = task
		task.add_done_callback(lambda task: self._forget(socket, subject, task))

	def cancel(self, socket: ServerSocket, subject: K) -> None:
		"""Cancel the answer about a subject, if there is one."""
		task = self._tasks.get(socket, {}).get(subject)
		if task is not None:
			task.cancel()
			self._forget(socket, subject, task)

	def on_disconnect(self, socket: ServerSocket) -> None:
		"""Cancel all answers to a socket."""
		for task in self._tasks.pop(socket, {}).values():
			task.cancel()

	def _forget(self, socket: ServerSocket, subject: K, task: asyncio.Task[None]) -> None:
		tasks = self._tasks.get(socket)
		if tasks is not None and tasks.get(subject) is task:
			del tasks[subject]
			if not tasks:
				del self._tasks[socket]
