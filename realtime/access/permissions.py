"""Permissions of users, asked of the web process: in batches if the app is installed, with one query for all callers."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from frappe_realtime.contract import GUEST, MAX_QUESTIONS, METHOD_PREFIX
from frappe_realtime.errors import WebUnavailable

from ..config import Config
from ..log_budget import LogBudget
from ..log_format import log_fields
from ..signals import Signal
from ..web.cache import Loaded, SingleFlightCache
from ..web.frappe_client import Credential, FrappeClient, FrappeResponse, WebFailed, is_forbidden
from .authentication import Session
from .shared_cache import Exchange, SharedCache, Workers

logger = logging.getLogger("realtime.permissions")

CLIENT_METHOD = "/api/method/frappe.client."

MAX_FAILURES = 2
"""Attempts at one question before the web process counts as failing at it."""

FAILURE_SECONDS = 30.0
"""Seconds for which a question at which the web process fails is not asked again."""

GUEST_CREDENTIAL = Credential(sid=GUEST)
"""The credential of requests that are authorized by the shared secret alone."""


class SessionEnded(WebUnavailable):
	"""The web process does not accept the credential for its user any more, so its answer is not about that user."""

	def __init__(self, message: str, session: Session) -> None:
		super().__init__(message)
		self.session = session


class Question(NamedTuple):
	"""Whether `user` of `site` has the permission `ptype` on a document, or on the DocType if `name` is empty."""

	site: str
	user: str
	doctype: str
	name: str
	ptype: str


class ReadersQuestion(NamedTuple):
	"""Which of `users` may read a document."""

	site: str
	doctype: str
	name: str
	users: tuple[str, ...]


class ReadersCache(SingleFlightCache[ReadersQuestion, frozenset[str]]):
	"""Stores an answer about several users as one answer for each of them.

	Args:
		answers: Where the answers are stored.
	"""

	def __init__(self, answers: SingleFlightCache[Question, bool]) -> None:
		super().__init__(answers.ttl, answers.max_entries, group_of=_document_of)
		self._answers = answers

	def keep(self, key: ReadersQuestion, loaded: Loaded) -> None:
		for user in key.users:
			question = Question(key.site, user, key.doctype, key.name, "read")
			self._answers.keep(question, loaded._replace(value=user in loaded.value))


def _subject(question: Question) -> str:
	# One worker for all questions about a user, which it sends together.
	return f"{question.site} {question.user}"


def _document_of(question: Question | ReadersQuestion) -> tuple[str, str, str]:
	return question.site, question.doctype, question.name


PendingQuestion = tuple[Question, "asyncio.Future[bool]"]


@dataclass(slots=True)
class Batch:
	"""The pending questions of one credential: those that arrive during a request are sent together in the next one."""

	session: Session
	pending: deque[PendingQuestion] = field(default_factory=deque)
	in_flight: bool = False
	alone: bool = False
	"""True for a question in a request of its own, after a request failed; it delays no other, so it may be retried."""


class Permissions:
	"""Answers permission questions from the cache or from the web process.

	Args:
		config: The configuration.
		web: The web process.
		workers: The workers of the host; None if this process is the only one.
	"""

	def __init__(self, config: Config, web: FrappeClient, workers: Workers | None = None) -> None:
		self._web = web
		self.answers: SharedCache[Question, bool] = SharedCache(
			config.realtime_cache_seconds,
			config.realtime_cache_size,
			Exchange(workers, "permission", _subject, self._read_question, bool, _read_answer)
			if workers is not None
			else None,
			group_of=_document_of,
		)
		self._readers = ReadersCache(self.answers)
		self._failures: SingleFlightCache[Question, str] = SingleFlightCache(
			FAILURE_SECONDS, config.realtime_cache_size, group_of=_document_of
		)
		self.requests = 0
		self.invalidations = 0
		"""Incremented by each call of `invalidate`, so that a caller can see a change during its queries."""
		self.session_ended: Signal[[Session]] = Signal()
		"""Sent with a session whose credential the web process does not accept for its user any more."""
		self.invalidated: Signal[[Callable[[str, str, str, str], bool]]] = Signal()
		"""Sent by `invalidate` with its argument."""
		self._batches: dict[tuple[str, Credential], Batch] = {}
		self._tasks: set[asyncio.Task[None]] = set()
		self._log_budget = LogBudget()

	@property
	def pending(self) -> int:
		"""The number of questions that are being asked."""
		return self.answers.loading + self._readers.loading

	def is_unavailable(self, site: str) -> bool:
		"""Return True while the web process does not answer for `site`."""
		return self._web.is_unavailable(site)

	def has_permission(
		self, session: Session, doctype: str, name: str = "", ptype: str = "read"
	) -> bool | Awaitable[bool]:
		"""Return whether the user of `session` has a permission, or an awaitable of it if it is not cached.

		Args:
			session: The user, and the credential to ask with.
			doctype: The DocType.
			name: The document; empty for the DocType as a whole.
			ptype: Frappe's name of the permission: `read`, `write`, …

		Raises:
			WebUnavailable: When awaited: the web process gives no answer.
			WebFailed: When awaited: it fails at this question, now or in the last `FAILURE_SECONDS`.
		"""
		question = Question(session.site, session.user, doctype, name, ptype)
		answer = self.answers.peek(question)
		if answer is not None:
			return answer
		if not _is_text(doctype + name + ptype):
			return False
		return self._query(session, question)

	def is_cached(self, session: Session, doctype: str, name: str = "", ptype: str = "read") -> bool:
		"""Return True if `has_permission` would answer without a request to the web process."""
		question = Question(session.site, session.user, doctype, name, ptype)
		return self.answers.peek(question) is not None or self._failures.peek(question) is not None

	async def _query(self, session: Session, question: Question) -> bool:
		while True:
			if (failure := self._failures.peek(question)) is not None:
				raise WebFailed(failure)
			before = self.invalidations
			try:
				return await self.answers.get_shared(
					question,
					lambda: self._enqueue(session, question),
					lambda: [session.as_json(), question[2:]],
				)
			except WebFailed as error:
				if before == self.invalidations:
					self._failures.put(question, str(error))
				raise
			except SessionEnded as error:
				# The question was asked with another session of the same user, which has ended.
				if error.session.credential == session.credential:
					raise

	def cached_read(self, site: str, user: str, doctype: str, name: str) -> bool | None:
		"""Return whether `user` may read the document, or None if the answer is not cached."""
		return self.answers.peek(Question(site, user, doctype, name, "read"))

	async def query_readers(self, site: str, doctype: str, name: str, users: Iterable[str]) -> None:
		"""Ask which of `users` may read the document, in one request for `MAX_QUESTIONS` users.

		`cached_read` has the answers afterwards. Requires the app on the site.

		Raises:
			WebUnavailable: The web process gives no answer.
		"""
		all_users = list(users)
		for start in range(0, len(all_users), MAX_QUESTIONS):
			question = ReadersQuestion(site, doctype, name, tuple(all_users[start : start + MAX_QUESTIONS]))
			await self._readers.get(question, lambda question=question: self._ask_readers(question))  # type: ignore[misc]

	def invalidate(self, concerned: Callable[[str, str, str, str], bool]) -> None:
		"""Drop answers, and repeat the questions that are being asked.

		Args:
			concerned: Returns True for an answer to drop; called with site, user, DocType and document name.
		"""
		self.invalidations += 1
		for cache in (self.answers, self._failures):
			cache.invalidate(lambda key, value: concerned(key.site, key.user, key.doctype, key.name))
		self._readers.invalidate(
			lambda key, answer: any(concerned(key.site, user, key.doctype, key.name) for user in key.users)
		)
		self.invalidated.send(concerned)

	def invalidate_document(self, site: str, doctype: str, name: str) -> None:
		"""Drop the answers about one document, and repeat the questions about it that are being asked."""
		self.invalidations += 1
		for cache in (self.answers, self._failures, self._readers):
			cache.invalidate_group((site, doctype, name))

	async def _ask_readers(self, question: ReadersQuestion) -> frozenset[str]:
		path = f"{METHOD_PREFIX}readers"
		body = {"doctype": question.doctype, "name": question.name, "users": list(question.users)}
		self.requests += 1
		response = await self._web.call(
			question.site,
			path,
			GUEST_CREDENTIAL,
			json=body,
			secret_rejected=is_forbidden,
			max_failures=MAX_FAILURES,
		)
		if response.status != 200 or not isinstance(response.message, list):
			raise WebUnavailable(f"{path} on {question.site} answered HTTP {response.status}")
		return frozenset(response.message)

	def _read_question(self, written: Any) -> tuple[Question, Callable[[], Awaitable[bool]]]:
		"""Return a question of another worker, and what asks the web process."""
		session = Session.from_json(written[0])
		question = Question(session.site, session.user, *written[1])
		return question, lambda: self._enqueue(session, question)

	def _enqueue(self, session: Session, question: Question) -> Awaitable[bool]:
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
			answers = await self._request(batch.session, questions, MAX_FAILURES if batch.alone else 1)
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

	async def _request(
		self, session: Session, questions: list[PendingQuestion], max_failures: int
	) -> list[bool]:
		if session.has_app:
			response = await self.call(
				session,
				"has_permissions",
				json={
					"questions": [
						[question.doctype, question.name, question.ptype] for question, _ in questions
					]
				},
				max_failures=max_failures,
			)
			answers = response.message
			if response.status == 200 and isinstance(answers, list) and len(answers) == len(questions):
				return [answer is True for answer in answers]
			if response.status != 403:
				self._log_budget.write(
					logger.warning,
					"has_permissions on %s answered HTTP %s; asking one by one",
					session.site,
					response.status,
					extra=log_fields(session.site, session.user),
				)
		return [await self._ask_stock(session, question) for question, _ in questions]

	async def _ask_stock(self, session: Session, question: Question) -> bool:
		"""Ask an endpoint of Frappe itself; those of v15 differ from those of later versions."""
		params = {"doctype": question.doctype}
		if question.ptype != "read":
			# The realtime endpoints of v15 and v16 ignore `ptype` and answer about reading.
			params |= {"docname": question.name, "perm_type": question.ptype}
			response = await self.call(session, "has_permission", params, prefix=CLIENT_METHOD)
			message = response.message
			return (
				response.status == 200 and isinstance(message, dict) and message.get("has_permission") is True
			)
		if session.user_info_has_apps:
			method = "has_permission"
			params["name"] = question.name
		elif question.name:
			method = "can_subscribe_doc"
			params["docname"] = question.name
		else:
			method = "can_subscribe_doctype"
		response = await self.call(session, method, params)
		return response.status == 200 and response.message is True

	async def call(
		self,
		session: Session,
		method: str,
		params: dict[str, str] | None = None,
		json: Any = None,
		prefix: str = METHOD_PREFIX,
		max_failures: int = MAX_FAILURES,
	) -> FrappeResponse:
		"""Call a whitelisted method with the credential of `session`.

		Args:
			session: The session.
			method: The name of the method, without `prefix`.
			params: The query.
			json: The body, as JSON.
			prefix: The path up to the method.
			max_failures: Attempts, as in `FrappeClient.call`.

		Raises:
			SessionEnded: The web process did not answer for the user of `session`.
			WebUnavailable: It gives no answer.
		"""
		self.requests += 1
		response = await self._web.call(
			session.site,
			prefix + method,
			session.credential,
			params,
			json,
			# The secret proves that the sidecar applies the user's IP restriction.
			secret_rejected=_is_unauthorized if session.allowed_addresses else None,
			max_failures=max_failures,
		)
		ended = isinstance(response.data, dict) and response.data.get("session_expired")
		if response.status == 401 or (ended and session.user != GUEST):
			# Frappe answered for a Guest; that is no answer about this user.
			raise SessionEnded(f"{method} on {session.site} was not answered for {session.user}", session)
		return response


async def _read_answer(question: Question, written: Any) -> bool:
	return written is True


def _take(pending: deque[PendingQuestion], count: int) -> list[PendingQuestion]:
	"""Remove and return at most `count` questions whose callers still wait."""
	questions: list[PendingQuestion] = []
	while pending and len(questions) < count:
		question = pending.popleft()
		if not question[1].cancelled():
			questions.append(question)
	return questions


def _is_unauthorized(response: FrappeResponse) -> bool:
	return response.status == 401


def _is_text(name: str) -> bool:
	"""Return False for a lone surrogate or NUL, which JSON can hold, but neither a request nor a database."""
	try:
		name.encode()
	except UnicodeEncodeError:
		return False
	return "\0" not in name
