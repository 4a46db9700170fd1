"""May this user read that: asked of the web process in batches where it can, and each question once for all who ask."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable
from typing import NamedTuple

from .answers import Answers
from .auth import Session
from .config import Config
from .web import Web, WebAway

logger = logging.getLogger("realtime.permissions")

BATCH = 200
"""Questions in one request; the app answers no more."""


class Question(NamedTuple):
	"""Whether `user` of `site` may do `ptype` on a document, with an empty `name` on the DocType as a whole."""

	site: str
	user: str
	doctype: str
	name: str
	ptype: str


class Permissions:
	"""Answers questions of sockets, from what is known or from the web process."""

	def __init__(self, config: Config, web: Web) -> None:
		self._web = web
		self.answers: Answers[Question, bool] = Answers(
			config["realtime_cache_seconds"], config["realtime_cache_size"]
		)
		self._waiting: dict[tuple[str, str], tuple[Session, list[tuple[Question, asyncio.Future[bool]]]]] = {}

	def may(
		self, session: Session, doctype: str, name: str = "", ptype: str = "read"
	) -> bool | Awaitable[bool]:
		"""Whether the user of `session` has the permission: at once when it is known, else to be awaited.

		Awaiting raises `WebAway` when the web process gives no answer.
		"""
		question = Question(session.site, session.user, doctype, name, ptype)
		known = self.answers.known(question)
		if known is not None:
			return known
		return self.answers.get(question, lambda: self._ask(session, question))

	def _ask(self, session: Session, question: Question) -> Awaitable[bool]:
		future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
		key = (session.site, session.user)
		waiting = self._waiting.get(key)
		if waiting is None:
			# What one turn of the loop brings is asked together.
			self._waiting[key] = (session, [(question, future)])
			asyncio.get_running_loop().call_soon(self._flush, key)
		else:
			waiting[1].append((question, future))
		return future

	def _flush(self, key: tuple[str, str]) -> None:
		session, questions = self._waiting.pop(key)
		size = BATCH if session.asks_in_batches else 1
		for start in range(0, len(questions), size):
			part = questions[start : start + size]
			task = asyncio.get_running_loop().create_task(self._request(session, part))
			task.add_done_callback(lambda task, part=part: _settle(task, part))  # type: ignore[misc]

	async def _request(
		self, session: Session, part: list[tuple[Question, asyncio.Future[bool]]]
	) -> list[bool]:
		if session.asks_in_batches:
			questions = [[question.doctype, question.name, question.ptype] for question, _ in part]
			answer = await self._web.call(
				session.site,
				"/api/method/frappe.realtime.has_permissions",
				session.credential,
				json={"questions": questions},
			)
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
		if session.installed_apps is not None:
			method = "has_permission"
			params |= {"name": question.name, "ptype": question.ptype}
		elif question.name:
			method = "can_subscribe_doc"
			params["docname"] = question.name
		else:
			method = "can_subscribe_doctype"
		answer = await self._web.call(
			session.site, f"/api/method/frappe.realtime.{method}", session.credential, params
		)
		return answer.status == 200 and answer.message is True


def _settle(task: asyncio.Task[list[bool]], part: list[tuple[Question, asyncio.Future[bool]]]) -> None:
	"""Give each who asked its answer, or the reason why there is none."""
	error = asyncio.CancelledError() if task.cancelled() else task.exception()
	for index, (_, future) in enumerate(part):
		if future.done():
			continue
		if error is None:
			future.set_result(task.result()[index])
		else:
			future.set_exception(error if isinstance(error, Exception) else WebAway("shutting down"))
