"""Rewind: a subscription that asks for earlier events of its room."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from tests.wire.bench import STOCK_SITE, Bench
from tests.wire.clients import POLLING, WEBSOCKET, Client
from tests.wire.conditions import until
from tests.wire.conftest import Connect, ConnectNode, MakeBench
from tests.wire.nodejs import NEW
from tests.wire.publisher import Publisher
from tests.wire.recoveries import AWAY, disconnected, reconnect

LATEST = {"rewind": "latest"}


@pytest.fixture
def publisher(bench: Bench) -> Publisher:
	return Publisher(bench.valkey.url)


def room_of(name: str) -> str:
	return f"doc:ToDo/{name}"


def known(bench: Bench, publisher: Publisher, connect: Connect) -> None:
	"""Wait until the sidecar has read what was published."""
	client = connect(bench, bench.user())
	publisher.publish("known", 1)
	client.next("known")
	client.close()


def received(client: Client, event: str) -> list[Any]:
	return [args[0] for args in client.all(event)]


@pytest.mark.parametrize("transports", [WEBSOCKET, POLLING], ids=str)
def test_the_latest_values_come_before_live_events(
	bench: Bench,
	publisher: Publisher,
	connect: Connect,
	connect_node: ConnectNode,
	node_version: str,
	transports: tuple[str, ...],
) -> None:
	user, name = bench.user(), bench.document()
	client = connect_node(bench, node_version, user, transports=transports)
	publisher.publish("step", "an event", room_of(name))
	publisher.publish_latest("step", 1, room_of(name))
	publisher.publish_latest("image", {"image": b"\x00"}, room_of(name))
	publisher.publish_latest("step", 2, room_of(name))
	publisher.publish_latest("step", 0, "doc:ToDo/another")
	known(bench, publisher, connect)
	assert client.call("doc_subscribe", "ToDo", name, LATEST) == ({"rewound": 2},)
	publisher.publish_latest("step", 3, room_of(name))
	until(lambda: (3,) in client.all("step"), "the live event")
	assert client.all("step") == [(2,), (3,)]
	assert client.all("image") == [({"image": b"\x00"},)]


def test_the_last_events(bench: Bench, publisher: Publisher, connect: Connect) -> None:
	user, name = bench.user(), bench.document()
	client = connect(bench, user)
	for number in range(10):
		publisher.publish("step", number, room_of(name))
		publisher.publish("step", "elsewhere", "doc:ToDo/another")
	publisher.publish_latest("value", 1, room_of(name))
	known(bench, publisher, connect)
	assert client.call("doc_subscribe", "ToDo", name, {"rewind": 4}) == {"rewound": 4}
	publisher.publish("step", 10, room_of(name))
	until(lambda: (10,) in client.all("step"), "the live event")
	assert [(event, args[0]) for event, args in client.events if event != "known"] == [
		("step", 7),
		("step", 8),
		("step", 9),
		("value", 1),
		("step", 10),
	]


def test_the_last_events_are_read_from_redis_after_a_restart(make_bench: MakeBench, connect: Connect) -> None:
	bench = make_bench()
	publisher = Publisher(bench.valkey.url)
	user, name = bench.user(), bench.document()
	for number in range(700):
		publisher.publish("step", number, room_of(name) if number % 100 == 0 else "website")
	publisher.flush()
	bench.sidecar.restart()
	client = connect(bench, user)
	assert client.call("doc_subscribe", "ToDo", name, {"rewind": 5}) == {"rewound": 5}
	assert received(client, "step") == [200, 300, 400, 500, 600]


def test_nothing_is_missing_or_twice_while_events_are_published(
	bench: Bench, publisher: Publisher, connect: Connect
) -> None:
	"""Clients subscribe, one after the other, while events are published; each has an unbroken run up to the end."""
	name = bench.document()
	clients = []
	for first in range(0, 200, 40):
		client = connect(bench, bench.user())
		clients.append(client)
		thread = threading.Thread(target=publish_numbers, args=(publisher, first, 40, room_of(name)))
		thread.start()
		answer = client.call("doc_subscribe", "ToDo", name, {"rewind": 50})
		thread.join()
		assert answer["rewound"] <= 50
	publisher.publish("end", 200, room_of(name))
	for client in clients:
		client.next("end")
		numbers = received(client, "step")
		assert numbers == list(range(numbers[0], 200))


def publish_numbers(publisher: Publisher, first: int, count: int, room: str) -> None:
	"""Publish `count` numbers from `first` on."""
	for number in range(first, first + count):
		publisher.publish("step", number, room)


def test_tasks_and_lists(bench: Bench, publisher: Publisher, connect: Connect) -> None:
	user = bench.user()
	client = connect(bench, user)
	publisher.publish_latest("task_progress", {"n": 1}, "task_progress:t1")
	publisher.publish_latest("count", 5, "doctype:ToDo")
	known(bench, publisher, connect)
	assert client.call("task_subscribe", "t1", LATEST) == {"rewound": 1}
	assert client.all("task_progress") == [({"n": 1},)]
	assert client.call("doctype_subscribe", "ToDo", LATEST) == {"rewound": 1}
	assert client.all("count") == [(5,)]


def test_the_rooms_of_the_user(bench: Bench, publisher: Publisher, connect: Connect) -> None:
	"""A page that loads late asks for a counter by its name."""
	user = bench.user()
	publisher.publish_latest("unread", 3, f"user:{user.name}")
	publisher.publish_latest("unread", 9, "user:somebody@example.com")
	publisher.publish_latest("other", 1, f"user:{user.name}")
	known(bench, publisher, connect)
	client = connect(bench, user)
	answer = client.call("frappe_realtime:rewind", {"event": "unread", "rewind": "latest"})
	assert answer == {"rewound": 1}
	assert client.all("unread") == [(3,)]
	assert not client.all("other")


def test_guests_do_not_get_what_others_were_sent(
	bench: Bench, publisher: Publisher, connect: Connect
) -> None:
	publisher.publish_latest("unread", 3, "user:Guest")
	publisher.publish_latest("news", 4, "website")
	known(bench, publisher, connect)
	client = connect(bench)
	for event, count in (("unread", 0), ("news", 1)):
		answer = client.call("frappe_realtime:rewind", {"event": event, "rewind": "latest"})
		assert answer == {"rewound": count}
	assert not client.all("unread")


def test_without_permission_nothing_is_sent(make_bench: MakeBench, connect: Connect) -> None:
	bench = make_bench(common={"realtime_cache_seconds": 600})
	publisher = Publisher(bench.valkey.url)
	user, name = bench.user(), bench.document()
	publisher.publish_latest("secret", 1, room_of(name))
	publisher.publish("secret", 2, room_of(name))
	known(bench, publisher, connect)
	client = connect(bench, user)
	bench.site().forbid(user.name, "ToDo", name)
	for rewind in ("latest", 5):
		answer = client.call("doc_subscribe", "ToDo", name, {"rewind": rewind})
		assert answer["error"]["code"] == "not_permitted"
	publisher.publish("secret", 3, room_of(name))
	publisher.publish("public", 1)
	client.next("public")
	assert not client.all("secret")


def test_a_permission_that_was_withdrawn_is_asked_for_again(make_bench: MakeBench, connect: Connect) -> None:
	"""The client is in the room and the answer is cached; access has changed since."""
	bench = make_bench(common={"realtime_cache_seconds": 600})
	publisher = Publisher(bench.valkey.url)
	user, name = bench.user(), bench.document()
	publisher.publish("secret", 1, room_of(name))
	known(bench, publisher, connect)
	client = connect(bench, user)
	bench.join(client, room_of(name), "doc_subscribe", "ToDo", name)
	bench.site().forbid(user.name, "ToDo", name)
	publisher.announce("user", user=user.name)
	publisher.publish("public", 1)
	client.next("public")
	answer = client.call("doc_subscribe", "ToDo", name, {"rewind": 5})
	assert answer["error"]["code"] in ("not_permitted", "unavailable")
	client.fence()
	assert not client.all("secret")


def test_invalid_requests(bench: Bench, connect: Connect) -> None:
	client = connect(bench, bench.user())
	wrong: list[Any] = [0, -1, 201, "all", None, True, 1.5, [1], {}]
	for rewind in wrong:
		answer = client.call("doc_subscribe", "ToDo", bench.document(), {"rewind": rewind})
		assert answer["error"]["code"] == "bad_request", rewind
	without_name: list[tuple[Any, ...]] = [
		("doc_subscribe", "ToDo"),
		("doc_subscribe", "ToDo", ""),
		("doc_subscribe", 1, "a"),
		("doctype_subscribe", "x" * 601),
		("task_subscribe",),
		("frappe_realtime:rewind",),
		("doc_open", "ToDo", bench.document()),
	]
	for event, *names in without_name:
		answer = client.call(event, *names, LATEST)
		assert answer["error"]["code"] == "bad_request", (event, names)
	stock = connect(bench, bench.user(STOCK_SITE), site=STOCK_SITE)
	answer = stock.call("doc_subscribe", "ToDo", bench.document(), LATEST)
	assert answer["error"]["code"] == "unavailable"
	assert "not installed" in answer["error"]["message"]


def test_too_many_bytes(make_bench: MakeBench, connect: Connect) -> None:
	"""The limit is that of missed events; what is sent at once is bounded too, and ends with the newest event."""
	common = {"realtime_recovery_bytes_per_second": 1000, "realtime_max_unsent": 20_000}
	bench = make_bench(common=common)
	publisher = Publisher(bench.valkey.url)
	user, name = bench.user(), bench.document()
	client = connect(bench, user)
	for number in range(100):
		publisher.publish("step", {"number": number, "text": "x" * 900}, room_of(name))
	known(bench, publisher, connect)
	codes: list[str] = []
	while not codes or codes[-1] == "":
		answer = client.call("doc_subscribe", "ToDo", name, {"rewind": 100})
		codes.append(answer.get("error", {}).get("code", ""))
		if not codes[-1]:
			assert 5 <= answer["rewound"] <= 10
	assert codes[-1] == "limit_reached"
	assert 2 <= len(codes) <= 8
	assert received(client, "step")[9]["number"] in range(89, 100)


def test_a_client_that_recovers_does_not_get_them_again(
	bench: Bench, publisher: Publisher, connect: Connect, connect_node: ConnectNode
) -> None:
	user, name = bench.user(), bench.document()
	publisher.publish_latest("step", 1, room_of(name))
	known(bench, publisher, connect)
	client = connect_node(bench, NEW, user, options=AWAY)
	assert client.call("doc_subscribe", "ToDo", name, LATEST) == ({"rewound": 1},)
	disconnected(client)
	publisher.publish_latest("step", 2, room_of(name))
	publisher.flush()
	reconnect(client)
	client.connect(2)
	client.fence()
	assert client.all("step") == [(1,), (2,)]
	assert client.state()["recovered"] is True


def test_the_names_in_a_list_are_those_that_the_user_may_read(
	make_bench: MakeBench, connect: Connect
) -> None:
	bench = make_bench()
	publisher = Publisher(bench.valkey.url)
	user, hidden, shown = bench.user(), bench.document(), bench.document()
	bench.site().forbid(user.name, "ToDo", hidden)
	for name in (hidden, shown):
		publisher.publish("list_update", {"doctype": "ToDo", "name": name, "user": "x"}, "doctype:ToDo")
	known(bench, publisher, connect)
	client = connect(bench, user)

	def names() -> list[str | None]:
		client.events.clear()
		assert client.call("doctype_subscribe", "ToDo", {"rewind": 2}) == {"rewound": 2}
		found = [update.get("name") for update in received(client, "list_update")]
		assert found in ([None, shown], [None, None])
		return found

	# A name is also left out if the web process has not answered within a second.
	until(lambda: names() == [None, shown], "the name that the user may read")


def test_the_owner_of_a_task_that_is_announced_later(make_bench: MakeBench, connect: Connect) -> None:
	bench = make_bench(common={"realtime_task_subscribers": "owner"})
	publisher = Publisher(bench.valkey.url)
	owner, other = bench.user(), bench.user()
	clients = [connect(bench, owner), connect(bench, other)]
	answers: list[Any] = [None, None]

	def subscribe(index: int) -> None:
		answers[index] = clients[index].call("task_subscribe", "t2", LATEST)

	threads = [threading.Thread(target=subscribe, args=(index,)) for index in range(2)]
	for thread in threads:
		thread.start()
	publisher.publish_latest("task_progress", 1, "task_progress:t2")
	publisher.announce("task", task_id="t2", user=owner.name)
	for thread in threads:
		thread.join()
	assert answers[0] == {"rewound": 1}
	assert answers[1]["error"]["code"] == "not_permitted"
