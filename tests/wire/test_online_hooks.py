"""The online and offline hooks of apps: each change of a user calls them once."""

from __future__ import annotations

from frappe_realtime.contract.redis_keys import (
	ONLINE_REPORTER_KEY,
	ONLINE_SITES_KEY,
	online_key,
	unconfirmed_key,
)
from realtime.demo.model import User
from realtime.engine.owners import owner_of
from tests.wire.bench import APP_SITE, STOCK_SITE, Bench
from tests.wire.conditions import until
from tests.wire.conftest import Connect, ConnectNode, MakeBench
from tests.wire.nodejs import NEW
from tests.wire.sidecars import MakePair


def changes(bench: Bench, user: User) -> list[str]:
	"""Return the calls of the hooks for a user."""
	return [change for change, name in bench.site().users_changed if name == user.name]


def test_hooks_are_called_when_users_come_and_go(make_bench: MakeBench, connect: Connect) -> None:
	bench = make_bench(start=False, common={"realtime_presence_grace_seconds": 1})
	bench.site().online_hooks = True
	bench.start()
	ann, ben = bench.user(), bench.user()
	clients = [connect(bench, user) for user in (ann, ann, ben)]
	until(lambda: changes(bench, ann) == ["online"] and changes(bench, ben) == ["online"], "both have come")
	clients[0].close()
	clients[2].close()
	until(lambda: changes(bench, ben) == ["online", "offline"], "one has gone")
	assert changes(bench, ann) == ["online"]


def test_hooks_over_a_sigkill(make_bench: MakeBench, connect: Connect, connect_node: ConnectNode) -> None:
	"""A client that reconnects was never offline; one that does not is, also if no sidecar has seen it go."""
	bench = make_bench(start=False, common={"realtime_presence_grace_seconds": 6})
	bench.site().online_hooks = True
	bench.start()
	ann, ben = bench.user(), bench.user()
	# Its pauses between two attempts are shorter than the grace, also if the sidecar starts slowly.
	connect_node(bench, NEW, ann, options={"reconnectionDelayMax": 500})
	connect(bench, ben)
	until(lambda: changes(bench, ann) == ["online"] and changes(bench, ben) == ["online"], "both have come")
	# Otherwise it is reported again, in case that the report was lost.
	users, keys = {ann.name, ben.name}, bench.valkey.client
	until(lambda: keys.smembers(online_key(APP_SITE)) == users, "both are kept as online")
	until(lambda: not keys.exists(unconfirmed_key(APP_SITE)), "no report is unconfirmed")
	bench.sidecar.kill()
	bench.sidecar.start()
	# The key of the sidecar that was killed expires.
	bench.valkey.client.delete(ONLINE_REPORTER_KEY)
	until(lambda: changes(bench, ben) == ["online", "offline"], "the one that has gone")
	assert changes(bench, ann) == ["online"]


def test_hooks_with_two_sidecars(make_pair: MakePair, connect: Connect) -> None:
	pair = make_pair(realtime_presence_grace_seconds=1)
	pair.first.site().online_hooks = True
	ann = pair.first.user()
	here, there = connect(pair.first, ann), connect(pair.second, ann)
	until(lambda: changes(pair.first, ann) == ["online"], "the user has come")
	here.close()
	watcher = pair.first.user()
	watching = connect(pair.first, watcher)
	until(lambda: changes(pair.first, watcher) == ["online"], "another user has come")
	watching.close()
	until(lambda: changes(pair.first, watcher) == ["online", "offline"], "it has gone again")
	assert changes(pair.first, ann) == ["online"]
	there.close()
	until(lambda: changes(pair.first, ann) == ["online", "offline"], "the user has gone")


def test_hooks_for_users_of_a_sidecar_that_does_not_report(make_pair: MakePair, connect: Connect) -> None:
	pair = make_pair()
	pair.first.site().online_hooks = True
	valkey = pair.first.valkey.client
	valkey.sadd(ONLINE_SITES_KEY, "other.test")
	reporter = until(lambda: valkey.get(ONLINE_REPORTER_KEY), "the sidecar that reports")
	# The beginning of the id of a connection is the id of its sidecar.
	first_id = owner_of(connect(pair.first, pair.first.user(STOCK_SITE), STOCK_SITE).sio.eio.sid)
	bench = pair.second if reporter == first_id else pair.first
	ann = bench.user()
	client = connect(bench, ann)
	until(lambda: changes(bench, ann) == ["online"], "the user has come")
	client.close()
	until(lambda: changes(bench, ann) == ["online", "offline"], "the user has gone")
