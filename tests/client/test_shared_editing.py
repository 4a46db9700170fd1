"""Shared editing with the built packages, in Node, on a whole bench."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from frappe_realtime.contract.shared_editing import SHARED_ANSWER, SHARED_JOIN, SHARED_SYNC, SHARED_UPDATE
from realtime.demo.model import WEBSITE_USER
from tests.wire.bench import SITES, Bench
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


@pytest.fixture(scope="module")
def relaying(make_shared_bench: MakeBench) -> Bench:
	"""A bench that keeps no states, as without the extra."""
	return make_shared_bench(common={"realtime_shared_states": 0})


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
		answers = [page.do("emit", event=SHARED_UPDATE, args=[TYPE, "N-1", "", update]) for _ in range(5)]
		return any(answer.get("error", {}).get("code") == "limit" for answer in answers)

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
