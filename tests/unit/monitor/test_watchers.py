"""Watchers: who gets snapshots, and until when."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from frappe_realtime.contract.monitoring import MONITOR, MONITOR_QUERY, MONITOR_SNAPSHOT
from realtime.access.monitor_access import MonitorAccess
from realtime.access.permission_requests import PermissionRequests
from realtime.access.permissions import Permissions
from realtime.monitor.bench import INTERVAL
from realtime.monitor.events import MonitorEvents
from realtime.monitor.watchers import CHECK_SECONDS, MAX_REQUESTS, MAX_WATCHERS, Watchers
from realtime.socketio.namespace import Namespaces
from realtime.web.frappe_client import FrappeResponse
from tests.unit.access.fakes import SITE, Call, FakeWeb, config, connected, ok, session
from tests.unit.virtual_time import in_virtual_time

ANN, BOB = session("ann"), session("bob")
OTHER = session("ann", site="two.test")


class Bench:
	"""Answers with what it was asked."""

	def __init__(self) -> None:
		self.snapshots: list[str] = []
		self.histories: list[str] = []
		self.fails = False
		self.blocked: asyncio.Event | None = None

	async def snapshot(self, site: str) -> dict[str, Any]:
		self.snapshots.append(site)
		if self.fails:
			raise RuntimeError("on purpose")
		return {"site": site}

	async def history(self, site: str) -> dict[str, Any]:
		self.histories.append(site)
		if self.blocked is not None:
			await self.blocked.wait()
		return {"samples": [site]}

	async def room(self, site: str, room: str) -> dict[str, Any]:
		if self.blocked is not None:
			await self.blocked.wait()
		return {"members": [site, room]}

	async def user(self, site: str, user: str) -> dict[str, Any]:
		return {"sockets": [site, user]}

	async def disconnect(self, site: str, user: str) -> dict[str, Any]:
		return {"sockets": 1}


class Limits:
	"""Allows questions as long as `allows`."""

	allows = True

	def allows_question(self, socket: Any) -> bool:
		return self.allows


class Setting:
	"""Watchers whose web process grants the users in `managers`."""

	def __init__(self) -> None:
		self.managers = {"ann", "bob"}
		self.web = FakeWeb(self._answer)
		self.namespaces = Namespaces()
		requests = PermissionRequests(self.web)  # type: ignore[arg-type]
		self.permissions = Permissions(config(), requests)
		self.access = MonitorAccess(config(), requests, self.permissions)
		self.bench, self.limits = Bench(), Limits()
		self.events = MonitorEvents()
		self.watchers = Watchers(self.events, self.bench, self.access, self.limits)  # type: ignore[arg-type]

	def _answer(self, call: Call) -> FrappeResponse:
		assert call.path == "/api/method/frappe.realtime.can_monitor"
		return ok(call.credential.sid in self.managers)

	async def call(self, socket: Any, event: str, payload: Any) -> dict[str, Any]:
		"""Send a request, and return its acknowledgement."""
		answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
		self.events.on_event(socket, event, [payload], answer.set_result)
		found: dict[str, Any] = await answer
		return found

	async def watch(self, socket: Any) -> dict[str, Any]:
		"""Start to watch, and return the acknowledgement after the first snapshot."""
		answer = await self.call(socket, MONITOR, {"watch": True})
		await settle()
		return answer

	def withdraw(self, user: str) -> None:
		"""Withdraw the role of a user of `SITE`, as the app announces it."""
		self.managers.discard(user)
		self.permissions.invalidate(lambda site, who, doctype, name: site == SITE and who == user)


async def settle() -> None:
	for _ in range(10):
		await asyncio.sleep(0)


async def pass_intervals(count: int) -> None:
	"""Let this number of intervals pass, and a little more."""
	await asyncio.sleep(count * INTERVAL + 0.1)


def snapshots(socket: Any) -> int:
	"""Return the number of snapshots that a socket was sent."""
	return sum(MONITOR_SNAPSHOT in message for message in socket.connection.sent)


@in_virtual_time
async def test_a_watcher_gets_a_snapshot_at_once_and_then_every_interval() -> None:
	it = Setting()
	socket = connected(it.namespaces, ANN)
	answer = await it.watch(socket)
	assert answer == {"interval": INTERVAL, "history": {"samples": [SITE]}}
	assert snapshots(socket) == 1
	await pass_intervals(3)
	assert snapshots(socket) == 4
	assert set(it.bench.snapshots) == {SITE}


@in_virtual_time
async def test_watchers_of_one_site_share_a_snapshot() -> None:
	it = Setting()
	first, second, other = (connected(it.namespaces, one) for one in (ANN, BOB, OTHER))
	for socket in (first, second, other):
		await it.watch(socket)
	it.bench.snapshots.clear()
	await pass_intervals(1)
	assert sorted(it.bench.snapshots) == [SITE, "two.test"]
	assert "two.test" not in "".join(first.connection.sent)


@pytest.mark.parametrize("how", ["asked", "disconnected"])
def test_nothing_is_done_after_the_last_watcher(how: str) -> None:
	@in_virtual_time
	async def test() -> None:
		it = Setting()
		socket = connected(it.namespaces, ANN)
		await it.watch(socket)
		if how == "asked":
			assert await it.call(socket, MONITOR, {"watch": False}) == {}
		else:
			it.events.on_disconnect(socket, "transport close", set())
		await pass_intervals(1)
		it.bench.snapshots.clear()
		await pass_intervals(10)
		assert it.bench.snapshots == []
		assert len(it.watchers) == 0

	test()


@in_virtual_time
async def test_a_user_without_the_role_gets_nothing() -> None:
	it = Setting()
	it.managers.clear()
	socket = connected(it.namespaces, ANN)
	for event, payload in ((MONITOR, {"watch": True}), (MONITOR_QUERY, {"kind": "room", "room": "all"})):
		assert (await it.call(socket, event, payload))["error"]["code"] == "not_permitted"
	await pass_intervals(2)
	assert snapshots(socket) == 0
	assert len(it.web.calls) == 1, "the answer is cached"


@pytest.mark.parametrize(
	"one", [session("Guest"), session("ann", apps=("frappe",)), session("ann", apps=None)]
)
def test_guests_and_sites_without_the_app_are_refused_without_a_question(one: Any) -> None:
	@in_virtual_time
	async def test() -> None:
		it = Setting()
		socket = connected(it.namespaces, one)
		assert (await it.call(socket, MONITOR, {"watch": True}))["error"]["code"] == "not_permitted"
		assert it.web.calls == []

	test()


@in_virtual_time
async def test_a_withdrawn_role_ends_the_watch_at_once() -> None:
	it = Setting()
	ann, bob = connected(it.namespaces, ANN), connected(it.namespaces, BOB)
	await it.watch(ann)
	await it.watch(bob)
	it.withdraw("ann")
	await pass_intervals(3)
	assert (snapshots(ann), snapshots(bob)) == (1, 4)
	assert (await it.call(ann, MONITOR_QUERY, {"kind": "ping"}))["error"]["code"] == "not_permitted"


@in_virtual_time
async def test_no_snapshot_is_sent_while_the_role_is_in_doubt() -> None:
	it = Setting()
	socket = connected(it.namespaces, ANN)
	await it.watch(socket)
	it.web.answer = None
	it.permissions.invalidate(lambda *_: True)
	await pass_intervals(3)
	assert snapshots(socket) == 1
	it.web.pending[-1].set_result(ok(True))
	await pass_intervals(2)
	assert snapshots(socket) >= 2


@in_virtual_time
async def test_a_client_that_stops_while_its_role_is_in_doubt_gets_nothing_more() -> None:
	it = Setting()
	socket = connected(it.namespaces, ANN)
	await it.watch(socket)
	it.web.answer = None
	it.permissions.invalidate(lambda *_: True)
	await pass_intervals(1)
	assert await it.call(socket, MONITOR, {"watch": False}) == {}
	it.web.pending[-1].set_result(ok(True))
	await pass_intervals(3)
	assert snapshots(socket) == 1
	assert len(it.watchers) == 0


async def begin_to_watch(it: Setting, socket: Any) -> asyncio.Future[dict[str, Any]]:
	"""Let a client ask to watch; return its acknowledgement, which waits for the samples of the other processes."""
	it.bench.blocked = asyncio.Event()
	answer = asyncio.ensure_future(it.call(socket, MONITOR, {"watch": True}))
	await settle()
	assert it.bench.histories == [SITE]
	return answer


@in_virtual_time
async def test_a_client_that_stops_before_it_is_answered_gets_nothing() -> None:
	it = Setting()
	socket = connected(it.namespaces, ANN)
	answer = await begin_to_watch(it, socket)
	assert await it.call(socket, MONITOR, {"watch": False}) == {}
	assert it.bench.blocked is not None
	it.bench.blocked.set()
	assert await answer == {}
	await pass_intervals(3)
	assert (snapshots(socket), it.bench.snapshots, len(it.watchers)) == (0, [], 0)


@in_virtual_time
async def test_a_role_that_is_withdrawn_before_the_client_is_answered() -> None:
	it = Setting()
	socket = connected(it.namespaces, ANN)
	answer = await begin_to_watch(it, socket)
	it.withdraw("ann")
	assert it.bench.blocked is not None
	it.bench.blocked.set()
	assert (await answer)["error"]["code"] == "not_permitted"
	await pass_intervals(3)
	assert (snapshots(socket), len(it.watchers)) == (0, 0)


@in_virtual_time
async def test_a_change_that_is_not_announced_is_noticed() -> None:
	it = Setting()
	socket = connected(it.namespaces, ANN)
	await it.watch(socket)
	it.managers.clear()
	await asyncio.sleep(CHECK_SECONDS)
	await pass_intervals(3)
	before = snapshots(socket)
	await pass_intervals(5)
	assert snapshots(socket) == before


@in_virtual_time
async def test_questions_to_the_web_process_are_limited() -> None:
	it = Setting()
	it.limits.allows = False
	socket = connected(it.namespaces, ANN)
	assert (await it.call(socket, MONITOR, {"watch": True}))["error"]["code"] == "unavailable"
	assert it.web.calls == []


@in_virtual_time
async def test_a_failure_is_answered_and_logged(caplog: pytest.LogCaptureFixture) -> None:
	it = Setting()
	socket = connected(it.namespaces, ANN)

	async def room(site: str, room: str) -> dict[str, Any]:
		raise RuntimeError("on purpose")

	it.bench.room = room  # type: ignore[method-assign]
	answer = await it.call(socket, MONITOR_QUERY, {"kind": "room", "room": "all"})
	assert answer["error"]["code"] == "unavailable"
	assert "on purpose" not in answer["error"]["message"]
	assert "on purpose" in caplog.text


@in_virtual_time
async def test_a_snapshot_that_fails_does_not_end_the_watch(caplog: pytest.LogCaptureFixture) -> None:
	it = Setting()
	socket = connected(it.namespaces, ANN)
	await it.watch(socket)
	it.bench.fails = True
	await pass_intervals(1)
	it.bench.fails = False
	await pass_intervals(2)
	assert snapshots(socket) >= 2
	assert "a snapshot of one.test failed" in caplog.text


@in_virtual_time
async def test_concurrent_requests_of_a_socket_are_bounded() -> None:
	it = Setting()
	it.bench.blocked = asyncio.Event()
	socket = connected(it.namespaces, ANN)
	calls = [
		asyncio.ensure_future(it.call(socket, MONITOR_QUERY, {"kind": "room", "room": "all"}))
		for _ in range(MAX_REQUESTS + 1)
	]
	await settle()
	assert calls[-1].result()["error"]["code"] == "unavailable"
	it.bench.blocked.set()
	answers = await asyncio.gather(*calls)
	assert answers[:-1] == [{"members": [SITE, "all"]}] * MAX_REQUESTS


@in_virtual_time
async def test_watchers_are_bounded() -> None:
	it = Setting()
	answers = [await it.watch(connected(it.namespaces, ANN)) for _ in range(MAX_WATCHERS + 1)]
	assert len(it.watchers) == MAX_WATCHERS
	assert answers[-1]["error"]["code"] == "unavailable"


@in_virtual_time
async def test_queries_are_about_the_site_of_the_socket() -> None:
	it = Setting()
	socket = connected(it.namespaces, ANN)
	assert await it.call(socket, MONITOR_QUERY, {"kind": "room", "room": "all", "site": "two.test"}) == {
		"members": [SITE, "all"]
	}
	assert await it.call(socket, MONITOR_QUERY, {"kind": "user", "user": "bob"}) == {"sockets": [SITE, "bob"]}
	assert await it.call(socket, MONITOR_QUERY, {"kind": "disconnect", "user": "bob"}) == {"sockets": 1}
	assert (await it.call(socket, MONITOR_QUERY, {"kind": "ping"})).keys() == {"time"}


@in_virtual_time
async def test_without_an_acknowledgement_there_is_no_answer() -> None:
	it = Setting()
	socket = connected(it.namespaces, ANN)
	it.events.on_event(socket, MONITOR, [{"watch": True}], None)
	await pass_intervals(2)
	assert snapshots(socket) == 0
	assert it.web.calls == []


@in_virtual_time
async def test_lines_that_watchers_cause_have_a_bounded_rate(caplog: pytest.LogCaptureFixture) -> None:
	it = Setting()
	caplog.set_level("INFO")
	socket = connected(it.namespaces, ANN)
	for _ in range(100):
		await it.call(socket, MONITOR_QUERY, {"kind": "disconnect", "user": "bob"})
	assert 1 <= len(caplog.messages) < 20
	assert caplog.messages[0] == f"ann ends the sockets of bob on {SITE}"
