"""Who has a document open."""

from __future__ import annotations

from typing import Any

import pytest

from tests.wire.bench import APP_SITE, SITES, Bench
from tests.wire.clients import Client
from tests.wire.conditions import until
from tests.wire.conftest import Connect


def viewers(client: Client, name: str) -> list[str]:
	"""Return the viewers of a document as a client has last heard, sorted."""
	heard: list[Any] = [args[0] for args in client.all("doc_viewers") if args[0]["docname"] == name]
	return sorted(heard[-1]["users"]) if heard else []


def sees(client: Client, name: str, *users: str) -> None:
	"""Wait until a client has been told of exactly these viewers."""
	until(
		lambda: viewers(client, name) == sorted(users),
		f"{users} view {name}; {viewers(client, name)} are told",
	)


def open_document(bench: Bench, client: Client, name: str, site: str = APP_SITE) -> None:
	"""Open a document and wait until it is open."""
	bench.join(client, f"open_doc:ToDo/{name}", "doc_open", "ToDo", name, site=site)


@pytest.mark.parametrize("site", SITES)
def test_opening_and_closing(every_bench: Bench, connect: Connect, site: str) -> None:
	bench, name = every_bench, every_bench.document()
	ann, ben = bench.user(site), bench.user(site)
	first, second = connect(bench, ann, site), connect(bench, ben, site)

	open_document(bench, first, name, site)
	open_document(bench, second, name, site)
	sees(first, name, ann.name, ben.name)
	sees(second, name, ann.name, ben.name)
	assert first.all("doc_viewers")[-1][0].keys() == {"doctype", "docname", "users"}

	second.emit("doc_close", "ToDo", name)
	sees(first, name, ann.name)


def test_the_only_viewer_is_not_told_of_himself(bench: Bench, connect: Connect) -> None:
	name = bench.document()
	client = connect(bench, bench.user())
	open_document(bench, client, name)
	bench.settle(client)
	assert client.all("doc_viewers") == []


def test_who_disconnects_is_not_counted(every_bench: Bench, connect: Connect) -> None:
	bench, name = every_bench, every_bench.document()
	ann, ben = bench.user(), bench.user()
	first, second = connect(bench, ann), connect(bench, ben)
	open_document(bench, first, name)
	open_document(bench, second, name)
	sees(first, name, ann.name, ben.name)
	second.close()
	sees(first, name, ann.name)


def test_closing_forgets_one_document_only(bench: Bench, connect: Connect) -> None:
	one, other = bench.document(), bench.document()
	ann, ben = bench.user(), bench.user()
	first, second = connect(bench, ann), connect(bench, ben)
	for name in (one, other):
		open_document(bench, first, name)
		open_document(bench, second, name)
		sees(first, name, ann.name, ben.name)
	second.emit("doc_close", "ToDo", one)
	sees(first, one, ann.name)
	second.close()
	sees(first, other, ann.name)


def test_two_tabs_are_one_viewer(bench: Bench, connect: Connect) -> None:
	name = bench.document()
	ann, ben = bench.user(), bench.user()
	tab, other_tab, watcher = connect(bench, ann), connect(bench, ann), connect(bench, ben)
	for client in (tab, other_tab, watcher):
		open_document(bench, client, name)
	sees(watcher, name, ann.name, ben.name)

	tab.close()
	bench.settle(watcher)
	assert viewers(watcher, name) == sorted([ann.name, ben.name])
	other_tab.emit("doc_close", "ToDo", name)
	sees(watcher, name, ben.name)


def test_who_may_not_read_is_no_viewer(every_bench: Bench, connect: Connect) -> None:
	bench, name = every_bench, every_bench.document()
	ann, ben = bench.user(), bench.user()
	bench.site().forbid(ben.name, "ToDo", name)
	first, second = connect(bench, ann), connect(bench, ben)
	second.emit("doc_open", "ToDo", name)
	bench.wait_until_asked("ToDo", name)
	second.fence()
	open_document(bench, first, name)
	bench.settle(first, second)
	assert first.all("doc_viewers") == second.all("doc_viewers") == []


def test_closing_what_was_not_open_says_nothing_false(bench: Bench, connect: Connect) -> None:
	name = bench.document()
	ann, ben = bench.user(), bench.user()
	first, second = connect(bench, ann), connect(bench, ben)
	open_document(bench, first, name)
	second.emit("doc_close", "ToDo", name)
	second.fence()
	bench.settle(first, second)
	assert second.all("doc_viewers") == []
	assert viewers(first, name) in ([], [ann.name])


def test_viewers_of_one_site_are_not_those_of_the_other(bench: Bench, connect: Connect) -> None:
	name = bench.document()
	here, there = SITES
	first = connect(bench, bench.user(here), here)
	second = connect(bench, bench.user(there), there)
	open_document(bench, first, name, here)
	open_document(bench, second, name, there)
	bench.settle(first, site=here)
	bench.settle(second, site=there)
	assert first.all("doc_viewers") == second.all("doc_viewers") == []
