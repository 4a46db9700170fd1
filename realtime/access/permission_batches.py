"""Permission questions that are asked together: one request at a time for each credential, with all that came meanwhile."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable
from dataclasses import dataclass, field

from frappe_realtime.contract.http import MAX_QUESTIONS
from frappe_realtime.errors import WebUnavailable

from ..signals import Signal
from ..web.frappe_client import Credential, WebFailed
from .authentication import Session
from .permission_requests import MAX_FAILURES, PermissionRequests, Question, SessionEnded

PendingQuestion = tuple[Question, "asyncio.Future[bool]"]


@dataclass(slots=True)
class Batch:
	"""The pending questions of one credential: those that arrive during a request are sent together in the next one."""

	session: Session
	pending: deque[PendingQuestion] = field(default_factory=deque)
	in_flight: bool = False
	alone: bool = False
	"""True for a question in a request of its own, after a request failed; it delays no other, so it may be retried."""


class PermissionBatches:
	"""Sends the questions of each credential in batches; without the app on the site, each in a request of its own.

	Args:
		requests: Asks the web process.
	"""

	def __init__(self, requests: PermissionRequests) -> None:
		self.session_ended: Signal[[Session]] = Signal()
		"""Sent with a session whose credential the web process does not accept for its user any more."""
		self._requests = requests
		self._batches: dict[tuple[str, Credential], Batch] = {}
		self._tasks: set[asyncio.Task[None]] = set()

	def add(self, session: Session, question: Question) -> Awaitable[bool]:
		"""Ask a question with the credential of `session`; return an awaitable of the answer.

		Raises:
			SessionEnded: When awaited: the web process did not answer for the user of `session`.
			WebUnavailable: When awaited: it gives no answer.
			WebFailed: When awaited: it fails at this question.
		"""
		loop = asyncio.get_running_loop()
		future: asyncio.Future[bool] = loop.create_future()
		key = (session.site, session.credential)
		batch = self._batches.get(key)
		if batch is None:
			batch = self._batches[key] = Batch(session)
			# Not at once: the questions of one turn of the loop share a request.
			loop.call_soon(self._flush, key)
		batch.pending.append((question, future))
		if batch.in_flight and not session.has_app:
			loop.call_soon(self._flush, key)
		return future

	def _flush(self, key: tuple[str, Credential]) -> None:
		batch = self._batches.get(key)
		if batch is None:
			return
		if batch.session.has_app:
			if not batch.in_flight:
				self._start(key, batch, _take(batch.pending, MAX_QUESTIONS))
		else:
			while batch.pending:
				self._start(key, batch, _take(batch.pending, 1))
		if not batch.in_flight and not batch.pending:
			del self._batches[key]

	def _start(self, key: tuple[str, Credential], batch: Batch, questions: list[PendingQuestion]) -> None:
		if not questions:
			return
		batch.in_flight = True
		task = asyncio.get_running_loop().create_task(self._resolve(key, batch, questions))
		self._tasks.add(task)
		task.add_done_callback(self._tasks.discard)

		def on_done(future: asyncio.Future[bool]) -> None:
			# No caller waits any more: end the request, which may be waiting for the web process.
			if future.cancelled() and all(future.cancelled() for _, future in questions):
				task.cancel()

		for _, future in questions:
			future.add_done_callback(on_done)

	async def _resolve(
		self, key: tuple[str, Credential], batch: Batch, questions: list[PendingQuestion]
	) -> None:
		"""Set the result of each question, or the exception that explains why there is none."""
		error: Exception | None = None
		answers: list[bool] = []
		try:
			answers = await self._requests.ask(
				batch.session, [question for question, _ in questions], MAX_FAILURES if batch.alone else 1
			)
		except WebFailed as failed:
			if batch.alone or not batch.session.has_app:
				error = failed
			else:
				# One request for each question, so that the failing one does not delay the others.
				for question in questions:
					self._start(key, Batch(batch.session, alone=True), [question])
				questions = []
		except SessionEnded as ended:
			error = ended
			self.session_ended.send(batch.session)
		except Exception as failed:
			error = failed
		except asyncio.CancelledError:
			error = WebUnavailable("shutting down")
		for index, (_, future) in enumerate(questions):
			if future.done():
				continue
			if error is None:
				future.set_result(answers[index])
			else:
				future.set_exception(error)
		batch.in_flight = False
		if self._batches.get(key) is batch:
			self._flush(key)


def _take(pending: deque[PendingQuestion], count: int) -> list[PendingQuestion]:
	"""Remove and return at most `count` questions whose callers still wait."""
	questions: list[PendingQuestion] = []
	while pending and len(questions) < count:
		question = pending.popleft()
		if not question[1].cancelled():
			questions.append(question)
	return questions
