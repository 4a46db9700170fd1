"""The event `doc_viewers`: the users who have a document open."""

from __future__ import annotations

from typing import Any

import pytest

from tests.wire.bench import APP_SITE, SITES, AnyClient, Bench
from tests.wire.clients import Client
from tests.wire.conditions import until
from tests.wire.conftest import Connect


def viewers(client: AnyClient, name: str) -> list[str]:
	"""Return the users in the last `doc_viewers` that a client has received for a document, sorted."""
	received: list[Any] = [args[0] for args in client.all("doc_viewers") if args[0]["docname"] == name]
	return sorted(received[-1]["users"]) if received else []


def wait_for_viewers(client: AnyClient, name: str, *users: str) -> None:
	"""Wait until a client has received exactly these viewers of a document."""
	until(
		lambda: viewers(client, name) == sorted(users),
		f"the viewers {users} of {name}; received: {viewers(client, name)}",
	)


def open_document(bench: Bench, client: Client, name: str, site: str = APP_SITE) -> None:
	"""Send `doc_open`, and wait until the client is in the room of the viewers."""
	bench.join(client, f"open_doc:ToDo/{name}", "doc_open", "ToDo", name, site=site)


def wait_until_sent(bench: Bench, connect: Connect) -> None:
	"""Wait until the sidecar has sent the viewers for all that it was told before; it sends them once in an interval."""
	name, users = bench.document(), [bench.user(), bench.user()]
	clients = [connect(bench, user) for user in users]
	for client in clients:
		open_document(bench, client, name)
	wait_for_viewers(clients[0], name, *(user.name for user in users))


@pytest.mark.parametrize("site", SITES)
def test_opening_and_closing(every_bench: Bench, connect: Connect, site: str) -> None:
	bench, name = every_bench, every_bench.document()
	ann, ben = bench.user(site), bench.user(site)
	first, second = connect(bench, ann, site), connect(bench, ben, site)

	open_document(bench, first, name, site)
	open_document(bench, second, name, site)
	wait_for_viewers(first, name, ann.name, ben.name)
	wait_for_viewers(second, name, ann.name, ben.name)
	assert first.all("doc_viewers")[-1][0].keys() == {"doctype", "docname", "users"}

	second.emit("doc_close", "ToDo", name)
	wait_for_viewers(first, name, ann.name)


def test_the_only_viewer_gets_no_event(bench: Bench, connect: Connect) -> None:
	name = bench.document()
	client = connect(bench, bench.user())
	open_document(bench, client, name)
	wait_until_sent(bench, connect)
	bench.settle(client)
	assert client.all("doc_viewers") == []


def test_a_disconnected_client_is_no_viewer(every_bench: Bench, connect: Connect) -> None:
	bench, name = every_bench, every_bench.document()
	ann, ben = bench.user(), bench.user()
	first, second = connect(bench, ann), connect(bench, ben)
	open_document(bench, first, name)
	open_document(bench, second, name)
	wait_for_viewers(first, name, ann.name, ben.name)
	second.close()
	wait_for_viewers(first, name, ann.name)


def test_closing_one_document_leaves_the_other_open(bench: Bench, connect: Connect) -> None:
	one, other = bench.document(), bench.document()
	ann, ben = bench.user(), bench.user()
	first, second = connect(bench, ann), connect(bench, ben)
	for name in (one, other):
		open_document(bench, first, name)
		open_document(bench, second, name)
		wait_for_viewers(first, name, ann.name, ben.name)
	second.emit("doc_close", "ToDo", one)
	wait_for_viewers(first, one, ann.name)
	second.close()
	wait_for_viewers(first, other, ann.name)


def test_two_tabs_are_one_viewer(bench: Bench, connect: Connect) -> None:
	name = bench.document()
	ann, ben = bench.user(), bench.user()
	tab, other_tab, watcher = connect(bench, ann), connect(bench, ann), connect(bench, ben)
	for client in (tab, other_tab, watcher):
		open_document(bench, client, name)
	wait_for_viewers(watcher, name, ann.name, ben.name)

	tab.close()
	wait_until_sent(bench, connect)
	bench.settle(watcher)
	assert viewers(watcher, name) == sorted([ann.name, ben.name])
	other_tab.emit("doc_close", "ToDo", name)
	wait_for_viewers(watcher, name, ben.name)


def test_a_user_without_read_permission_is_no_viewer(every_bench: Bench, connect: Connect) -> None:
	bench, name = every_bench, every_bench.document()
	ann, ben = bench.user(), bench.user()
	bench.site().forbid(ben.name, "ToDo", name)
	first, second = connect(bench, ann), connect(bench, ben)
	second.emit("doc_open", "ToDo", name)
	bench.wait_until_asked("ToDo", name)
	second.fence()
	open_document(bench, first, name)
	wait_until_sent(bench, connect)
	bench.settle(first, second)
	assert first.all("doc_viewers") == second.all("doc_viewers") == []


def test_closing_a_document_that_is_not_open(bench: Bench, connect: Connect) -> None:
	name = bench.document()
	ann, ben = bench.user(), bench.user()
	first, second = connect(bench, ann), connect(bench, ben)
	open_document(bench, first, name)
	second.emit("doc_close", "ToDo", name)
	second.fence()
	wait_until_sent(bench, connect)
	bench.settle(first, second)
	assert second.all("doc_viewers") == []
	assert viewers(first, name) in ([], [ann.name])


def test_each_site_has_its_own_viewers(bench: Bench, connect: Connect) -> None:
	name = bench.document()
	here, there = SITES
	first = connect(bench, bench.user(here), here)
	second = connect(bench, bench.user(there), there)
	open_document(bench, first, name, here)
	open_document(bench, second, name, there)
	wait_until_sent(bench, connect)
	bench.settle(first, site=here)
	bench.settle(second, site=there)
	assert first.all("doc_viewers") == second.all("doc_viewers") == []
