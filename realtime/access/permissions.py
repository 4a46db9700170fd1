"""Permissions of users: from the cache, or from the web process with one question for all callers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from frappe_realtime.contract.http import MAX_QUESTIONS

from ..config import Config
from ..signals import Signal
from ..web.cache import Loaded, SingleFlightCache
from ..web.frappe_client import WebFailed
from .authentication import Session
from .permission_batches import PermissionBatches
from .permission_requests import PermissionRequests, Question, ReadersQuestion, SessionEnded
from .shared_cache import Exchange, SharedCache, Workers

FAILURE_SECONDS = 30.0
"""Seconds for which a question at which the web process fails is not asked again."""


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


class Permissions:
	"""Answers permission questions from the cache or from the web process.

	Args:
		config: The configuration.
		requests: Asks the web process.
		workers: The workers of the host; None if this process is the only one.
	"""

	def __init__(self, config: Config, requests: PermissionRequests, workers: Workers | None = None) -> None:
		self._requests = requests
		self._batches = PermissionBatches(requests)
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
		self.invalidations = 0
		"""Incremented by each call of `invalidate`, so that a caller can see a change during its queries."""
		self.session_ended = self._batches.session_ended
		"""Sent with a session whose credential the web process does not accept for its user any more."""
		self.invalidated: Signal[[Callable[[str, str, str, str], bool]]] = Signal()
		"""Sent by `invalidate` with its argument."""

	@property
	def pending(self) -> int:
		"""The number of questions that are being asked."""
		return self.answers.loading + self._readers.loading

	def is_unavailable(self, site: str) -> bool:
		"""Return True while the web process does not answer for `site`."""
		return self._requests.is_unavailable(site)

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
					lambda: self._batches.add(session, question),
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
			await self._readers.get(question, lambda question=question: self._requests.ask_readers(question))  # type: ignore[misc]

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

	def _read_question(self, written: Any) -> tuple[Question, Callable[[], Awaitable[bool]]]:
		"""Return a question of another worker, and what asks the web process."""
		session = Session.from_json(written[0])
		question = Question(session.site, session.user, *written[1])
		return question, lambda: self._batches.add(session, question)


async def answer_of(permitted: bool | Awaitable[bool]) -> bool:
	"""Return what `Permissions.has_permission` has returned, once it is known."""
	return permitted if isinstance(permitted, bool) else await permitted


async def _read_answer(question: Question, written: Any) -> bool:
	return written is True


def _is_text(name: str) -> bool:
	"""Return False for a lone surrogate or NUL, which JSON can hold, but neither a request nor a database."""
	try:
		name.encode()
	except UnicodeEncodeError:
		return False
	return "\0" not in name
