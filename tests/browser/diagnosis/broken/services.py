"""Benches whose Redis, web process or worker is broken, away, or another one."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from playwright.sync_api import Page

from frappe_realtime.publishing.outages import Outage, append_report
from realtime.demo.web_process import FakeWebProcess
from tests.browser.diagnosis.broken.place import Breaks, Place
from tests.wire.bench import APP_SITE
from tests.wire.conditions import accepts, free_port, until
from tests.wire.doctor import set_site_key
from tests.wire.relay import ClockRelay

breaks = Breaks()

# -- Redis


@breaks("`redis_queue` has a wrong port")
def wrong_redis_port(place: Place) -> Page:
	bench = place.bench()
	bench.write_config(redis_queue=f"redis://127.0.0.1:{free_port()}")
	bench.sidecar.restart()
	return place.page(bench)


@breaks("Redis is down")
def redis_down(place: Place) -> Page:
	bench = place.bench()
	bench.valkey.stop()
	return place.page(bench)


@breaks("the password of Redis is missing")
def no_redis_password(place: Place) -> Page:
	bench = place.bench()
	bench.valkey.client.config_set("requirepass", "geheim")
	bench.sidecar.restart()
	return place.page(bench)


@breaks("the password of Redis is wrong")
def wrong_redis_password(place: Place) -> Page:
	return with_redis_user(place, "~*", "&*", "+@all", password="wrong")


def with_redis_user(place: Place, *rules: str, password: str = "pw") -> Page:
	"""Let the sidecar use Redis as a user with these rules."""
	bench = place.bench()
	bench.valkey.client.execute_command("ACL", "SETUSER", "queue", "on", ">pw", *rules)
	bench.write_config(redis_queue=f"redis://queue:{password}@127.0.0.1:{bench.valkey.port}")
	bench.sidecar.restart()
	return place.page(bench)


@breaks("the user of Redis may not run scripts")
def no_scripts(place: Place) -> Page:
	return with_redis_user(place, "~*", "&*", "+@all", "-@scripting")


@breaks("the user of Redis may not use streams")
def no_streams(place: Place) -> Page:
	return with_redis_user(place, "~*", "&*", "+@all", "-@stream")


@breaks("the user of Redis may not use transactions")
def no_transactions(place: Place) -> Page:
	return with_redis_user(place, "~*", "&*", "+@all", "-multi")


@breaks("the user of Redis may not use the channel")
def no_channel(place: Place) -> Page:
	return with_redis_user(place, "~*", "&frappe_realtime:*", "+@all")


@breaks("the user of Redis may not use the keys")
def no_keys(place: Place) -> Page:
	return with_redis_user(place, "~rq:*", "&*", "+@all")


@breaks("`FRAPPE_REDIS_QUEUE` gives the sidecar another Redis")
def other_redis(place: Place) -> Page:
	other = place.bench()
	bench = place.bench(env={"FRAPPE_REDIS_QUEUE": other.valkey.url}, start=False)
	bench.valkey.start()
	bench.start_web()
	bench.sidecar.start()
	other.valkey.wait_for_subscriber(count=2)
	return place.page(bench)


@breaks("events were dropped in an outage of Redis")
def dropped_events(place: Place) -> Page:
	bench = place.bench()
	outage = Outage(since=time.time() - 200, held=10_000, dropped=7, reason="Connection refused")
	append_report(bench.valkey.client, outage)
	return place.page(bench)


@breaks("the clock of Redis is wrong")
def redis_clock(place: Place) -> Page:
	bench = place.bench(start=False)
	relay = ClockRelay(place.background, bench.valkey.port, -3600)
	place.cleanup.callback(relay.close)
	bench.write_config(redis_queue=relay.url)
	bench.start()
	place.cleanup.callback(bench.sidecar.stop)
	return place.page(bench)


# -- the web process


@breaks("the web process is down")
def web_down(place: Place) -> Page:
	bench = place.bench()
	bench.stop_web()
	return place.page(bench)


@breaks("the web process hangs")
def web_hangs(place: Place) -> Page:
	bench = place.bench()
	bench.web.fail(hang=True)
	place.cleanup.callback(bench.web.heal)
	return place.page(bench)


def with_web_port(place: Place, port: int) -> Page:
	"""Let the sidecar call another port."""
	bench = place.bench(start=False)
	bench.write_config(webserver_port=port)
	return place.page(bench.start())


@breaks("`webserver_port` is wrong")
def wrong_web_port(place: Place) -> Page:
	return with_web_port(place, free_port())


@breaks("another HTTP server is on `webserver_port`")
def other_http_server(place: Place) -> Page:
	port = free_port()
	command = [sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1"]
	server = subprocess.Popen(command, cwd=Path(__file__).parent, stderr=subprocess.DEVNULL)
	place.cleanup.callback(server.wait)
	place.cleanup.callback(server.terminate)
	until(lambda: accepts(port), "the other server listens")
	return with_web_port(place, port)


@breaks("`FRAPPE_WEBSERVER_PORT` gives the sidecar another web process")
def web_port_by_environment(place: Place) -> Page:
	return place.page(place.bench(env={"FRAPPE_WEBSERVER_PORT": str(free_port())}))


@breaks("maintenance mode")
def maintenance(place: Place) -> Page:
	bench = place.bench()
	bench.web.fail(status=503, body=b'{"exc_type": "SessionStopped"}')
	set_site_key(bench, APP_SITE, "maintenance_mode", 1)
	return place.page(bench)


@breaks("the web process has another secret")
def other_secret(place: Place) -> Page:
	bench, other = place.bench(), place.bench()
	wrong = FakeWebProcess(17, other.valkey.url)
	wrong.sites = bench.web.sites
	bench.stop_web()
	bench.web = wrong
	bench.start_web()
	return place.page(bench)


@breaks("the clock of the web process is wrong")
def web_clock(place: Place) -> Page:
	bench = place.shared()
	place.cleanup.callback(setattr, bench.web, "clock_offset", 0.0)
	bench.web.clock_offset = 120.0
	return place.page(bench)


@breaks("no background worker runs")
def no_worker(place: Place) -> Page:
	bench = place.shared()
	place.cleanup.callback(setattr, bench.web, "has_worker", True)
	bench.web.has_worker = False
	return place.page(bench)
