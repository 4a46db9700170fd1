"""What is kept of shared documents in Redis, and when the app is given it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from pycrdt import Doc, Text

from frappe_realtime.contract import SHARED_DUE_KEY, shared_key
from realtime.access.authentication import Session
from realtime.bus.endpoint import RedisEndpoint
from realtime.bus.store import RedisStore
from realtime.config import Config
from realtime.shared_editing.crdt import EMPTY_UPDATE, is_update, merge
from realtime.shared_editing.documents import SharedDocument
from realtime.shared_editing.states import SharedStates, StateUnavailable
from realtime.shared_editing.storage import AppStates, SharedStorage
from realtime.web.frappe_client import Credential, FrappeResponse
from tests.wire.valkey import Valkey

SITE = "one.test"
NOTE = SharedDocument("Note", "N-1", "")
SESSION = Session(SITE, Credential(sid="sid"), "ann", "System User", "Ann", ("frappe", "frappe_realtime"))


def changes(*texts: str) -> list[bytes]:
	"""Return the changes by which a client appends texts."""
	doc: Doc[Any] = Doc()
	made: list[bytes] = []
	doc.observe(lambda event: made.append(event.update))
	for text in texts:
		doc.get("text", type=Text).insert(len(str(doc.get("text", type=Text))), text)
	return made


def text_of(state: bytes) -> str:
	doc: Doc[Any] = Doc()
	doc.apply_update(state)
	return str(doc.get("text", type=Text))


class App:
	"""An app that stores states in memory."""

	def __init__(self) -> None:
		self.stored: dict[SharedDocument, bytes] = {}
		self.loads = 0
		self.fails = self.unavailable = False

	def is_unavailable(self, site: str) -> bool:
		return self.unavailable

	async def load(self, site: str, document: SharedDocument) -> bytes:
		self.loads += 1
		await asyncio.sleep(0)
		if self.fails:
			raise StateUnavailable("the app fails")
		return self.stored.get(document, b"")

	async def store(self, site: str, document: SharedDocument, state: bytes) -> None:
		if self.fails:
			raise StateUnavailable("the app fails")
		self.stored[document] = state


class Process:
	"""One sidecar with its states."""

	def __init__(self, url: str, app: App, **keys: Any) -> None:
		config = Config(bench=Path(), redis_queue=url, **keys)
		self.limits: list[str] = []
		self.store = RedisStore(RedisEndpoint(config))
		api: Any = app
		self.states = SharedStates(config, self.store, app.load, self.limits.append)
		self.storage = SharedStorage(config, self.store, self.states, api)

	async def close(self) -> None:
		self.states.stop()
		await self.store.close()


@pytest.fixture
def valkey(tmp_path: Path) -> Any:
	one = Valkey(tmp_path / "valkey")
	one.start()
	yield one
	one.close()


def make_due(valkey: Any) -> None:
	"""Make everything due that is to be stored later."""
	for member in valkey.client.zrange(SHARED_DUE_KEY, 0, -1):
		valkey.client.zadd(SHARED_DUE_KEY, {member: 0})


def run(test: Coroutine[Any, Any, None]) -> None:
	asyncio.run(asyncio.wait_for(test, 30))


def test_changes_are_merged_in_any_order_and_what_cannot_be_read_is_left_out() -> None:
	first, second = changes("one", " two")
	merged = merge([second, b"\xff\xff", first, first], b"\x00")
	assert (text_of(merged.state), merged.invalid) == ("one two", 1)
	assert text_of(merge([first, merged.difference], b"\x00").state) == "one two"
	assert is_update(EMPTY_UPDATE)
	assert not is_update(b"\xff\xff")
	with pytest.raises(ValueError, match=r"state vector|decode"):
		merge([first], b"\xff\xff\xff")


def test_two_processes_load_once_and_have_the_same_state(valkey: Any) -> None:
	async def test() -> None:
		app = App()
		app.stored[NOTE] = changes("stored")[0]
		one, two = (Process(valkey.url, app) for _ in range(2))
		read = await asyncio.gather(*[it.states.read(SESSION, NOTE, b"\x00") for it in (one, two)])
		assert [text_of(each.state) for each in read] == ["stored", "stored"]
		assert app.loads == 1
		for update in changes(" and more"):
			await one.states.append(SESSION, NOTE, update)
		both = await two.states.read(SESSION, NOTE, b"\x00")
		assert text_of(both.state) in ("stored and more", " and morestored")
		for it in (one, two):
			await it.close()

	run(test())


def test_a_change_is_stored_once_it_is_due_and_again_if_one_came_meanwhile(valkey: Any) -> None:
	async def test() -> None:
		app = App()
		it = Process(valkey.url, app)
		first, second = changes("one", " two")
		await it.states.read(SESSION, NOTE, b"\x00")
		await it.states.append(SESSION, NOTE, first)
		await it.storage.store_due()
		assert app.stored == {}

		store = app.store

		async def with_a_change(site: str, document: SharedDocument, state: bytes) -> None:
			await it.states.append(SESSION, NOTE, second)
			await store(site, document, state)

		app.store = with_a_change  # type: ignore[method-assign]
		make_due(valkey)
		await it.storage.store_due()
		assert text_of(app.stored[NOTE]) == "one"
		app.store = store  # type: ignore[method-assign]
		make_due(valkey)
		await it.storage.store_due()
		assert text_of(app.stored[NOTE]) == "one two"
		assert valkey.client.zcard(SHARED_DUE_KEY) == 0
		assert valkey.client.xlen(shared_key(SITE, "Note", "N-1")) == 1
		await it.close()

	run(test())


def test_another_process_stores_what_one_has_left(valkey: Any) -> None:
	async def test() -> None:
		app = App()
		one = Process(valkey.url, app)
		await one.states.read(SESSION, NOTE, b"\x00")
		await one.states.append(SESSION, NOTE, changes("left")[0])
		await one.close()
		two = Process(valkey.url, app)
		make_due(valkey)
		app.unavailable = True
		await two.storage.store_due()
		assert app.stored == {}
		app.unavailable = False
		make_due(valkey)
		await two.storage.store_due()
		assert text_of(app.stored[NOTE]) == "left"
		await two.close()

	run(test())


def test_what_the_app_does_not_take_stays_due(valkey: Any) -> None:
	async def test() -> None:
		app = App()
		it = Process(valkey.url, app)
		await it.states.read(SESSION, NOTE, b"\x00")
		await it.states.append(SESSION, NOTE, changes("text")[0])
		app.fails = True
		make_due(valkey)
		await it.storage.store_due()
		assert (it.storage.failed, valkey.client.zcard(SHARED_DUE_KEY)) == (1, 1)
		with pytest.raises(StateUnavailable):
			await it.states.read(SESSION, SharedDocument("Note", "N-2", ""), b"\x00")
		await it.close()

	run(test())


@pytest.mark.parametrize(
	("response", "is_taken"),
	[
		(FrappeResponse(200, {"message": True}), True),
		(FrappeResponse(404, None), True),
		(FrappeResponse(404, {"exc_type": "DoesNotExistError"}), False),
		(FrappeResponse(417, {"exc_type": "ValidationError"}), False),
	],
	ids=["stored", "no such site", "a hook that has not found a document", "a hook that fails"],
)
def test_which_answers_of_the_app_end_the_attempts_to_store(response: FrappeResponse, is_taken: bool) -> None:
	class Web:
		async def call(self, *arguments: Any, **more: Any) -> FrappeResponse:
			return response

	web: Any = Web()
	store = AppStates(web).store(SITE, NOTE, b"state")
	if is_taken:
		run(store)
	else:
		with pytest.raises(StateUnavailable, match=f"HTTP {response.status}"):
			run(store)


def test_what_redis_has_lost_is_loaded_before_a_change_is_stored(valkey: Any) -> None:
	async def test() -> None:
		app = App()
		first, second = changes("one", " two")
		app.stored[NOTE] = first
		it = Process(valkey.url, app)
		await it.states.read(SESSION, NOTE, b"\x00")
		valkey.client.delete(shared_key(SITE, "Note", "N-1"))
		await it.states.append(SESSION, NOTE, second)
		load = app.load

		async def refuse(site: str, document: SharedDocument) -> bytes:
			raise StateUnavailable("the app fails")

		app.load = refuse  # type: ignore[method-assign]
		make_due(valkey)
		await it.storage.store_due()
		assert (it.storage.failed, text_of(app.stored[NOTE])) == (1, "one")
		app.load = load  # type: ignore[method-assign]
		make_due(valkey)
		await it.storage.store_due()
		assert text_of(app.stored[NOTE]) == "one two"
		assert text_of((await it.states.read(SESSION, NOTE, b"\x00")).state) == "one two"
		assert (app.loads, valkey.client.zcard(SHARED_DUE_KEY)) == (2, 0)
		await it.close()

	run(test())


def test_the_size_of_a_document_that_nobody_follows_is_forgotten(valkey: Any) -> None:
	async def test() -> None:
		it = Process(valkey.url, App())
		await it.states.read(SESSION, NOTE, b"\x00")
		last = asyncio.create_task(it.states.append(SESSION, NOTE, changes("last")[0]))
		await asyncio.sleep(0)
		it.states.forget(SITE, NOTE)
		await last
		assert it.states._sizes == {}
		assert text_of((await it.states.read(SESSION, NOTE, b"\x00")).state) == "last"
		await it.close()

	run(test())


def test_nothing_is_stored_of_a_site_without_the_app(valkey: Any) -> None:
	async def test() -> None:
		app = App()
		it = Process(valkey.url, app)
		session = Session(SITE, Credential(sid="sid"), "ann", "System User", "Ann", ("frappe",))
		await it.states.read(session, NOTE, b"\x00")
		await it.states.append(session, NOTE, changes("text")[0])
		assert (app.loads, valkey.client.zcard(SHARED_DUE_KEY)) == (0, 0)
		assert text_of((await it.states.read(session, NOTE, b"\x00")).state) == "text"
		await it.close()

	run(test())


def test_more_documents_than_are_kept(valkey: Any) -> None:
	async def test() -> None:
		it = Process(valkey.url, App(), realtime_shared_states=1)
		await it.states.read(SESSION, SharedDocument("Note", "N-0", ""), b"\x00")
		with pytest.raises(StateUnavailable, match="realtime_shared_states is 1"):
			await it.states.read(SESSION, NOTE, b"\x00")
		assert not it.states.keeps(SITE, NOTE)
		assert valkey.client.exists(shared_key(SITE, "Note", "N-1")) == 0
		assert it.limits == ["realtime_shared_states"]
		await it.close()

	run(test())


RENAMED = {"kind": "renamed", "site": SITE, "doctype": "Note", "old": "N-1", "new": "N-2"}
NEW_NAME = SharedDocument("Note", "N-2", "")


async def until_idle(states: SharedStates) -> None:
	"""Wait until documents are deleted and moved."""
	while states._tasks:
		await asyncio.gather(*states._tasks)


@pytest.fixture
def moves_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
	"""Let the second attempt of a move or a deletion come at once."""
	monkeypatch.setattr("realtime.shared_editing.states.MOVE_AGAIN_SECONDS", 0)


@pytest.mark.usefixtures("moves_at_once")
def test_the_state_of_a_renamed_document_gets_the_new_name_and_is_stored_there(valkey: Any) -> None:
	async def test() -> None:
		app = App()
		one, two = (Process(valkey.url, app) for _ in range(2))
		title = NOTE._replace(field="title")
		for document, text in ((NOTE, "text"), (title, "a title")):
			await one.states.read(SESSION, document, b"\x00")
			await one.states.append(SESSION, document, changes(text)[0])
		for it in (one, two):
			it.states.on_access(RENAMED)
		for it in (one, two):
			await until_idle(it.states)
		assert valkey.client.xlen(shared_key(SITE, "Note", "N-1")) == 0
		assert text_of((await two.states.read(SESSION, NEW_NAME, b"\x00")).state) == "text"
		# One field after the other: they share a lock.
		for _ in range(2):
			make_due(valkey)
			await two.storage.store_due()
		assert {document: text_of(state) for document, state in app.stored.items()} == {
			NEW_NAME: "text",
			NEW_NAME._replace(field="title"): "a title",
		}
		assert app.loads == 2
		for it in (one, two):
			await it.close()

	run(test())


def before_the_second_attempt(
	states: Any, happens: Callable[[], Awaitable[Any]], attempt: str = "_move_entries"
) -> None:
	"""Let something happen between the two attempts to move or delete a state."""
	act = getattr(states, attempt)

	async def happens_and_act(*arguments: Any, is_again: bool = False) -> None:
		if is_again:
			await happens()
		await act(*arguments, is_again=is_again)

	setattr(states, attempt, happens_and_act)


@pytest.mark.usefixtures("moves_at_once")
def test_a_change_on_its_way_to_the_old_name_is_moved_too(valkey: Any) -> None:
	async def test() -> None:
		it = Process(valkey.url, App())
		first, second = changes("first", " second")
		await it.states.read(SESSION, NOTE, b"\x00")
		await it.states.append(SESSION, NOTE, first)
		before_the_second_attempt(it.states, lambda: it.states.append(SESSION, NOTE, second))
		it.states.on_access(RENAMED)
		await until_idle(it.states)
		assert text_of((await it.states.read(SESSION, NEW_NAME, b"\x00")).state) == "first second"
		await it.close()

	run(test())


@pytest.mark.usefixtures("moves_at_once")
def test_a_new_document_with_the_old_name_keeps_its_state(valkey: Any) -> None:
	async def test() -> None:
		it = Process(valkey.url, App())
		await it.states.read(SESSION, NOTE, b"\x00")
		await it.states.append(SESSION, NOTE, changes("renamed")[0])

		async def open_new_document() -> None:
			await it.states.read(SESSION, NOTE, b"\x00")
			await it.states.append(SESSION, NOTE, changes("new")[0])

		before_the_second_attempt(it.states, open_new_document)
		it.states.on_access(RENAMED)
		await until_idle(it.states)
		texts = [text_of((await it.states.read(SESSION, one, b"\x00")).state) for one in (NOTE, NEW_NAME)]
		assert texts == ["new", "renamed"]
		await it.close()

	run(test())


@pytest.mark.usefixtures("moves_at_once")
@pytest.mark.parametrize(
	"message",
	[{**RENAMED, "merge": True}, {**RENAMED, "kind": "doc", "name": "N-1"}],
	ids=["merge", "delete"],
)
def test_the_state_of_a_document_that_is_gone_is_deleted(valkey: Any, message: dict[str, Any]) -> None:
	async def test() -> None:
		it = Process(valkey.url, App())
		await it.states.read(SESSION, NOTE, b"\x00")
		await it.states.append(SESSION, NOTE, changes("gone")[0])
		it.states.on_access(message)
		await until_idle(it.states)
		for name in ("N-1", "N-2"):
			assert valkey.client.exists(shared_key(SITE, "Note", name)) == 0
		await it.close()

	run(test())


@pytest.mark.usefixtures("moves_at_once")
@pytest.mark.parametrize("is_new", [False, True])
def test_a_change_on_its_way_to_a_document_that_is_gone_is_deleted_too(valkey: Any, is_new: bool) -> None:
	"""Unless a new document has got the name, whose state it may be."""

	async def test() -> None:
		it = Process(valkey.url, App())
		await it.states.read(SESSION, NOTE, b"\x00")

		async def change() -> None:
			if is_new:
				await it.states.read(SESSION, NOTE, b"\x00")
			await it.states.append(SESSION, NOTE, changes("late")[0])

		before_the_second_attempt(it.states, change, "_delete_entries")
		it.states.on_access({**RENAMED, "kind": "doc", "name": "N-1"})
		await until_idle(it.states)
		state = (await it.states.read(SESSION, NOTE, b"\x00")).state
		assert text_of(state) == ("late" if is_new else "")
		await it.close()

	run(test())


@pytest.mark.usefixtures("moves_at_once")
def test_a_move_without_redis_is_logged(valkey: Any, caplog: Any) -> None:
	async def test() -> None:
		it = Process(valkey.url, App())
		await it.states.read(SESSION, NOTE, b"\x00")
		valkey.stop()
		it.states.on_access(RENAMED)
		await until_idle(it.states)
		await it.close()

	run(test())
	assert "the state of Note N-1 is not moved to its new name, N-2" in caplog.text
