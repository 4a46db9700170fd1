"""What happens to the state of a shared document that is renamed, merged or deleted."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from frappe_realtime.contract.redis_keys import shared_key
from realtime.shared_editing.documents import SharedDocument
from realtime.shared_editing.states import SharedStates
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

	async def happens_and_act(*arguments: Any, is_again: bool = False) -> Any:
		if is_again:
			await happens()
		return await act(*arguments, is_again=is_again)

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
def test_a_document_without_a_state_is_deleted_once(valkey: Any) -> None:
	"""As nearly all are, and thousands may be deleted together."""

	async def test() -> None:
		it = Process(valkey.url, App())
		attempts: list[str] = []

		async def attempt_again() -> None:
			attempts.append("again")

		before_the_second_attempt(it.states, attempt_again, "_delete_entries")
		deleted = {**RENAMED, "kind": "doc", "name": "N-1"}
		it.states.on_access(deleted)
		await until_idle(it.states)
		assert attempts == []
		await it.states.read(SESSION, NOTE, b"\x00")
		it.states.on_access(deleted)
		await until_idle(it.states)
		assert attempts == ["again"]
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
