"""Asking again about thousands: each once, a few at a time."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from frappe_realtime.contract import room_subject, user_room
from realtime.access.authentication import Session
from realtime.access.revalidation import WORKERS, Revalidator
from realtime.config import Config
from realtime.signals import Signal
from realtime.web.frappe_client import Credential

SITE = "one.test"


class Authenticator:
	"""Answers after a turn of the loop, and notes how many questions were out at once."""

	def __init__(self) -> None:
		self.asked: list[str] = []
		self.out = self.most = 0

	async def authenticate(self, site: str, credential: Credential) -> Session:
		self.asked.append(credential.sid)
		self.out += 1
		self.most = max(self.most, self.out)
		await asyncio.sleep(0)
		self.out -= 1
		return session(credential.sid)


def session(name: str) -> Session:
	return Session(SITE, Credential(sid=name), f"{name}@example.com", "System User", name, None)


def test_thousands_are_asked_about_a_few_at_a_time() -> None:
	async def run() -> Authenticator:
		sessions = [session(str(number)) for number in range(3000)]
		rooms = {user_room(each.user): (SimpleNamespace(session=each, rooms=set()),) for each in sessions}
		namespace = SimpleNamespace(members=lambda room: rooms.get(room, ()))
		authenticator: Any = Authenticator()
		config = Config(bench=Path(), realtime_recheck_seconds=0)
		namespaces: Any = {f"/{SITE}": namespace}
		permissions: Any = SimpleNamespace(session_ended=Signal())
		recheck = Revalidator(config, namespaces, authenticator, permissions)
		recheck.start()
		for _ in range(3):
			recheck.check_sessions(sessions)
		assert recheck.pending == 3000, "what is asked thrice is asked once"
		while recheck.pending:
			await asyncio.sleep(0)
		await recheck.stop()
		return authenticator

	authenticator = asyncio.run(run())
	assert sorted(authenticator.asked, key=int) == [str(number) for number in range(3000)]
	assert authenticator.most <= WORKERS


def test_what_a_room_is_about() -> None:
	assert room_subject("doc:ToDo/a/b") == ("ToDo", "a/b")
	assert room_subject("open_doc:ToDo/1") == ("ToDo", "1")
	assert room_subject("doctype:ToDo") == ("ToDo", "")
	for room in ("all", "website", "user:a", "task_progress:1", "doc:", "doc:ToDo", "doc:/x", "doctype:"):
		assert room_subject(room) is None
