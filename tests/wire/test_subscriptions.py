"""Rooms that clients subscribe to: documents, DocTypes, tasks."""

from __future__ import annotations

import pytest

from realtime.demo.model import GUEST, WEBSITE_USER
from tests.wire.bench import APP_SITE, SITES, STOCK_SITE, Bench
from tests.wire.conftest import Connect
from tests.wire.raw import SEPARATOR, PollingSession


@pytest.mark.parametrize("site", SITES)
def test_only_readers_can_subscribe_to_a_document(every_bench: Bench, connect: Connect, site: str) -> None:
	bench, name = every_bench, every_bench.document()
	reader, stranger = bench.user(site), bench.user(site)
	bench.site(site).forbid(stranger.name, "ToDo", name)
	inside, outside, guest = (
		connect(bench, reader, site),
		connect(bench, stranger, site),
		connect(bench, site=site),
	)

	bench.join(inside, f"doc:ToDo/{name}", "doc_subscribe", "ToDo", name, site=site)
	for client, user in ((outside, stranger.name), (guest, GUEST)):
		client.emit("doc_subscribe", "ToDo", name)
		bench.wait_until_asked("ToDo", name, user)
		client.fence()
	bench.publish("doc_update", {"name": name}, f"doc:ToDo/{name}", site)
	bench.settle(inside, outside, guest, site=site)

	assert inside.all("doc_update")[0][0] == {"name": name}
	assert outside.all("doc_update") == guest.all("doc_update") == []


@pytest.mark.parametrize("site", SITES)
def test_only_readers_can_subscribe_to_a_doctype(every_bench: Bench, connect: Connect, site: str) -> None:
	bench, doctype = every_bench, f"DocType {every_bench.document()}"
	reader, stranger = bench.user(site, WEBSITE_USER), bench.user(site)
	bench.site(site).allow(reader.name, doctype)
	bench.site(site).forbid(stranger.name, doctype)
	inside, outside = connect(bench, reader, site), connect(bench, stranger, site)

	bench.join(inside, f"doctype:{doctype}", "doctype_subscribe", doctype, site=site)
	outside.emit("doctype_subscribe", doctype)
	bench.wait_until_asked(doctype, user=stranger.name)
	outside.fence()
	bench.publish("list_update", {"doctype": doctype}, f"doctype:{doctype}", site)
	bench.settle(inside, outside, site=site)

	assert len(inside.all("list_update")) == 1
	assert outside.all("list_update") == []


def test_a_document_shared_with_a_website_user(every_bench: Bench, connect: Connect) -> None:
	bench, name = every_bench, every_bench.document()
	user = bench.user(user_type=WEBSITE_USER)
	bench.site().allow(user.name, "ToDo", name)
	client = connect(bench, user)
	bench.join(client, f"doc:ToDo/{name}", "doc_subscribe", "ToDo", name)


def test_a_guest_can_subscribe_to_what_guests_may_read(every_bench: Bench, connect: Connect) -> None:
	bench, name = every_bench, every_bench.document()
	bench.site().allow("Guest", "Blog Post", name)
	bench.join(connect(bench), f"doc:Blog Post/{name}", "doc_subscribe", "Blog Post", name)


def test_a_document_that_does_not_exist(every_bench: Bench, connect: Connect) -> None:
	bench, name = every_bench, every_bench.document()
	bench.site().missing.add(("ToDo", name))
	client = connect(bench, bench.user())
	client.emit("doc_subscribe", "ToDo", name)
	bench.wait_until_asked("ToDo", name)
	client.fence()
	bench.publish("doc_update", {}, f"doc:ToDo/{name}")
	bench.settle(client)
	assert client.all("doc_update") == []


@pytest.mark.parametrize(
	"name",
	["a b", "ä/ö?&=#%", "🦊", "1", "x" * 140, "a'b\"c"],
	ids=["space", "signs", "fox", "digit", "long", "quotes"],
)
def test_unusual_document_names(every_bench: Bench, connect: Connect, name: str) -> None:
	bench = every_bench
	for site in SITES:
		client = connect(bench, bench.user(site), site)
		bench.join(client, f"doc:Über Typ/{name}", "doc_subscribe", "Über Typ", name, site=site)


def test_a_number_as_document_name(bench: Bench, connect: Connect) -> None:
	client = connect(bench, bench.user())
	bench.join(client, "doc:Log/4711", "doc_subscribe", "Log", 4711)


def test_rooms_can_be_left(bench: Bench, connect: Connect) -> None:
	name = bench.document()
	client = connect(bench, bench.user())
	bench.join(client, f"doc:ToDo/{name}", "doc_subscribe", "ToDo", name)
	bench.join(client, "doctype:ToDo", "doctype_subscribe", "ToDo")
	client.emit("doc_unsubscribe", "ToDo", name)
	client.emit("doctype_unsubscribe", "ToDo")
	client.fence()
	bench.publish("doc_update", {}, f"doc:ToDo/{name}")
	bench.publish("list_update", {"doctype": "ToDo"}, "doctype:ToDo")
	bench.settle(client)
	assert client.all("doc_update") == client.all("list_update") == []


def test_many_subscriptions_at_once(bench: Bench, connect: Connect) -> None:
	"""A browser that reconnects repeats all subscriptions at once; each event is delivered once."""
	client = connect(bench, bench.user())
	names = [bench.document() for _ in range(100)]
	for name in names:
		client.emit("doc_subscribe", "ToDo", name)
		client.emit("doc_subscribe", "ToDo", name)
	for name in names:
		bench.join(client, f"doc:ToDo/{name}", "doc_subscribe", "ToDo", name)
	client.fence()
	for name in names:
		bench.publish("doc_update", name, f"doc:ToDo/{name}")
	bench.settle(client)
	assert [args[0] for args in client.all("doc_update")] == names


def test_a_repeated_subscription_makes_no_request(bench: Bench, connect: Connect) -> None:
	name, other = bench.document(), bench.document()
	client = connect(bench, bench.user())
	bench.join(client, f"doc:ToDo/{name}", "doc_subscribe", "ToDo", name)
	for _ in range(20):
		client.emit("doc_subscribe", "ToDo", name)
	# The question about another document is asked after or with one about the first.
	bench.join(client, f"doc:ToDo/{other}", "doc_subscribe", "ToDo", other)
	asked = [request for request in list(bench.web.requests) if ["ToDo", name] in request.questions()]
	assert len(asked) == 1


def test_concurrent_permission_queries_share_one_request_with_the_app(bench: Bench) -> None:
	names = [bench.document() for _ in range(150)]
	session = PollingSession(bench, bench.headers(bench.user()))
	session.post(f"40/{APP_SITE},")
	session.poll()
	session.post(SEPARATOR.join(f'42/{APP_SITE},["doc_subscribe","ToDo","{name}"]' for name in names))
	for name in names:
		bench.wait_until_asked("ToDo", name)
	asking = [request for request in list(bench.web.requests) if ["ToDo", names[0]] in request.questions()]
	assert [request.path for request in asking] == ["/api/method/frappe.realtime.has_permissions"]
	assert asking[0].questions() == [["ToDo", name] for name in names]


def test_a_system_user_can_subscribe_to_a_task(bench: Bench, connect: Connect) -> None:
	for event in ("task_subscribe", "progress_subscribe"):
		task = bench.document()
		client = connect(bench, bench.user())
		bench.join(client, f"task_progress:{task}", event, task)
		client.emit("task_unsubscribe", task)
		client.fence()
		bench.publish("task_progress", {"task_id": task}, f"task_progress:{task}")
		bench.settle(client)
		assert client.all("task_progress") == []


def test_a_guest_cannot_subscribe_to_the_task_of_another_user(bench: Bench, connect: Connect) -> None:
	task = bench.document()
	guest = connect(bench)
	for event in ("task_subscribe", "progress_subscribe"):
		guest.emit(event, task)
	guest.fence()
	bench.publish("task_progress", {"task_id": task}, f"task_progress:{task}")
	bench.settle(guest)
	assert guest.all("task_progress") == []


@pytest.mark.parametrize(
	"event",
	[
		"doc_subscribe",
		"doc_unsubscribe",
		"doc_open",
		"doc_close",
		"doctype_subscribe",
		"doctype_unsubscribe",
		"task_subscribe",
		"task_unsubscribe",
		"progress_subscribe",
	],
)
def test_missing_or_wrong_arguments_are_ignored(bench: Bench, connect: Connect, event: str) -> None:
	client = connect(bench, bench.user())
	for args in (
		(),
		(None,),
		("ToDo",),
		("ToDo", None),
		({"a": 1}, ["b"]),
		(["ToDo"], "x"),
		(b"\x00", b"\x01"),
		("",),
	):
		client.emit(event, *args)
	client.emit(event, "ToDo", "x", "more", "than", "asked")
	client.fence()
	assert client.connected


def test_unknown_events_are_ignored(bench: Bench, connect: Connect) -> None:
	client = connect(bench)
	client.emit("no_such_event", {"a": 1}, b"bytes")
	client.fence()
	assert [event for event, _args in client.events] == ["pong"]


def test_ping(every_bench: Bench, connect: Connect) -> None:
	for site in (*SITES, STOCK_SITE):
		connect(every_bench, site=site).fence()
