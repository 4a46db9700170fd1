"""`open_in_editor`: from a developer's browser to `bench watch`, and from nobody else."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from realtime.demo.model import WEBSITE_USER
from tests.wire.bench import Bench
from tests.wire.conditions import until
from tests.wire.conftest import Connect, MakeBench

PLACE = {"file": "/apps/frappe/public/js/a b.js", "line": 12, "column": 3}


@contextmanager
def heard_by_watch(bench: Bench) -> Iterator[list[str]]:
	"""Listen as `bench watch` does; yields a list that grows."""
	messages: list[str] = []
	with bench.valkey.client.pubsub() as subscription:
		subscription.subscribe(open_in_editor=lambda message: messages.append(message["data"]))
		thread = subscription.run_in_thread(sleep_time=0.01, daemon=True)
		try:
			until(lambda: bench.valkey.client.pubsub_numsub("open_in_editor")[0][1], "the subscription")
			yield messages
		finally:
			thread.stop()
			thread.join()


def settle(bench: Bench, messages: list[str]) -> None:
	"""Wait until everything that was published before has been heard."""
	bench.valkey.client.publish("open_in_editor", "end")
	until(lambda: "end" in messages, "the end")
	messages.remove("end")


def test_a_developer_opens_a_file(make_bench: MakeBench, connect: Connect) -> None:
	bench = make_bench(common={"developer_mode": 1})
	with heard_by_watch(bench) as messages:
		connect(bench, bench.user()).emit("open_in_editor", PLACE)
		until(lambda: messages, "the place")
	assert json.loads(messages[0]) == PLACE


def test_without_developer_mode_nothing_is_opened(bench: Bench, connect: Connect) -> None:
	with heard_by_watch(bench) as messages:
		client = connect(bench, bench.user())
		client.emit("open_in_editor", PLACE)
		client.fence()
		settle(bench, messages)
	assert messages == []


def test_garbage_hurts_nothing(make_bench: MakeBench, connect: Connect) -> None:
	"""One such packet from a Guest ends the Node process of v16 and v17."""
	bench = make_bench(common={"developer_mode": 1})
	witness = connect(bench, bench.user())
	with heard_by_watch(bench) as messages:
		for user in ("Guest", bench.user(user_type=WEBSITE_USER)):
			client = connect(bench, user)
			for _ in range(3):
				garbage: tuple[Any, ...]
				for garbage in (
					(),
					(None,),
					("text",),
					([],),
					(7,),
					(b"bytes",),
					(PLACE, PLACE),
					({"file": {}},),
				):
					client.emit("open_in_editor", *garbage)
			client.fence()
		settle(bench, messages)
	assert messages == []
	witness.fence()


def test_it_hurts_nothing_while_redis_is_away(make_bench: MakeBench, connect: Connect) -> None:
	bench = make_bench(common={"developer_mode": 1})
	client = connect(bench, bench.user())
	bench.valkey.stop()
	for _ in range(20):
		client.emit("open_in_editor", PLACE)
	client.fence()
	bench.valkey.start()
	bench.wait_until_subscribed()

	def opened() -> list[str]:
		client.emit("open_in_editor", PLACE)
		client.fence()
		return messages

	with heard_by_watch(bench) as messages:
		until(opened, "the place")
