"""Permissions whose web process is a fake, and what tests ask them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from realtime.access.authentication import Session
from realtime.access.permission_requests import PermissionRequests
from realtime.access.permissions import Permissions
from realtime.web.frappe_client import FrappeResponse
from tests.unit.access.fakes import Call, FakeHost, FakeWeb, FakeWorker, config, ok, session

ANN = session()


def permissions(web: FakeWeb, workers: FakeWorker | None = None) -> Permissions:
	fake: Any = web
	return Permissions(config(), PermissionRequests(fake), workers)


def answer_batch(call: Call) -> FrappeResponse:
	"""Allow documents whose name starts with `mine`."""
	return ok([name.startswith("mine") for _, name, _ in call.json["questions"]])


async def ask(subject: Permissions, user: Session, *question: str) -> bool:
	answer = subject.has_permission(user, *question)
	return answer if isinstance(answer, bool) else await answer


def answer_readers(call: Call) -> FrappeResponse:
	return ok([user for user in call.json["users"] if user.startswith("a")])


class Pair:
	"""Two workers, of which the first one asks for both."""

	def __init__(self, answer: Callable[[Call], FrappeResponse] | None) -> None:
		host = FakeHost()
		self.webs = [FakeWeb(answer), FakeWeb(answer)]
		self.both = [permissions(web, host.worker()) for web in self.webs]

	@property
	def calls(self) -> list[int]:
		return [len(web.calls) for web in self.webs]
