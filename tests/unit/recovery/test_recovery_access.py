"""Connection state recovery: access that has changed while the client was away, or changes meanwhile."""

from __future__ import annotations

import asyncio
import json

import pytest

from frappe_realtime.contract.redis_keys import session_key
from realtime.recovery.recovered import Recovered
from realtime.socketio.namespace import Admission
from tests.unit.recovery.recoveries import BASE, PID, USER, Setting, closed, run
from tests.unit.socketio.fakes import SITE, add_socket, remove_socket


def test_rooms_are_restored_with_permission_only() -> None:
	async def test(it: Setting) -> None:
		it.permissions.known = {("ToDo", "known")}
		it.permissions.asked = {("ToDo", "asked"), ("Note", "")}
		it.tasks = {"task_progress:mine"}
		it.save(
			"doc:ToDo/known",
			"open_doc:ToDo/asked",
			"doc:ToDo/denied",
			"doctype:Note",
			"doctype:Secret",
			"task_progress:mine",
			"task_progress:of another",
			"room of a handler",
			"user:bob@example.com",
		)
		await it.history.follow(SITE)
		it.publish(1)
		socket, _ = it.restore(await it.admit())
		assert socket.rooms == BASE | {
			"doc:ToDo/known",
			"open_doc:ToDo/asked",
			"doctype:Note",
			"task_progress:mine",
			"room of a handler",
		}

	run(test)


def test_the_room_of_system_users_is_not_restored_from_the_session() -> None:
	async def test(it: Setting) -> None:
		it.session.user_type = "Website User"
		it.save("all", "website")
		await it.history.follow(SITE)
		it.publish(1)
		it.publish(2, room="all")
		socket, replayed = it.restore(await it.admit())
		assert socket.rooms == BASE - {"all"}
		assert replayed == []

	run(test)


@pytest.mark.parametrize("user", ["bob@example.com", "Guest", ""])
def test_the_session_of_another_user_is_refused(user: str) -> None:
	async def test(it: Setting) -> None:
		it.save("room", user=user)
		await it.history.follow(SITE)
		it.publish(1)
		admission = await it.admit()
		assert type(admission) is Admission
		assert admission.pid not in (None, PID)
		assert admission.id is None
		assert it.recovery.counters.refused == 1
		assert it.recovery.counters.recovered == 0

	run(test)


def test_permissions_for_replayed_list_updates_are_requested() -> None:
	async def test(it: Setting) -> None:
		it.save()
		await it.history.follow(SITE)
		it.publish(1, 2, 3)
		await it.admit()
		assert it.list_updates.learned == [2, 3]

	run(test)


def test_events_between_two_changes_of_access_are_not_replayed() -> None:
	"""The client gets a new session, and loads again what it may see."""

	async def test(it: Setting) -> None:
		it.permissions.known = {("ToDo", "1")}
		it.save("doc:ToDo/1")
		await it.history.follow(SITE)
		it.publish(1, 2, room="doc:ToDo/1")
		it.change("user", user=USER)
		it.publish(3)
		assert isinstance(await it.admit("1-0"), Recovered)
		it.change("user", user=USER)
		# Nothing was published for the room between the changes.
		assert isinstance(await it.admit("1-0"), Recovered)
		it.publish(4, room="doc:ToDo/1")
		assert it.restore(await it.admit("1-0"))[1] == [2, 3, 4]
		it.change("changed", doctype="ToDo", name="1")
		assert type(await it.admit("1-0")) is Admission
		# An offset from before everything reveals no more.
		assert type(await it.admit("0-0")) is Admission

	run(test)


def test_events_after_a_change_during_the_recovery_are_not_replayed() -> None:
	"""The permission was requested before the change."""

	async def test(it: Setting) -> None:
		it.permissions.known = {("ToDo", "1")}
		it.save("doc:ToDo/1")
		await it.history.follow(SITE)
		it.publish(1)

		def changed() -> None:
			it.change("user", user=USER)
			it.publish(2, room="doc:ToDo/1")

		it.list_updates.while_learning = changed
		assert type(await it.admit("1-0")) is Admission

	run(test)


def test_a_list_update_from_a_time_without_access_is_not_named() -> None:
	async def test(it: Setting) -> None:
		it.permissions.known = {("ToDo", "")}
		it.save("doctype:ToDo")
		await it.history.follow(SITE)
		it.publish(1)
		for number in (2, 3):
			it.change("changed", doctype="ToDo", name="1")
			live = it.stream.append(number)
			live.event, live.message = "list_update", {"doctype": "ToDo", "name": "1", "number": number}
			it.history.take([live])
		_, replayed = it.restore(await it.admit("1-0"))
		assert replayed == ["unnamed", {"doctype": "ToDo", "name": "1", "number": 3}]

	run(test)


@pytest.mark.parametrize("user", [USER, "Guest"])
def test_a_login_session_that_ended_while_the_client_was_away(user: str) -> None:
	"""A Guest with the cookie of a dead session stays a Guest."""

	async def test(it: Setting) -> None:
		it.session.user = user
		it.save(user=user)
		text, seconds = it.redis.values[session_key(SITE, PID)]
		record = {**json.loads(text), "sid_hash": "abc"}
		it.redis.values[session_key(SITE, PID)] = (json.dumps(record), seconds)
		await it.history.follow(SITE)
		it.publish(1)
		it.change("session", sid_hash="another")
		assert isinstance(await it.admit("1-0"), Recovered)
		it.change("session", sid_hash="abc")
		assert isinstance(await it.admit("1-0"), Recovered) is (user == "Guest")

	run(test)


def test_changes_that_were_missed_end_the_sockets_that_they_concern() -> None:
	"""Before the events of the interruption are delivered."""

	async def test(it: Setting) -> None:
		await it.history.follow(SITE)
		it.publish(1)
		inside, other = [add_socket(it.namespaces, USER, pid) for pid in ("p" * 24, "q" * 24)]
		inside.join("doc:ToDo/1")
		other.join("doc:ToDo/2")
		it.stream.announce("changed", doctype="ToDo", name="1")
		it.stream.append(2, "doc:ToDo/1")
		it.history.on_subscribed()
		stream = it.history.stream(SITE)
		assert stream is not None
		while stream.pending is not None:
			await asyncio.sleep(0)
		assert closed(inside) == ["forced close"]
		assert inside.pid is None
		assert closed(other) == []

	run(test)


def test_a_disconnect_before_a_change_was_checked_ends_the_session() -> None:
	async def test(it: Setting) -> None:
		await it.history.follow(SITE)
		it.publish(1)
		for number, (checks, changes) in enumerate([(True, True), (True, False), (False, True)]):
			room = f"doc:ToDo/{number}"
			if changes:
				it.change("changed", doctype="ToDo", name=str(number))
			it.unchecked = checks
			socket = add_socket(it.namespaces, USER, str(number) * 24)
			socket.join(room)
			it.recovery.on_disconnect(socket, "transport close", remove_socket(socket))
			assert (await it.sessions.load(SITE, str(number) * 24) is None) is (checks and changes)

	run(test)


def test_access_that_changes_during_the_recovery_is_noticed() -> None:
	async def test(it: Setting) -> None:
		it.save("doc:ToDo/1")
		await it.history.follow(SITE)
		it.publish(1)
		unchanged = await it.admit()
		assert not it.recovery.is_outdated(unchanged)
		it.permissions.invalidations += 1
		assert it.recovery.is_outdated(unchanged)
		assert not it.recovery.is_outdated(Admission(it.session))

	run(test)
