"""The event `open_in_editor`: from a developer's browser to `bench watch`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from realtime.demo.model import WEBSITE_USER
from tests.wire.bench import Bench
from tests.wire.conditions import until
from tests.wire.conftest import Connect, MakeBench

PLACE = {"file": "/apps/frappe/public/js/a b.js", "line": 12, "column": 3}


@contextmanager
def subscribed(bench: Bench) -> Iterator[list[str]]:
	"""Subscribe as `bench watch` does; yields the list of received messages."""
	messages: list[str] = []
	with bench.valkey.client.pubsub() as subscription:
		subscription.subscribe(open_in_editor=lambda message: messages.append(message["data"]))
		until(lambda: subscription.get_message(timeout=1), "the subscription")
		thread = subscription.run_in_thread(sleep_time=0.01, daemon=True)
		try:
			yield messages
		finally:
			thread.stop()
			thread.join()


def settle(bench: Bench, messages: list[str]) -> None:
	"""Wait until all messages that were published before have been received."""
	bench.valkey.client.publish("open_in_editor", "end")
	until(lambda: "end" in messages, "the last message")
	messages.remove("end")


@pytest.fixture(scope="module")
def developer_bench(make_shared_bench: MakeBench) -> Bench:
	"""A bench in developer mode."""
	return make_shared_bench(common={"developer_mode": 1})


def test_a_developer_opens_a_file(developer_bench: Bench, connect: Connect) -> None:
	bench = developer_bench
	with subscribed(bench) as messages:
		connect(bench, bench.user()).emit("open_in_editor", PLACE)
		until(lambda: messages, "the message")
	assert json.loads(messages[0]) == PLACE


def test_without_developer_mode_nothing_is_opened(bench: Bench, connect: Connect) -> None:
	with subscribed(bench) as messages:
		client = connect(bench, bench.user())
		client.emit("open_in_editor", PLACE)
		client.fence()
		settle(bench, messages)
	assert messages == []


def test_invalid_arguments_are_ignored(developer_bench: Bench, connect: Connect) -> None:
	"""Such a packet from a Guest ends the Node server of v16 and v17."""
	bench = developer_bench
	other = connect(bench, bench.user())
	with subscribed(bench) as messages:
		for user in ("Guest", bench.user(user_type=WEBSITE_USER)):
			client = connect(bench, user)
			for _ in range(3):
				arguments: tuple[Any, ...]
				for arguments in (
					(),
					(None,),
					("text",),
					([],),
					(7,),
					(b"bytes",),
					(PLACE, PLACE),
					({"file": {}},),
				):
					client.emit("open_in_editor", *arguments)
			client.fence()
		settle(bench, messages)
	assert messages == []
	other.fence()


def test_requests_are_lost_while_redis_is_unavailable(make_bench: MakeBench, connect: Connect) -> None:
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

	with subscribed(bench) as messages:
		until(opened, "the message")
