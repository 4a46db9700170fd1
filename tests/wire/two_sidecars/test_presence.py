"""Presence on two sidecars, of which one is killed or stops, or misses messages of the other."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from frappe_realtime.contract.presence import (
	ASK_ONLINE,
	ASK_PRESENCE,
	PRESENCE_JOIN,
	PRESENCE_SET,
	PRESENCE_SYNC,
)
from realtime.demo.model import User
from tests.wire.bench import APP_SITE
from tests.wire.conditions import until
from tests.wire.conftest import Connect
from tests.wire.presence import Watcher
from tests.wire.recoveries import answer as connect_answer
from tests.wire.recoveries import event as event_of
from tests.wire.recoveries import first as connect_first
from tests.wire.recoveries import recover
from tests.wire.sidecars import MakePair, Pair, others
from tests.wire.test_presence import ask, place_of


def both(pair: Pair, connect: Connect, place: str) -> tuple[User, User, Watcher, Watcher]:
	"""Return two users, each present through one of the sidecars."""
	ann, ben = pair.first.user(), pair.first.user()
	here = Watcher(connect(pair.first, ann), place, {"at": "first"})
	there = Watcher(connect(pair.second, ben), place, {"at": "second"})
	for one in (here, there):
		one.sees(ann.name, ben.name)
		one.sees_state(here.id, {"at": "first"})
		one.sees_state(there.id, {"at": "second"})
	return ann, ben, here, there


def test_two_sidecars_and_one_is_killed(make_pair: MakePair, connect: Connect) -> None:
	pair = make_pair()
	place = place_of(pair.first)
	ann, ben, here, there = both(pair, connect, place)
	there.client.emit(PRESENCE_SET, place, {"page": 7})
	here.sees_state(there.id, {"at": "second", "page": 7})
	pair.second.sidecar.kill()
	here.sees(ann.name)
	pair.second.sidecar.start()
	pair.wait_until_together()
	late = Watcher(connect(pair.second, ben), place)
	late.sees(ann.name, ben.name)
	here.sees(ann.name, ben.name)
	late.sees_state(here.id, {"at": "first"})


def test_a_client_of_the_killed_sidecar_comes_back_through_the_other(
	make_pair: MakePair, connect: Connect
) -> None:
	pair = make_pair(realtime_presence_grace_seconds=60)
	place, ann, ben = place_of(pair.first), pair.first.user(), pair.first.user()
	here = Watcher(connect(pair.first, ann), place)
	old, known, offset = connect_first(pair.second, ben)
	joined = json.dumps([PRESENCE_JOIN, place, {"page": 1}])
	old.send(f"42/{APP_SITE},{joined}")
	here.sees_state(known["sid"], {"page": 1})
	pair.second.sidecar.kill()
	new = recover(pair.first, ben, known["pid"], offset)
	assert connect_answer(new) == known
	events: Iterator[Any] = iter(lambda: event_of(new), None)
	sync = next(event[1] for event in events if event[0] == PRESENCE_SYNC)
	assert (sync["me"]["id"], sync["me"]["state"]) == (known["sid"], {"page": 1})
	until(lambda: others(pair.first) == [], "the end of the other sidecar")
	changed = json.dumps([PRESENCE_SET, place, {"page": 2}])
	new.send(f"42/{APP_SITE},{changed}")
	here.sees_state(known["sid"], {"page": 2})
	assert here.roster.left == []
	assert here.roster.users() == sorted([ann.name, ben.name])


def test_a_sidecar_stops_and_its_client_comes_back_through_the_other(
	make_pair: MakePair, connect: Connect
) -> None:
	pair = make_pair(realtime_presence_grace_seconds=60)
	place, ben = place_of(pair.first), pair.first.user()
	here = Watcher(connect(pair.first, pair.first.user()), place)
	old, known, offset = connect_first(pair.second, ben)
	joined = json.dumps([PRESENCE_JOIN, place, {"page": 1}])
	old.send(f"42/{APP_SITE},{joined}")
	here.sees_state(known["sid"], {"page": 1})
	pair.second.sidecar.stop()
	until(lambda: others(pair.first) == [], "the end of the other sidecar")
	new = recover(pair.first, ben, known["pid"], offset)
	assert connect_answer(new) == known
	new.send(f"42/{APP_SITE},{json.dumps([PRESENCE_SET, place, {'page': 2}])}")
	here.sees_state(known["sid"], {"page": 2})
	assert here.roster.left == []


def test_messages_that_are_lost_between_sidecars(make_pair: MakePair, connect: Connect) -> None:
	"""A peer that misses a message requests a snapshot."""
	pair = make_pair()
	place = place_of(pair.first)
	ann, ben, here, there = both(pair, connect, place)
	pair.first.valkey.client.client_kill_filter(_type="pubsub", skipme=True)
	there.client.emit(PRESENCE_SET, place, {"page": 1})
	here.client.emit(PRESENCE_SET, place, {"page": 2})
	here.sees_state(there.id, {"at": "second", "page": 1})
	there.sees_state(here.id, {"at": "first", "page": 2})
	assert here.roster.users() == there.roster.users() == sorted([ann.name, ben.name])


def test_a_process_of_frappe_asks_one_of_two_sidecars(make_pair: MakePair, connect: Connect) -> None:
	pair = make_pair()
	place = place_of(pair.first)
	ann, ben, *_ = both(pair, connect, place)
	assert ask(pair.first, ASK_PRESENCE, place=place)["count"] == 2
	users = sorted(ask(pair.first, ASK_ONLINE))
	assert users == sorted([ann.name, ben.name])
	pair.second.sidecar.kill()
	until(lambda: ask(pair.first, ASK_ONLINE) == [ann.name], "the end of the other sidecar")
