"""May this user read that: asked of the web process in batches where it can, and each question once for all who ask."""

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
from ..signals import Signal
from ..web.cache import SingleFlightCache
from ..web.frappe_client import Credential, FrappeClient, FrappeResponse
from .authentication import Session

logger = logging.getLogger("realtime.permissions")

CLIENT_METHOD = "/api/method/frappe.client."

ANYBODY = Credential(sid=GUEST)
"""The credential of requests that prove themselves by the shared secret alone."""


class SessionEnded(WebUnavailable):
	"""The web process did not take the credential for its user's any more: it has said nothing about that user."""

	def __init__(self, message: str, session: Session) -> None:
		super().__init__(message)
		self.session = session


class BatchFailed(Exception):
	"""The web process failed at one of the questions in a request, and so answered none."""


class Question(NamedTuple):
	"""Whether `user` of `site` may do `ptype` on a document, with an empty `name` on the DocType as a whole."""

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


class Readers(SingleFlightCache[ReadersQuestion, frozenset[str]]):
	"""Keeps what is learnt of several users where each of them is asked about."""

	def __init__(self, answers: SingleFlightCache[Question, bool]) -> None:
		super().__init__(answers.ttl, answers.max_entries)
		self._answers = answers

	def put(self, key: ReadersQuestion, answer: frozenset[str]) -> None:
		for user in key.users:
			question = Question(key.site, user, key.doctype, key.name, "read")
			self._answers.put(question, user in answer)


Asked = tuple[Question, "asyncio.Future[bool]"]


@dataclass(slots=True)
class Batch:
	"""The questions of one credential: what waits while a request is out goes together in the next."""

	session: Session
	waiting: deque[Asked] = field(default_factory=deque)
	out: bool = False
	patient: bool = False
	"""Whether it is worth another try when the web process fails at it; nothing else waits for it then."""


class Permissions:
	"""Answers questions of sockets, from what is known or from the web process."""

	def __init__(self, config: Config, web: FrappeClient) -> None:
		self._web = web
		self.answers: SingleFlightCache[Question, bool] = SingleFlightCache(
			config.realtime_cache_seconds, config.realtime_cache_size
		)
		self._readers = Readers(self.answers)
		self.requests = 0
		self.changes = 0
		"""How often answers were taken back."""
		self.session_ended: Signal[[Session]] = Signal()
		"""Sent with a session whose credential the web process does not accept for its user any more."""
		self._batches: dict[tuple[str, Credential], Batch] = {}
		self._tasks: set[asyncio.Task[None]] = set()

	@property
	def waiting(self) -> int:
		"""Questions that are out."""
		return self.answers.loading + self._readers.loading

	@property
	def away(self) -> bool:
		"""Whether nobody answers at this time."""
		return self._web.away

	def may(
		self, session: Session, doctype: str, name: str = "", ptype: str = "read"
	) -> bool | Awaitable[bool]:
		"""Whether the user of `session` has the permission: at once when it is known, else to be awaited.

		Awaiting raises `WebUnavailable` when the web process gives no answer.
		"""
		question = Question(session.site, session.user, doctype, name, ptype)
		known = self.answers.peek(question)
		if known is not None:
			return known
		if not _is_text(doctype + name + ptype):
			return False
		return self._answer(session, question)

	async def _answer(self, session: Session, question: Question) -> bool:
		while True:
			try:
				return await self.answers.get(question, lambda: self._ask(session, question))
			except SessionEnded as error:
				# It was asked as another session of the same user, which has ended.
				if error.session.credential == session.credential:
					raise

	def known_reader(self, site: str, user: str, doctype: str, name: str) -> bool | None:
		"""Whether `user` may read the document, as far as it is known without asking."""
		return self.answers.peek(Question(site, user, doctype, name, "read"))

	async def readers(self, site: str, doctype: str, name: str, users: Iterable[str]) -> None:
		"""Learn which of `users` may read the document, in one request; only where the site has our app.

		Afterwards `known_reader` answers. Raises `WebUnavailable` when there is no answer.
		"""
		asked = list(users)
		for start in range(0, len(asked), MAX_QUESTIONS):
			question = ReadersQuestion(site, doctype, name, tuple(asked[start : start + MAX_QUESTIONS]))
			await self._readers.get(question, lambda question=question: self._ask_readers(question))  # type: ignore[misc]

	def forget(self, concerned: Callable[[str, str, str, str], bool]) -> None:
		"""Let answers count no more that are `concerned`, told by site, user, DocType and name."""
		self.changes += 1
		self.answers.invalidate(lambda key, answer: concerned(key.site, key.user, key.doctype, key.name))
		self._readers.invalidate(
			lambda key, answer: any(concerned(key.site, user, key.doctype, key.name) for user in key.users)
		)

	async def _ask_readers(self, question: ReadersQuestion) -> frozenset[str]:
		path = f"{METHOD_PREFIX}readers"
		body = {"doctype": question.doctype, "name": question.name, "users": list(question.users)}
		self.requests += 1
		answer = await self._web.call(question.site, path, ANYBODY, json=body)
		if answer.status == 403:
			# The shared secret has been changed.
			answer = await self._web.call(question.site, path, ANYBODY, json=body, renew_secret=True)
		if answer.status != 200 or not isinstance(answer.message, list):
			raise WebUnavailable(f"{path} on {question.site} answered HTTP {answer.status}")
		return frozenset(answer.message)

	def _ask(self, session: Session, question: Question) -> Awaitable[bool]:
		loop = asyncio.get_running_loop()
		future: asyncio.Future[bool] = loop.create_future()
		key = (session.site, session.credential)
		batch = self._batches.get(key)
		if batch is None:
			batch = self._batches[key] = Batch(session)
			# What one turn of the loop brings is asked together.
			loop.call_soon(self._flush, key)
		batch.waiting.append((question, future))
		if batch.out and not session.asks_in_batches:
			loop.call_soon(self._flush, key)
		return future

	def _flush(self, key: tuple[str, Credential]) -> None:
		batch = self._batches.get(key)
		if batch is None:
			return
		if batch.session.asks_in_batches:
			if not batch.out:
				self._start(key, batch, _next(batch.waiting, MAX_QUESTIONS))
		else:
			while batch.waiting:
				self._start(key, batch, _next(batch.waiting, 1))
		if not batch.out and not batch.waiting:
			del self._batches[key]

	def _start(self, key: tuple[str, Credential], batch: Batch, part: list[Asked]) -> None:
		if not part:
			return
		batch.out = True
		task = asyncio.get_running_loop().create_task(self._settle(key, batch, part))
		self._tasks.add(task)
		task.add_done_callback(self._tasks.discard)

		def on_answered(future: asyncio.Future[bool]) -> None:
			# Nobody waits for any of them any more: do not ask again and again while the web process is away.
			if future.cancelled() and all(future.cancelled() for _, future in part):
				task.cancel()

		for _, future in part:
			future.add_done_callback(on_answered)

	async def _settle(self, key: tuple[str, Credential], batch: Batch, part: list[Asked]) -> None:
		"""Give each who asked its answer, or the reason why there is none."""
		error: Exception | None = None
		answers: list[bool] = []
		try:
			answers = await self._request(batch.session, part, batch.patient)
		except BatchFailed:
			# Each by itself: the one at which it fails, whoever has asked it, must not keep the others waiting.
			for asked in part:
				self._start(key, Batch(batch.session, patient=True), [asked])
			part = []
		except SessionEnded as ended:
			error = ended
			self.session_ended.send(batch.session)
		except Exception as failed:
			error = failed
		except asyncio.CancelledError:
			error = WebUnavailable("shutting down")
		for index, (_, future) in enumerate(part):
			if future.done():
				continue
			if error is None:
				future.set_result(answers[index])
			else:
				future.set_exception(error)
		batch.out = False
		if self._batches.get(key) is batch:
			self._flush(key)

	async def _request(self, session: Session, part: list[Asked], patient: bool) -> list[bool]:
		if session.asks_in_batches:
			answer = await self._call(
				session,
				"has_permissions",
				json={
					"questions": [[question.doctype, question.name, question.ptype] for question, _ in part]
				},
				retries_failure=patient,
			)
			if answer.status == 500:
				raise BatchFailed
			answers = answer.message
			if answer.status == 200 and isinstance(answers, list) and len(answers) == len(part):
				return [yes is True for yes in answers]
			if answer.status != 403:
				logger.warning(
					"has_permissions on %s answered HTTP %s; asking one by one", session.site, answer.status
				)
		return [await self._ask_stock(session, question) for question, _ in part]

	async def _ask_stock(self, session: Session, question: Question) -> bool:
		"""Ask the endpoints that Frappe itself has: v15 those that name no installed apps, later versions the other."""
		params = {"doctype": question.doctype}
		if question.ptype != "read":
			# The endpoints below answer about reading on versions that know no `ptype`, whatever is asked.
			params |= {"docname": question.name, "perm_type": question.ptype}
			answer = await self._call(session, "has_permission", params, prefix=CLIENT_METHOD)
			message = answer.message
			return (
				answer.status == 200 and isinstance(message, dict) and message.get("has_permission") is True
			)
		if session.tells_apps:
			method = "has_permission"
			params["name"] = question.name
		elif question.name:
			method = "can_subscribe_doc"
			params["docname"] = question.name
		else:
			method = "can_subscribe_doctype"
		answer = await self._call(session, method, params)
		return answer.status == 200 and answer.message is True

	async def _call(
		self,
		session: Session,
		method: str,
		params: dict[str, str] | None = None,
		json: Any = None,
		prefix: str = METHOD_PREFIX,
		retries_failure: bool = True,
	) -> FrappeResponse:
		self.requests += 1
		answer = await self._web.call(
			session.site,
			prefix + method,
			session.credential,
			params,
			json,
			retries_failure=retries_failure,
		)
		ended = isinstance(answer.data, dict) and answer.data.get("session_expired")
		if answer.status == 401 or (ended and session.user != GUEST):
			# It was answered for a Guest, and must not stand for what this user may.
			raise SessionEnded(f"{method} on {session.site} was not answered for {session.user}", session)
		return answer


def _next(waiting: deque[Asked], most: int) -> list[Asked]:
	"""Take at most `most` questions for which somebody still waits."""
	part: list[Asked] = []
	while waiting and len(part) < most:
		asked = waiting.popleft()
		if not asked[1].cancelled():
			part.append(asked)
	return part


def _is_text(name: str) -> bool:
	"""Whether a request and a database can hold `name`: JSON from a client can have halves of characters and NUL in it."""
	try:
		name.encode()
	except UnicodeEncodeError:
		return False
	return "\0" not in name
