"""Shared editing with the built packages, in Node, on a whole bench."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pycrdt import Doc, Text

from frappe_realtime.contract import (
	SHARED_ANSWER,
	SHARED_DUE_KEY,
	SHARED_JOIN,
	SHARED_SYNC,
	SHARED_UPDATE,
	shared_key,
)
from realtime.demo.model import WEBSITE_USER
from tests.wire.background import Background
from tests.wire.bench import APP_SITE, SITES, Bench
from tests.wire.conditions import until
from tests.wire.conftest import MakeBench
from tests.wire.editors import BUILT, TYPE, Editors, Page
from tests.wire.sidecars import MakePair, metric
from tests.wire.test_access import tell

if not BUILT.exists():
	pytest.skip("the npm packages are not built: run script/test once", allow_module_level=True)

WRITERS = 50
CHANGES = 20
"""Changes of each of them; the benchmark makes more."""


@pytest.fixture
def editors() -> Iterator[Editors]:
	"""Pages in Node."""
	one = Editors()
	yield one
	one.close()


@pytest.fixture(scope="module")
def relaying(background: Background, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
	"""A bench that keeps no states, as without the extra."""
	one = Bench(background, tmp_path_factory.mktemp("relaying"), common={"realtime_shared_states": 0})
	yield one.start()
	one.close()


@pytest.fixture
def keeping(shared_benches: Callable[[int], Bench]) -> Iterator[Bench]:
	"""A bench that keeps states."""
	one = shared_benches(16)
	yield one
	one.sidecar.check_log()


@pytest.fixture(params=["keeping", "relaying"])
def bench(request: pytest.FixtureRequest, keeping: Bench, relaying: Bench) -> Iterator[Bench]:
	"""Both in turn."""
	one = keeping if request.param == "keeping" else relaying
	yield one
	one.sidecar.check_log()


@pytest.fixture
def name(bench: Bench) -> str:
	"""The name of a document that no other test uses."""
	return bench.document()


@pytest.mark.parametrize("site", SITES)
@pytest.mark.parametrize("transports", [["websocket"], ["polling"]], ids=" ".join)
def test_two_pages_have_the_same_text(
	every_bench: Bench, editors: Editors, site: str, transports: list[str]
) -> None:
	document = every_bench.document()
	first = editors.open(every_bench, document, site=site, transports=transports).synced().insert("one")
	second = editors.open(every_bench, document, site=site, transports=transports)
	second.has("one")
	second.synced().insert(" two", 3)
	first.has("one two")
	first.do("delete", index=0, length=4)
	second.has("two")


def test_a_page_that_was_cut_gets_what_it_missed_and_sends_what_it_has_written(
	bench: Bench, editors: Editors, name: str
) -> None:
	first, second = (editors.open(bench, name).synced() for _ in range(2))
	first.insert("both ")
	second.has("both ")
	second.do("offline")
	first.insert("missed ")
	second.insert("own ", 5)
	second.do("delete", index=0, length=4)
	assert second.state["text"] == " own "
	second.do("online")
	first.has(editors.converge())
	assert "missed" in first.state["text"]
	assert "own" in first.state["text"]
	assert "both" not in first.state["text"]
	for _ in range(3):
		second.do("cut")
		first.insert("x")
	until(lambda: second.state["text"].startswith("xxx"), "what was written while it was cut")


def test_two_pages_that_have_texts_already_get_both(bench: Bench, editors: Editors, name: str) -> None:
	pages = [editors.open(bench, name, text=text) for text in ("one", "two")]
	for page in pages:
		until(lambda page=page: len(page.state["text"]) == 6, "both texts")  # type: ignore[misc]
	editors.converge()


def test_a_reader_follows_and_changes_nothing(bench: Bench, editors: Editors, name: str) -> None:
	user = bench.user()
	bench.site().forbid(user.name, TYPE, name, "write")
	writer = editors.open(bench, name).synced().insert("text")
	reader = editors.open(bench, name, user)
	reader.has("text")
	assert reader.state["write"] is False
	assert writer.state["write"] is True
	reader.insert("mine ")
	update = {"bytes": [0, 0]}
	for event, args in (
		(SHARED_UPDATE, [update]),
		(SHARED_ANSWER, [writer.state["sid"], update, update]),
	):
		answer = reader.do("emit", event=event, args=[TYPE, name, "", *args])
		assert answer["error"]["code"] == "read_only", event
	writer.insert("!", 4)
	until(lambda: reader.state["text"].endswith("text!"), "the next change")
	# Nobody is asked for what only the reader has.
	late = editors.open(bench, name)
	late.has("text!")
	writer.has("text!")


def test_a_reader_gets_what_a_writer_has_written_before_it_came(
	bench: Bench, editors: Editors, name: str
) -> None:
	user = bench.user()
	bench.site().forbid(user.name, TYPE, name, "write")
	reader = editors.open(bench, name, user).synced()
	editors.open(bench, name, text="written elsewhere")
	reader.has("written elsewhere")


def test_a_stranger_is_refused(bench: Bench, editors: Editors, name: str) -> None:
	editors.open(bench, name).synced().insert("secret")
	stranger = editors.open(bench, name, bench.user(user_type=WEBSITE_USER))
	until(lambda: stranger.state["errors"] == ["not_permitted"], "the refusal")
	vector = {"bytes": [0]}
	for event in (SHARED_SYNC, SHARED_UPDATE):
		answer = stranger.do("emit", event=event, args=[TYPE, name, "", vector])
		assert answer["error"]["code"] == "not_member"
	guest = editors.open(bench, name, "Guest")
	until(lambda: guest.state["errors"], "the refusal of a Guest")
	assert stranger.state["text"] == guest.state["text"] == ""


@pytest.mark.parametrize("how", ["read", "deleted"])
def test_access_that_is_withdrawn_ends_it(bench: Bench, editors: Editors, name: str, how: str) -> None:
	user = bench.user()
	stays = editors.open(bench, name).synced()
	goes = editors.open(bench, name, user).synced()
	if how == "read":
		bench.site().forbid(user.name, TYPE, name)
		tell(bench, "changed", doctype=TYPE, name=name)
	else:
		tell(bench, "doc", doctype=TYPE, name=name)
	until(lambda: goes.state["errors"] == ["not_permitted"], "the end")
	stays.insert("secret")
	assert goes.state["status"] == "disconnected"
	assert goes.state["text"] == ""


def test_a_writer_who_may_only_read_any_more(bench: Bench, editors: Editors, name: str) -> None:
	user = bench.user()
	stays = editors.open(bench, name).synced()
	reads = editors.open(bench, name, user).synced()
	bench.site().forbid(user.name, TYPE, name, "write")
	tell(bench, "changed", doctype=TYPE, name=name)
	until(lambda: not reads.state["write"], "the end of the permission to write")
	reads.insert("lost")
	stays.insert("kept ")
	until(lambda: "kept" in reads.state["text"], "a change of the other one")
	stays.has("kept ")


@pytest.mark.parametrize("how", ["user", "document"])
def test_a_reader_who_is_given_write_writes_without_a_new_connection(
	bench: Bench, editors: Editors, name: str, how: str
) -> None:
	user = bench.user()
	bench.site().forbid(user.name, TYPE, name, "write")
	writer = editors.open(bench, name).synced()
	reader = editors.open(bench, name, user).synced()
	reader.insert("before ")
	sid = reader.state["sid"]
	bench.site().allow(user.name, TYPE, name, "write")
	if how == "user":
		tell(bench, "user", user=user.name)
	else:
		tell(bench, "changed", doctype=TYPE, name=name)
	until(lambda: reader.state["write"], "the permission to write")
	reader.insert("after", 7)
	writer.has("before after")
	assert reader.state["sid"] == sid
	assert reader.state["errors"] == []


def test_fields_are_documents_of_their_own(bench: Bench, editors: Editors, name: str) -> None:
	title, body = (editors.open(bench, name, field=field).synced() for field in ("title", "body"))
	other = editors.open(bench, name, field="title")
	title.insert("a title")
	other.has("a title")
	assert body.state["text"] == ""


def test_cursors_are_seen_until_their_page_goes(bench: Bench, editors: Editors, name: str) -> None:
	first, second = (editors.open(bench, name).synced() for _ in range(2))
	first.do("cursor", state=5)
	client = str(first.state["client"])
	until(lambda: second.state["cursors"].get(client) == {"cursor": 5}, "the cursor")
	first.do("leave")
	until(lambda: client not in second.state["cursors"], "the end of the cursor")


def use_up(page: Page, update: dict[str, Any]) -> None:
	"""Send changes that change nothing until the rate of the page is used up."""

	def is_refused() -> bool:
		answer = page.do("emit", event=SHARED_UPDATE, args=[TYPE, "N-1", "", update])
		return bool(answer.get("error", {}).get("code") == "limit")

	until(is_refused, "a refusal")


def test_limits(make_bench: MakeBench, editors: Editors) -> None:
	bench = make_bench(
		common={
			"realtime_shared_documents": 1,
			"realtime_shared_update_bytes": 1000,
			"realtime_shared_updates_per_second": 5,
		}
	)
	page = editors.open(bench, "N-1").synced()
	other = editors.open(bench, "N-1").synced()
	vector, update = {"bytes": [0]}, {"bytes": [0, 0]}
	answer = page.do("emit", event=SHARED_JOIN, args=[TYPE, "N-2", "", vector])
	assert answer["error"]["code"] == "limit"
	assert "realtime_shared_documents is 1" in answer["error"]["message"]
	page.insert("x" * 2000)
	until(lambda: page.state["errors"] == ["too_large"], "the refusal of a large change")
	use_up(page, update)
	# A change beyond the rate is sent later.
	use_up(other, update)
	other.insert("more ")
	until(lambda: "more" in page.state["text"], "the change beyond the rate")
	for key in ("documents", "update_bytes", "updates_per_second"):
		assert metric(bench, f'limit_reached_total{{limit="realtime_shared_{key}"}}') > 0


def test_what_is_not_understood_changes_nothing(bench: Bench, editors: Editors, name: str) -> None:
	page, other = (editors.open(bench, name).synced() for _ in range(2))
	for args in ([], [TYPE], [TYPE, name], [TYPE, name, "a:b"], [TYPE, name, "", "text"], [1, 2, 3, 4]):
		for event in (SHARED_JOIN, SHARED_SYNC, SHARED_UPDATE, SHARED_ANSWER):
			answer = page.do("emit", event=event, args=args)
			assert answer["error"]["code"] == "bad_request", (event, args)
	# Binary, and no change of Yjs: a sidecar that keeps the state refuses it, else the other page reports it.
	answer = page.do("emit", event=SHARED_UPDATE, args=[TYPE, name, "", {"bytes": [255] * 20}])
	until(lambda: "error" in answer or other.state["errors"] == ["bad_request"], "the report")
	page.insert("on")
	other.has("on")


@pytest.mark.parametrize("states", [1000, 0])
def test_pages_on_two_sidecars(make_pair: MakePair, editors: Editors, states: int) -> None:
	pair = make_pair(realtime_shared_states=states)
	user = pair.first.user()
	pair.first.site().forbid(user.name, TYPE, "N-1", "write")
	first = editors.open(pair.first, "N-1").synced().insert("one")
	second = editors.open(pair.second, "N-1")
	second.has("one")
	second.synced().insert(" two", 3)
	first.has("one two")
	reader = editors.open(pair.second, "N-1", user)
	reader.has("one two")
	reader.insert("mine")
	first.do("cursor", state=1)
	client = str(first.state["client"])
	until(lambda: second.state["cursors"].get(client) == {"cursor": 1}, "the cursor of the other sidecar")
	second.do("offline")
	first.insert("zero ")
	second.insert(" three", 7)
	second.do("online")
	first.has("zero one two three")
	second.has("zero one two three")


@pytest.mark.timeout(240)
def test_fifty_writers_of_whom_one_is_cut_again_and_again(bench: Bench, editors: Editors, name: str) -> None:
	pages: list[Page] = [editors.open(bench, name) for _ in range(WRITERS)]
	for page in pages:
		page.synced()
	for _ in range(4):
		editors.do("write", count=CHANGES // 4, pause=100)
		pages[0].do("cut")
	text = editors.converge(90)
	assert len(text) > 20
	assert all(page.state["errors"] == [] for page in pages[:5])


# -- the state in Redis


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
	assert bench.valkey.client.zcard(SHARED_DUE_KEY) == 1
	# What the app cannot load is taken from the pages.
	bench.site().shared[TYPE, "N-2", ""] = b""
	first = editors.open(bench, "N-2").synced().insert("of pages")
	editors.open(bench, "N-2").has("of pages")
	bench.site().shared_fails = False
	client: Any = bench.valkey.client
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
			pages[0].do("emit", event=SHARED_SYNC, args=[TYPE, "N-1", "", {"bytes": [0]}])["update"]
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
