"""A user who is given the permission to write while a client follows a document."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from frappe_realtime.contract.shared_editing import SHARED_MAY_WRITE, SHARED_SYNC, SHARED_UPDATE
from realtime.access.authentication import Session
from realtime.access.permissions import FAILURE_SECONDS
from realtime.shared_editing.write_grants import WriteGrants
from tests.unit.shared_editing.test_events import NOTE, ROOMS, SITE, VECTOR, Process, code, received
from tests.unit.virtual_time import in_virtual_time, turns

CHANGES: list[dict[str, str]] = [
	{"kind": "user", "user": "ben"},
	{"kind": "changed", "doctype": "Note", "name": "N-1"},
	{"kind": "doctype", "doctype": "Note"},
	{"kind": "site"},
]
OTHERS: list[dict[str, str]] = [
	{"kind": "user", "user": "cid"},
	{"kind": "changed", "doctype": "Note", "name": "N-2"},
	{"kind": "doctype", "doctype": "Task"},
	{"kind": "doc", "doctype": "Note", "name": "N-3"},
]


def make() -> tuple[Process, WriteGrants]:
	"""Return a process in which Ben may not write."""
	it = Process()
	it.permissions.forbidden = {("ben", "write")}
	permissions: Any = it.permissions
	return it, WriteGrants(it.namespaces, it.members, permissions)


def join_user_room(socket: Any) -> Any:
	socket.join(f"user:{socket.session.user}")
	return socket


async def tell(grants: WriteGrants, message: dict[str, str]) -> None:
	"""Report a change, and wait until its effects have come."""
	grants.on_access({"site": SITE[1:], **message})
	await asyncio.sleep(1)
	await turns()


@pytest.mark.parametrize("message", CHANGES, ids=lambda message: message["kind"])
@in_virtual_time
async def test_a_reader_who_may_write_now(message: dict[str, str]) -> None:
	it, grants = make()
	ann, ben, also_ben = (join_user_room(it.socket(user)) for user in ("ann", "ben", "ben"))
	await it.join(ann)
	await it.join(ben)
	await it.join(ben, "Note", "N-1", "title")
	await it.join(also_ben)
	assert code(it.send(ben, SHARED_UPDATE, *NOTE, b"x")[0]) == "read_only"
	await tell(grants, message)
	assert received(ben, SHARED_MAY_WRITE) == []
	it.permissions.forbidden = set()
	await tell(grants, message)
	fields = [one["field"] for one in received(ben, SHARED_MAY_WRITE)]
	assert sorted(fields) == ["", "title"]
	assert len(received(also_ben, SHARED_MAY_WRITE)) == 1
	assert received(ann, SHARED_MAY_WRITE) == []
	assert it.send(ben, SHARED_UPDATE, *NOTE, b"x") == [{}]
	await tell(grants, message)
	assert len(received(ben, SHARED_MAY_WRITE)) == 2


@pytest.mark.parametrize("message", OTHERS, ids=lambda message: message["kind"])
@in_virtual_time
async def test_a_change_that_does_not_concern_the_reader_asks_nothing(message: dict[str, str]) -> None:
	it, grants = make()
	ben = join_user_room(it.socket("ben"))
	await it.join(ben)
	it.permissions.forbidden = set()
	await tell(grants, message)
	await tell(grants, {**message, "site": "other.test"})
	assert ROOMS[1] not in ben.rooms


@in_virtual_time
async def test_a_web_process_that_does_not_answer_is_asked_again() -> None:
	it, grants = make()
	ben = join_user_room(it.socket("ben"))
	await it.join(ben)
	it.permissions.forbidden = set()
	it.permissions.away = True
	for _ in range(2):
		await tell(grants, CHANGES[0])
	assert ROOMS[1] not in ben.rooms
	it.permissions.away = False
	await asyncio.sleep(FAILURE_SECONDS)
	await turns()
	assert ROOMS[1] in ben.rooms


@in_virtual_time
async def test_a_client_that_has_gone_is_not_asked_about() -> None:
	it, grants = make()
	ben = join_user_room(it.socket("ben"))
	await it.join(ben)
	it.permissions.forbidden = set()
	grants.on_access({"site": SITE[1:], **CHANGES[0]})
	it.disconnect(ben)
	await asyncio.sleep(1)
	assert received(ben, SHARED_MAY_WRITE) == []
	it.permissions.waits = asyncio.Event()
	cid = join_user_room(it.socket("cid"))
	it.permissions.forbidden = {("cid", "write")}
	it.permissions.waits.set()
	await it.join(cid)
	it.permissions.waits = asyncio.Event()
	grants.on_access({"site": SITE[1:], **CHANGES[3]})
	await asyncio.sleep(1)
	grants.stop()
	await turns()
	assert ROOMS[1] not in cid.rooms


@in_virtual_time
async def test_after_a_lost_subscription_all_readers_of_sites_with_the_app_are_checked() -> None:
	it, grants = make()
	ben = join_user_room(it.socket("ben"))
	await it.join(ben)
	it.permissions.forbidden = set()
	grants.on_subscribed()
	await turns()
	assert ROOMS[1] not in ben.rooms
	session: Session = ben.session
	ben.session = session._replace(installed_apps=("frappe", "frappe_realtime"))
	grants.on_subscribed()
	await turns()
	assert ROOMS[1] in ben.rooms


@in_virtual_time
async def test_without_the_app_a_reader_is_asked_about_when_it_asks_for_what_it_lacks() -> None:
	it, _ = make()
	ben = it.socket("ben")
	await it.join(ben)
	for away, forbidden, may_write in (
		(False, {("ben", "write")}, False),
		(True, set(), False),
		(False, set(), True),
	):
		it.permissions.away, it.permissions.forbidden = away, forbidden
		answers = it.send(ben, SHARED_SYNC, *NOTE, VECTOR)
		await turns()
		assert [one["write"] for one in answers] == [may_write]
	assert it.send(ben, SHARED_UPDATE, *NOTE, b"x") == [{}]
