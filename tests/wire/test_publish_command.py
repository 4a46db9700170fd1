"""`frappe-realtime publish`: which Redis it uses, and what it reports."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.wire.bench import APP_SITE, Bench
from tests.wire.command import Result, run_command
from tests.wire.conditions import until
from tests.wire.conftest import Connect, MakeBench
from tests.wire.sentinels import Sentinels


@pytest.fixture
def sentinels(tmp_path: Path) -> Iterator[Sentinels]:
	"""A master, its replica, and a Sentinel."""
	one = Sentinels(tmp_path)
	yield one
	one.close()


def publish(bench: Bench, *arguments: str) -> Result:
	"""Publish `{"text": "hello"}` as the event `news` of the site with the app."""
	message = '{"text": "hello"}'
	return run_command(
		"publish", "news", message, "--bench", str(bench.folder), "--site", APP_SITE, *arguments
	)


def test_publish_reports_the_subscribers(bench: Bench, connect: Connect) -> None:
	client = connect(bench)
	result = publish(bench, "--room", "website")
	assert result.code == 0
	assert (
		"published 'news' to the room 'website' of app.test; subscribers that received it: 1" in result.output
	)
	assert client.next("news")[0] == {"text": "hello"}


def test_publish_uses_the_master_that_sentinels_name(
	make_bench: MakeBench, connect: Connect, sentinels: Sentinels
) -> None:
	bench = make_bench(start=False)
	bench.write_config(redis_queue="redis://none.invalid", **sentinels.keys)
	bench.start_web()
	bench.sidecar.start()
	until(lambda: sentinels.clients[0].pubsub_numsub("events")[0][1], "the subscription", 60)
	client = connect(bench)
	result = publish(bench, "--room", "website")
	assert result.code == 0, result.errors
	assert client.next("news")[0] == {"text": "hello"}
	bench.sidecar.stop()


def test_publish_without_a_subscriber_fails(make_bench: MakeBench) -> None:
	bench = make_bench(start=False)
	bench.valkey.start()
	result = publish(bench)
	assert (result.code, result.output) == (1, "")
	assert "none is subscribed to the channel 'events' of Redis at redis://" in result.errors
	assert "frappe-realtime serve" in result.errors


def test_publish_without_redis_fails(make_bench: MakeBench) -> None:
	result = publish(make_bench(start=False))
	assert (result.code, result.output) == (1, "")
	assert "nothing was published" in result.errors
	assert "redis_queue" in result.errors


def test_publish_to_an_unknown_site_fails(bench: Bench) -> None:
	result = run_command("publish", "news", "--bench", str(bench.folder), "--site", "nowhere.test")
	assert result.code not in (0, 1)
	assert "it has: app.test, stock.test" in result.errors
