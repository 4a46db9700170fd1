"""Rooms that are joined at connect, and events that are published to them."""

from __future__ import annotations

import pytest

from realtime.demo.model import WEBSITE_USER
from tests.wire.bench import APP_SITE, SITES, STOCK_SITE, Bench
from tests.wire.conftest import Connect


@pytest.mark.parametrize("site", SITES)
def test_rooms_at_connect(every_bench: Bench, connect: Connect, site: str) -> None:
	bench = every_bench
	desk_user, portal_user = bench.user(site), bench.user(site, WEBSITE_USER)
	desk = connect(bench, desk_user, site)
	portal = connect(bench, portal_user, site)
	guest = connect(bench, site=site)

	for room in ("all", "website", f"user:{desk_user.name}", f"user:{portal_user.name}", "user:Guest"):
		bench.publish(f"to {room}", {"room": room}, room, site)
	bench.settle(desk, portal, guest, site=site)

	def heard(client: object) -> set[str]:
		return {event[3:] for event, _args in client.events if event.startswith("to ")}  # type: ignore[attr-defined]

	assert heard(desk) == {"all", "website", f"user:{desk_user.name}"}
	assert heard(portal) == {"website", f"user:{portal_user.name}"}
	assert heard(guest) == {"website", "user:Guest"}


def test_an_event_for_a_user_is_sent_to_all_tabs_of_that_user_only(bench: Bench, connect: Connect) -> None:
	user = bench.user()
	tabs = [connect(bench, user) for _ in range(3)]
	other = connect(bench, bench.user())
	bench.publish("msgprint", {"message": "hello"}, f"user:{user.name}")
	bench.settle(*tabs, other)
	assert [tab.all("msgprint")[0][0] for tab in tabs] == [{"message": "hello"}] * 3
	assert other.all("msgprint") == []


def test_events_of_one_site_are_not_sent_to_another(every_bench: Bench, connect: Connect) -> None:
	bench = every_bench
	here, there = bench.user(APP_SITE), bench.user(STOCK_SITE)
	bench.site(STOCK_SITE).add_user(here.name)
	client = connect(bench, here, APP_SITE)
	namesake = connect(bench, here, STOCK_SITE)
	stranger = connect(bench, there, STOCK_SITE)
	for room in ("all", "website", f"user:{here.name}"):
		bench.publish("secret", room, room, APP_SITE)
	bench.settle(client, site=APP_SITE)
	bench.settle(namesake, stranger, site=STOCK_SITE)
	assert [args[0] for args in client.all("secret")] == ["all", "website", f"user:{here.name}"]
	assert namesake.all("secret") == stranger.all("secret") == []


def test_an_event_without_a_room_is_sent_to_every_socket_of_every_site(
	bench: Bench, connect: Connect
) -> None:
	sockets = [connect(bench, bench.user()), connect(bench, site=STOCK_SITE), connect(bench)]
	bench.publish("build_event", {"success": True}, room=None, site=None)
	for socket in sockets:
		assert socket.next("build_event")[0] == {"success": True}


def test_an_event_of_a_site_without_a_room_is_sent_to_every_socket_of_the_site(
	bench: Bench, connect: Connect
) -> None:
	here = [connect(bench, bench.user()), connect(bench)]
	there = connect(bench, site=STOCK_SITE)
	bench.publish("news", 1, room=None)
	bench.settle(*here)
	bench.settle(there, site=STOCK_SITE)
	assert [socket.all("news") for socket in (*here, there)] == [[(1,)], [(1,)], []]


@pytest.mark.parametrize(
	"message",
	[
		None,
		{},
		[],
		"",
		0,
		False,
		17,
		2.5,
		"text",
		[1, [2, {"three": None}]],
		{"nested": {"ü": "€ 😀", "quote": '"\\'}},
		{"_placeholder": True, "num": 0},
	],
	ids=repr,
)
def test_any_json_is_a_message(bench: Bench, connect: Connect, message: object) -> None:
	user = bench.user()
	client = connect(bench, user)
	bench.publish("news", message, f"user:{user.name}")
	args = client.next("news")
	assert args[0] == message
	assert type(args[0]) is type(message)


def test_extra_keys_of_a_payload_are_ignored(bench: Bench, connect: Connect) -> None:
	client = connect(bench)
	bench.valkey.client.publish(
		"events",
		'{"event": "news", "message": 1, "room": "website", "namespace": "app.test", "later": {"a": 1}}',
	)
	assert client.next("news")[0] == 1


@pytest.mark.parametrize(
	"payload",
	[
		"",
		"{",
		"null",
		"[]",
		'"text"',
		"{}",
		'{"event": "x"}',
		'{"event": null, "message": 1, "room": "website", "namespace": "app.test"}',
		'{"event": 7, "message": 1, "room": ["website"], "namespace": "app.test"}',
		'{"event": "x", "message": 1, "room": "website", "namespace": {"a": 1}}',
		b"\xff\xfe\x00",
	],
	ids=repr,
)
def test_an_invalid_payload_is_ignored(bench: Bench, connect: Connect, payload: str | bytes) -> None:
	client = connect(bench)
	bench.valkey.client.publish("events", payload)
	bench.settle(client)


def test_events_keep_their_order(bench: Bench, connect: Connect) -> None:
	user = bench.user()
	client = connect(bench, user)
	for number in range(500):
		bench.publish("count", number, ("all", "website", f"user:{user.name}")[number % 3])
	bench.settle(client)
	assert [args[0] for args in client.all("count")] == list(range(500))


def test_a_large_message_arrives_whole(bench: Bench, connect: Connect) -> None:
	client = connect(bench)
	message = {"rows": [{"number": number, "text": "x" * 100} for number in range(20_000)]}
	bench.publish("report", message, "website")
	assert client.next("report")[0] == message
