"""Permission questions as requests to the web process: to the app's endpoints, or to Frappe's own without the app."""

from __future__ import annotations

import logging
from typing import Any, NamedTuple

from frappe_realtime.contract.http import METHOD_PREFIX
from frappe_realtime.contract.users import GUEST
from frappe_realtime.errors import WebUnavailable

from ..log_budget import LogBudget
from ..log_format import log_fields
from ..web.frappe_client import GUEST_CREDENTIAL, FrappeClient, FrappeResponse, is_forbidden
from .authentication import Session

logger = logging.getLogger("realtime.permissions")

CLIENT_METHOD = "/api/method/frappe.client."

MAX_FAILURES = 2
"""Attempts at one question before the web process counts as failing at it."""


class SessionEnded(WebUnavailable):
	"""The web process does not accept the credential for its user any more, so its answer is not about that user.

	Args:
		message: Which question was not answered.
		session: The session that was asked with.
		expired: True if Frappe says that it has no such session any more; False if it refuses the credential.
	"""

	def __init__(self, message: str, session: Session, expired: bool = False) -> None:
		super().__init__(message)
		self.session = session
		self.expired = expired


def log_unanswered(
	log: logging.Logger, budget: LogBudget, error: WebUnavailable, message: str, *arguments: Any
) -> None:
	"""Log as a warning that a question of a client has no answer; at DEBUG if its session has expired, which is no failure.

	Args:
		log: The logger.
		budget: Bounds the warnings.
		error: Why there is no answer.
		message: The warning, which `error` ends.
		arguments: Its other arguments.
	"""
	if isinstance(error, SessionEnded) and error.expired:
		log.debug("%s", error, extra=log_fields(error.session.site, error.session.user))
	else:
		budget.write(log.warning, message, *arguments, error)


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


class PermissionRequests:
	"""Asks the web process about permissions.

	Args:
		web: The web process.
	"""

	def __init__(self, web: FrappeClient) -> None:
		self._web = web
		self._log_budget = LogBudget()

	def is_unavailable(self, site: str) -> bool:
		"""Return True while the web process does not answer for `site`."""
		return self._web.is_unavailable(site)

	async def ask(self, session: Session, questions: list[Question], max_failures: int) -> list[bool]:
		"""Ask about the user of `session`: in one request if the site has the app, else in one for each question.

		Args:
			session: The user, and the credential to ask with.
			questions: The questions.
			max_failures: Attempts, as in `FrappeClient.call`.

		Returns:
			The answers, in the order of the questions.

		Raises:
			SessionEnded: The web process did not answer for the user of `session`.
			WebUnavailable: It gives no answer.
			WebFailed: It fails at one of the questions.
		"""
		if session.has_app:
			response = await self.call(
				session,
				"has_permissions",
				json={
					"questions": [[question.doctype, question.name, question.ptype] for question in questions]
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
		return [await self._ask_stock(session, question) for question in questions]

	async def ask_readers(self, question: ReadersQuestion) -> frozenset[str]:
		"""Ask which users may read a document. Requires the app on the site.

		Raises:
			WebUnavailable: The web process gives no answer.
		"""
		path = f"{METHOD_PREFIX}readers"
		body = {"doctype": question.doctype, "name": question.name, "users": list(question.users)}
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
		expired = isinstance(response.data, dict) and bool(response.data.get("session_expired"))
		if response.status == 401 or (expired and session.user != GUEST):
			# Frappe answered for a Guest; that is no answer about this user.
			reason = "the session has expired" if expired else f"HTTP {response.status}"
			raise SessionEnded(
				f"{method} on {session.site} was not answered for {session.user}: {reason}", session, expired
			)
		return response

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


def _is_unauthorized(response: FrappeResponse) -> bool:
	return response.status == 401
