"""The list update filter: who receives a document's name, and in which order events are sent."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any

import pytest

from frappe_realtime.errors import WebUnavailable
from realtime.access import list_update_filter as module
from realtime.access.authentication import Session
from realtime.access.list_update_filter import MAX_USER_QUERIES, READERS_TIMEOUT, ListUpdateFilter
from realtime.bus.events import PublishedEvent
from realtime.bus.kept_events import KeptEvent
from realtime.socketio.namespace import Namespaces, ServerSocket
from tests.unit.access.fakes import SITE, connected, session
from tests.unit.virtual_time import in_virtual_time, turns

ANN, BOB = session("ann"), session("bob")
LIST = "doctype:ToDo"


class FakePermissions:
	"""Permissions with cached answers that a test sets, and queries that it answers."""

	def __init__(self) -> None:
		self.cached: dict[tuple[str, str], bool] = {}
		self.unavailable: set[str] = set()
		self.pending = 0
		self.queries: list[tuple[list[str], asyncio.Future[list[str]]]] = []
		self.questions: list[tuple[str, str, asyncio.Future[bool]]] = []

	def cached_read(self, site: str, user: str, doctype: str, name: str) -> bool | None:
		assert (site, doctype) == (SITE, "ToDo")
		return self.cached.get((user, name))

	def is_unavailable(self, site: str) -> bool:
		return site in self.unavailable

	async def query_readers(self, site: str, doctype: str, name: str, users: Iterable[str]) -> None:
		asked = list(users)
		self.queries.append((asked, asyncio.get_running_loop().create_future()))
		readers = await self.queries[-1][1]
		self.cached |= {(user, name): user in readers for user in asked}

	def has_permission(self, user: Session, doctype: str, name: str) -> Any:
		cached = self.cached.get((user.user, name))
		return cached if cached is not None else self._ask(user.user, name)

	async def _ask(self, user: str, name: str) -> bool:
		future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
		self.questions.append((user, name, future))
		answer = await future
		self.cached[user, name] = answer
		return answer


class FakeFanout:
	"""Records what each user receives, and what is delivered as it came."""

	def __init__(self) -> None:
		self.received: list[tuple[str, Any]] = []
		self.delivered: list[Any] = []

	def deliver(self, events: Sequence[PublishedEvent]) -> None:
		self.delivered += [event.message for event in events]
		self.received += [("all", event.message) for event in events]

	def send_events(
		self,
		namespace: Any,
		members: Sequence[ServerSocket],
		events: Sequence[PublishedEvent],
		repeated: bool = False,
	) -> None:
		self.received += [(socket.session.user, event.message) for event in events for socket in members]


class Setting:
	def __init__(self, *users: Session) -> None:
		self.namespaces = Namespaces()
		self.permissions = FakePermissions()
		self.fanout = FakeFanout()
		self.sockets = [connected(self.namespaces, user, LIST) for user in users]
		fakes: Any = (self.fanout, self.permissions)
		self.filter = ListUpdateFilter(self.namespaces, *fakes)


def update(name: Any = "1", offset: str | None = None, **more: Any) -> PublishedEvent:
	message = {"doctype": "ToDo", "name": name, "user": "eve", **more}
	return event("list_update", message, LIST, offset)


def event(name: str, message: Any, room: str | None, offset: str | None = None) -> PublishedEvent:
	position = tuple(int(part) for part in offset.split("-")) if offset else (0, 0)
	return PublishedEvent(f"/{SITE}", room, name, message, offset, site=SITE, position=position)  # type: ignore[arg-type]


NAMED = {"doctype": "ToDo", "name": "1", "user": "eve"}
UNNAMED = {"doctype": "ToDo"}


@in_virtual_time
async def test_the_name_reaches_readers_only() -> None:
	it = Setting(ANN, BOB)
	it.permissions.cached = {("ann", "1"): True, ("bob", "1"): False}
	it.filter.deliver([update()])
	assert it.fanout.received == [("ann", NAMED), ("bob", UNNAMED)]
	assert it.filter.names_removed == 1
	assert it.permissions.queries == []


@in_virtual_time
async def test_unknown_users_are_queried_together() -> None:
	it = Setting(ANN, BOB, BOB, session("eve"))
	it.permissions.cached = {("eve", "1"): True}
	it.filter.deliver([update()])
	await turns()
	assert it.filter.pending == 1
	assert it.fanout.received == []
	[(users, answer)] = it.permissions.queries
	assert users == ["ann", "bob"]
	answer.set_result(["ann"])
	await turns()
	assert it.fanout.received == [("ann", NAMED), ("eve", NAMED), ("bob", UNNAMED), ("bob", UNNAMED)]
	assert it.filter.pending == 0
	assert it.filter.names_removed == 2


@in_virtual_time
async def test_without_the_app_each_user_is_queried_and_few_at_a_time() -> None:
	users = [session(f"u{number}", apps=None) for number in range(MAX_USER_QUERIES + 2)]
	it = Setting(*users)
	it.filter.deliver([update()])
	await turns()
	assert len(it.permissions.questions) == MAX_USER_QUERIES
	for _ in range(3):
		for _, _, future in it.permissions.questions:
			future.done() or future.set_result(True)
		await turns()
	assert it.fanout.received == [(user.user, NAMED) for user in users]


@in_virtual_time
async def test_a_late_answer_leaves_the_name_out() -> None:
	it = Setting(ANN)
	it.filter.deliver([update()])
	await asyncio.sleep(READERS_TIMEOUT * 0.9)
	assert it.fanout.received == []
	await asyncio.sleep(READERS_TIMEOUT * 0.2)
	assert it.fanout.received == [("ann", UNNAMED)]
	[(_, answer)] = it.permissions.queries
	assert answer.cancelled()


@in_virtual_time
async def test_no_answer_leaves_the_name_out() -> None:
	it = Setting(ANN)
	it.filter.deliver([update()])
	await turns()
	it.permissions.queries[0][1].set_exception(WebUnavailable("no answer"))
	await turns()
	assert it.fanout.received == [("ann", UNNAMED)]
	# The next one is not held up.
	it.permissions.cached = {("ann", "2"): True}
	it.filter.deliver([update("2")])
	assert it.fanout.received[1:] == [("ann", {**NAMED, "name": "2"})]


@pytest.mark.parametrize(("unavailable", "pending"), [({SITE}, 0), (set(), module.MAX_PENDING_QUERIES)])
def test_no_query_while_the_web_process_is_unavailable_or_busy(unavailable: set[str], pending: int) -> None:
	@in_virtual_time
	async def test() -> None:
		it = Setting(ANN)
		it.permissions.unavailable, it.permissions.pending = unavailable, pending
		it.filter.deliver([update()])
		await turns()
		assert it.fanout.received == [("ann", UNNAMED)]
		assert it.filter.queries_skipped == 1
		assert it.permissions.queries == []

	test()


@in_virtual_time
async def test_a_query_is_sent_up_to_the_bound() -> None:
	it = Setting(ANN)
	it.permissions.pending, it.permissions.unavailable = module.MAX_PENDING_QUERIES - 1, {"two.test"}
	it.filter.deliver([update()])
	await turns()
	assert len(it.permissions.queries) == 1
	assert it.filter.queries_skipped == 0


@in_virtual_time
async def test_later_events_with_an_offset_wait_and_others_do_not() -> None:
	it = Setting(ANN)
	it.filter.deliver([update(offset="5-0")])
	it.filter.deliver(
		[
			event("a", "with offset", "website", "6-0"),
			event("b", "without offset", "all"),
			event("c", "same room", LIST),
		]
	)
	await turns()
	assert it.fanout.delivered == ["without offset"]
	assert it.filter.pending == 3
	assert it.filter.first_pending(SITE) == (5, 0)
	assert it.filter.first_pending("two.test") is None
	it.permissions.queries[0][1].set_result(["ann"])
	await turns()
	assert it.fanout.received == [
		("all", "without offset"),
		("ann", NAMED),
		("all", "with offset"),
		("all", "same room"),
	]
	assert it.filter.first_pending(SITE) is None


@in_virtual_time
async def test_a_list_update_waits_for_an_earlier_one_even_if_its_readers_are_known() -> None:
	it = Setting(ANN)
	it.permissions.cached = {("ann", "2"): True}
	it.filter.deliver([update(), update("2")])
	await turns()
	assert it.fanout.received == []
	assert it.filter.first_pending(SITE) is None, "events without an offset have no position"
	it.permissions.queries[0][1].set_result([])
	await turns()
	assert it.fanout.received == [("ann", UNNAMED), ("ann", {**NAMED, "name": "2"})]


@in_virtual_time
async def test_other_sites_do_not_wait() -> None:
	it = Setting(ANN)
	it.filter.deliver([update(offset="5-0")])
	other = PublishedEvent("/two.test", "website", "a", "other site", "9-0", site="two.test")
	it.filter.deliver([other])
	assert it.fanout.delivered == ["other site"]


@in_virtual_time
async def test_events_around_a_list_update_keep_their_order() -> None:
	it = Setting(ANN)
	it.permissions.cached = {("ann", "1"): True}
	it.filter.deliver(
		[event("a", 1, "website"), update(), event("b", 2, "website"), event("c", 3, "website")]
	)
	assert it.fanout.received == [("all", 1), ("ann", NAMED), ("all", 2), ("all", 3)]


@pytest.mark.parametrize(
	("message", "room"),
	[({"doctype": "ToDo"}, LIST), ("text", LIST), ({"name": "1"}, None), ({"name": "1"}, "website")],
)
def test_an_event_without_a_document_is_delivered_as_it_is(message: Any, room: str | None) -> None:
	@in_virtual_time
	async def test() -> None:
		it = Setting(ANN)
		it.filter.deliver([event("list_update", message, room)])
		assert it.fanout.delivered == [message]
		assert it.permissions.queries == []

	test()


@in_virtual_time
async def test_an_event_for_all_sites_or_for_a_site_without_sockets() -> None:
	it = Setting(ANN)
	everywhere = PublishedEvent(None, LIST, "list_update", NAMED, None, site=None)
	nowhere = PublishedEvent("/two.test", LIST, "list_update", NAMED, None, site="two.test")
	it.filter.deliver([everywhere, nowhere])
	assert it.fanout.delivered == [NAMED, NAMED]
	assert it.filter.pending == 0


@in_virtual_time
async def test_the_doctype_of_the_room_counts_if_the_message_has_none() -> None:
	it = Setting(ANN)
	it.permissions.cached = {("ann", "7"): True}
	it.filter.deliver([event("list_update", {"name": 7}, LIST)])
	assert it.fanout.received == [("ann", {"name": 7})]


@in_virtual_time
async def test_further_fields_are_left_out_with_the_name() -> None:
	it = Setting(BOB)
	it.permissions.cached = {("bob", "1"): False}
	it.filter.deliver([update(subject="secret")])
	assert it.fanout.received == [("bob", UNNAMED)]


# -- for a client that recovers


@in_virtual_time
async def test_permissions_for_events_that_a_client_has_missed() -> None:
	it = Setting()
	it.permissions.cached = {("ann", "2"): True}
	published = [update("1"), update("1"), update("2"), update("3"), event("a", {"name": "9"}, LIST)]
	missed = [KeptEvent.of(one) for one in published]
	task = asyncio.ensure_future(it.filter.query_permissions(missed, ANN))
	await turns()
	assert sorted(name for _, name, _ in it.permissions.questions) == ["1", "3"]
	for _, name, future in it.permissions.questions:
		future.set_result(name == "1")
	await task
	*updates, other = [it.filter.filtered(one, ANN, lambda *_: True) for one in missed]
	assert [one.message for one in updates] == [NAMED, NAMED, {**NAMED, "name": "2"}, UNNAMED]
	assert other is missed[-1]
	assert it.filter.names_removed == 1


@in_virtual_time
async def test_a_missed_event_that_a_reader_has_recovered_reaches_the_next_client_without_its_name() -> None:
	it = Setting()
	it.permissions.cached = {("ann", "1"): True, ("bob", "1"): False}
	missed = KeptEvent.of(update("1", "1-0", subject="secret"))
	sent = [
		str(it.filter.filtered(missed, user, lambda *_: True).encode(f"/{SITE}").messages[0])
		for user in (ANN, BOB)
	]
	assert ["secret" in text for text in sent] == [True, False]


@in_virtual_time
async def test_recovery_waits_for_permissions_only_so_long() -> None:
	def missed(name: str) -> KeptEvent:
		return KeptEvent.of(update(name))

	it = Setting()
	task = asyncio.ensure_future(it.filter.query_permissions([missed("1"), missed("2")], ANN))
	await turns()
	it.permissions.questions[0][2].set_exception(WebUnavailable("no answer"))
	began = asyncio.get_running_loop().time()
	await task
	assert asyncio.get_running_loop().time() - began == pytest.approx(READERS_TIMEOUT)
	assert it.permissions.questions[1][2].cancelled()
	assert it.filter.filtered(missed("1"), ANN, lambda *_: True).message == UNNAMED


@in_virtual_time
async def test_a_client_that_leaves_while_it_recovers_asks_nothing_more() -> None:
	it = Setting()
	missed = [KeptEvent.of(update(name)) for name in "12"]
	task = asyncio.ensure_future(it.filter.query_permissions(missed, ANN))
	await turns()
	task.cancel()
	await turns()
	assert [future.cancelled() for _, _, future in it.permissions.questions] == [True, True]
