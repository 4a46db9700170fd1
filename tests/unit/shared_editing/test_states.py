"""What is kept of shared documents in Redis, and when the app is given it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from frappe_realtime.contract.redis_keys import SHARED_DUE_KEY, shared_key
from realtime.access.authentication import Session
from realtime.shared_editing.crdt import EMPTY_UPDATE, is_update, merge
from realtime.shared_editing.documents import SharedDocument
from realtime.shared_editing.states import StateUnavailable
from realtime.shared_editing.storage import AppStates
from realtime.web.frappe_client import Credential, FrappeResponse
from tests.unit.shared_editing.states import (
	NOTE,
	SESSION,
	SITE,
	App,
	Process,
	changes,
	make_due,
	run,
	text_of,
)


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
