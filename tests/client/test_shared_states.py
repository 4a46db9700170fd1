"""The states of shared documents in Redis and at the app, with the built packages, in Node, on a whole bench."""

from __future__ import annotations

import time
from typing import Any

import pytest
from pycrdt import Doc, Text

from frappe_realtime.contract.redis_keys import SHARED_DUE_KEY, shared_key
from frappe_realtime.contract.shared_editing import SHARED_SYNC, SHARED_UPDATE
from tests.wire.bench import APP_SITE, Bench
from tests.wire.conditions import until
from tests.wire.conftest import MakeBench
from tests.wire.editors import BUILT, TYPE, Editors
from tests.wire.sidecars import metric
from tests.wire.test_access import tell

if not BUILT.exists():
	pytest.skip("the npm packages are not built: run script/test once", allow_module_level=True)


def stored_text(bench: Bench, name: str, field: str = "") -> str:
	"""Return the text that the app has stored; empty if there is none."""
	doc: Doc[Any] = Doc()
	if (state := bench.site().shared.get((TYPE, name, field))) is not None:
		doc.apply_update(state)
	return str(doc.get("text", type=Text))


def test_the_text_is_there_when_everybody_has_left_and_comes_back(keeping: Bench, editors: Editors) -> None:
	name = keeping.document()
	pages = [editors.open(keeping, name).synced() for _ in range(2)]
	pages[0].insert("kept")
	pages[1].has("kept")
	pages[1].do("delete", index=0, length=2)
	for page in pages:
		page.do("close")
	back = editors.open(keeping, name)
	back.has("pt")


def test_the_app_stores_the_state_and_is_asked_for_it(make_bench: MakeBench, editors: Editors) -> None:
	bench = make_bench(common={"realtime_shared_store_seconds": 0.2})
	page = editors.open(bench, "N-1").synced().insert("stored")
	other = editors.open(bench, "N-1", field="title").synced().insert("a title")
	until(lambda: stored_text(bench, "N-1") == "stored", "the text at the app")
	until(lambda: stored_text(bench, "N-1", "title") == "a title", "the title at the app")
	page.insert(" again", 6)
	until(lambda: stored_text(bench, "N-1") == "stored again", "the next text at the app")
	until(lambda: bench.valkey.client.zcard(SHARED_DUE_KEY) == 0, "nothing is due")
	for one in (page, other):
		one.do("close")
	bench.valkey.client.flushall()
	back = editors.open(bench, "N-1").synced()
	assert back.state["text"] == "stored again"
	assert metric(bench, "shared_stored_total") >= 3


def test_an_app_that_fails_is_given_the_state_later(make_bench: MakeBench, editors: Editors) -> None:
	bench = make_bench(common={"realtime_shared_store_seconds": 0.2})
	page = editors.open(bench, "N-1").synced()
	bench.site().shared_fails = True
	page.insert("text")
	until(lambda: metric(bench, "shared_store_failures_total") == 1, "a failure")
	assert stored_text(bench, "N-1") == ""
	client: Any = bench.valkey.client

	def times() -> list[float]:
		return [due for _, due in client.zrange(SHARED_DUE_KEY, 0, -1, withscores=True)]

	# What is set below must not be replaced by this.
	until(lambda: min(times()) > (time.time() + 10) * 1000, "the document is due half a minute later")
	assert len(times()) == 1
	# What the app cannot load is taken from the pages.
	bench.site().shared[TYPE, "N-2", ""] = b""
	first = editors.open(bench, "N-2").synced().insert("of pages")
	editors.open(bench, "N-2").has("of pages")
	bench.site().shared_fails = False
	client.zadd(SHARED_DUE_KEY, dict.fromkeys(client.zrange(SHARED_DUE_KEY, 0, -1), 0))
	until(lambda: stored_text(bench, "N-1") == "text", "the text at the app")
	assert first.state["errors"] == []


def test_a_document_that_is_deleted_leaves_nothing(keeping: Bench, editors: Editors) -> None:
	name = keeping.document()
	page = editors.open(keeping, name).synced().insert("old")
	key = shared_key(APP_SITE, TYPE, name)
	until(lambda: keeping.valkey.client.xlen(key) > 1, "the change in Redis")
	page.do("close")
	tell(keeping, "doc", doctype=TYPE, name=name)
	until(lambda: not keeping.valkey.client.exists(key), "the end of the state")


def test_a_document_that_is_renamed_keeps_what_was_not_stored(keeping: Bench, editors: Editors) -> None:
	name, new_name = keeping.document(), keeping.document()
	page = editors.open(keeping, name).synced().insert("not stored")
	until(lambda: keeping.valkey.client.xlen(shared_key(APP_SITE, TYPE, name)) > 1, "the change in Redis")
	assert stored_text(keeping, name) == ""
	tell(keeping, "renamed", doctype=TYPE, old=name, new=new_name)
	until(lambda: page.state["errors"] == ["not_permitted"], "the end of the old name")
	# Who joins before gets what is moved with its next exchange only, after half a minute.
	new_key = shared_key(APP_SITE, TYPE, new_name)
	until(lambda: keeping.valkey.client.exists(new_key), "the state with the new name")
	editors.open(keeping, new_name).has("not stored")
	due: Any = keeping.valkey.client
	due.zadd(SHARED_DUE_KEY, dict.fromkeys(due.zrange(SHARED_DUE_KEY, 0, -1), 0))
	until(lambda: stored_text(keeping, new_name) == "not stored", "the text at the app")
	assert stored_text(keeping, name) == ""


def test_many_changes_are_merged(make_bench: MakeBench, editors: Editors) -> None:
	bench = make_bench(common={"realtime_shared_store_seconds": 600})
	page = editors.open(bench, "N-1").synced()
	update = {"bytes": [0, 0]}
	for _ in range(250):
		assert page.do("emit", event=SHARED_UPDATE, args=[TYPE, "N-1", "", update]) == {}
	page.insert("text")
	until(lambda: bench.valkey.client.xlen(shared_key(APP_SITE, TYPE, "N-1")) < 150, "a merged state")
	editors.open(bench, "N-1").has("text")


def test_a_document_that_is_too_large_and_one_too_many(make_bench: MakeBench, editors: Editors) -> None:
	bench = make_bench(common={"realtime_shared_document_bytes": 1000, "realtime_shared_states": 1})
	page = editors.open(bench, "N-1").synced().insert("x" * 2000)
	late = editors.open(bench, "N-1")
	until(lambda: len(late.state["text"]) == 2000, "the text")
	page.insert("y")
	until(lambda: page.state["errors"] == ["too_large"], "the refusal")
	# Without a state, pages have the text of each other.
	second = editors.open(bench, "N-2").synced().insert("of pages")
	editors.open(bench, "N-2").has("of pages")
	assert second.state["errors"] == []
	for key in ("document_bytes", "states"):
		assert metric(bench, f'limit_reached_total{{limit="realtime_shared_{key}"}}') > 0


def test_redis_that_is_away_for_a_while(make_bench: MakeBench, editors: Editors) -> None:
	bench = make_bench(persist=True)
	pages = [editors.open(bench, "N-1").synced() for _ in range(2)]
	bench.valkey.stop()
	pages[0].insert("meanwhile")
	pages[1].has("meanwhile")
	bench.valkey.start()
	until(
		lambda: (
			pages[1].do("emit", event=SHARED_SYNC, args=[TYPE, "N-1", "", {"bytes": [0]}]).get("update")
			and pages[0].state["errors"] == []
		),
		"the state again",
	)
	for page in pages:
		page.do("close")
	late = editors.open(bench, "N-1")
	late.has("meanwhile")


def test_a_sidecar_that_is_killed(make_bench: MakeBench, editors: Editors) -> None:
	bench = make_bench(common={"realtime_shared_store_seconds": 1})
	pages = [editors.open(bench, "N-1").synced() for _ in range(2)]
	pages[0].insert("before ")
	pages[1].has("before ")
	bench.sidecar.kill()
	pages[1].insert("meanwhile", 7)
	bench.sidecar.start()
	pages[0].has("before meanwhile")
	until(lambda: stored_text(bench, "N-1") == "before meanwhile", "the text at the app")
