"""What the browser says about the broken benches of docs/broken-benches.md: each is broken here, and a page diagnoses it."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Page

from frappe_realtime.publishing.outages import Outage, append_report
from realtime.demo.web_process import FakeWebProcess
from tests.broken_benches import ROWS
from tests.browser.conftest import OpenPage, sign_in
from tests.browser.diagnosis.conftest import open_at, start_nginx
from tests.browser.diagnosis.diagnosing import (
	MANAGER,
	WITHOUT_UPGRADE,
	OpenAt,
	StartNginx,
	changed,
	diagnose,
	needs_nginx,
)
from tests.browser.nginx import SOCKETIO, Nginx
from tests.wire import nodejs
from tests.wire.apps import install, write_handlers
from tests.wire.background import Background
from tests.wire.bench import APP_SITE, STOCK_SITE, Bench
from tests.wire.conditions import accepts, free_port, until
from tests.wire.conftest import MakeBench
from tests.wire.doctor import replace_sidecar, set_site_key
from tests.wire.proxy import Proxy
from tests.wire.relay import ClockRelay
from tests.wire.sidecar import ROOT, Sidecar
from tests.wire.test_doctor_sidecar import SOCKET_IO

__all__ = ["open_at", "start_nginx"]

NODE_SERVER = """
const server = require("http").createServer();
new (require("socket.io").Server)(server, { cors: { origin: true, credentials: true } }).of(/^\\/.*$/);
server.listen(Number(process.argv[1]), "127.0.0.1");
"""
"""As Frappe's Node server, it accepts each site as a namespace."""

NOTHING = "nothing: "
"""Begins the cell of a bench about which a page cannot say anything."""

WORKS = "works"
"""Begins the cell of a bench in which pages are connected."""


class Place:
	"""Makes benches, servers and pages for one test.

	Args:
		make_bench: Makes a bench.
		start_nginx: Starts nginx.
		open_desk: Opens a page on the sidecar's port.
		open_at: Opens a page on another port.
		window: The browser.
		background: The event loop of helpers.
		cleanup: What is closed after the test.
	"""

	def __init__(
		self,
		make_bench: MakeBench,
		start_nginx: StartNginx,
		open_desk: OpenPage,
		open_at: OpenAt,
		window: BrowserContext,
		background: Background,
		cleanup: ExitStack,
	) -> None:
		self.make_bench = make_bench
		self.open_desk = open_desk
		self.window = window
		self.background = background
		self.cleanup = cleanup
		self._start_nginx = start_nginx
		self._open_at = open_at

	def bench(self, **options: Any) -> Bench:
		"""Return a bench of its own."""
		return self.make_bench(version=17, **options)

	def page(self, bench: Bench, user: str | None = None) -> Page:
		"""Open a page of a System Manager on the sidecar's port."""
		return self.open_desk(bench, user or bench.user(), user=MANAGER)

	def behind_nginx(self, bench: Bench, locations: str) -> Page:
		"""Open a page behind nginx with these locations."""
		one: Nginx = self._start_nginx(locations)
		return self._open_at(bench, one.port, user=MANAGER)

	def at(self, bench: Bench, port: int) -> Page:
		"""Open a page on another port."""
		return self._open_at(bench, port, user=MANAGER)


Break = Callable[[Place], Page]
BREAKS: dict[str, Break] = {}
"""By row of the table: breaks a bench, and opens a page."""


def breaks(row: str) -> Callable[[Break], Break]:
	"""Register a function that breaks the bench of a row."""

	def register(function: Break) -> Break:
		BREAKS[row] = function
		return function

	return register


@pytest.fixture
def place(
	make_bench: MakeBench,
	start_nginx: StartNginx,
	open_desk: OpenPage,
	open_at: OpenAt,
	window: BrowserContext,
	background: Background,
) -> Iterator[Place]:
	"""A place for one test."""
	with ExitStack() as cleanup:
		yield Place(make_bench, start_nginx, open_desk, open_at, window, background, cleanup)


def test_each_row_is_broken_here_or_has_a_reason() -> None:
	silent = {name for name, row in ROWS.items() if row.browser.startswith(NOTHING)}
	assert BREAKS.keys() == ROWS.keys() - silent


@needs_nginx
@pytest.mark.parametrize("row", BREAKS)
def test_what_the_browser_says(row: str, place: Place) -> None:
	found = diagnose(BREAKS[row](place))
	if found["code"] == "working":
		assert ROWS[row].browser.startswith(WORKS), found
	else:
		code = found["code"]
		assert ROWS[row].browser == f"[`{code}`](troubleshooting.md#{code}): {found['message']}", found


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
	bench = place.bench()
	relay = ClockRelay(place.background, bench.valkey.port, -3600)
	place.cleanup.callback(relay.close)
	bench.write_config(redis_queue=relay.url)
	bench.sidecar.restart()
	place.cleanup.callback(bench.sidecar.stop)
	bench.wait_until_subscribed()
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
	bench = place.bench()
	bench.write_config(webserver_port=port)
	bench.sidecar.restart()
	bench.wait_until_subscribed()
	return place.page(bench)


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
	bench = place.bench()
	bench.web.clock_offset = 120.0
	return place.page(bench)


@breaks("no worker runs")
def no_worker(place: Place) -> Page:
	bench = place.bench()
	bench.web.has_worker = False
	return place.page(bench)


# -- the sidecar


@breaks("the sidecar does not run")
def no_sidecar(place: Place) -> Page:
	bench = place.bench()
	page = place.page(bench)
	bench.sidecar.stop()
	return page


@breaks("Node is on the port")
def node_on_the_port(place: Place) -> Page:
	node = nodejs.node()
	if not node or not (SOCKET_IO / "node_modules" / "socket.io").exists():
		pytest.skip("no socket.io")
	bench = place.bench()
	bench.sidecar.stop()
	server = subprocess.Popen([node, "-e", NODE_SERVER, str(bench.sidecar.port)], cwd=SOCKET_IO)
	place.cleanup.callback(server.wait)
	place.cleanup.callback(server.terminate)
	until(lambda: accepts(bench.sidecar.port), "Node listens")
	return place.behind_nginx(bench, right(bench))


@breaks("the sidecar runs on another port")
def other_port(place: Place) -> Page:
	bench = place.bench()
	page = place.page(bench)
	log = bench.sidecar.log_path
	bench.sidecar.stop()
	other = free_port()
	bench.sidecar = Sidecar(bench.folder, log, env={"FRAPPE_SOCKETIO_PORT": str(other)}, port=other)
	bench.sidecar.start()
	return page


@breaks("an older sidecar still runs")
def older_sidecar(place: Place) -> Page:
	bench = place.bench(start=False)
	older = bench.folder.parent / "older"
	for package in ("realtime", "frappe_realtime"):
		shutil.copytree(ROOT / package, older / package)
	version = older / "frappe_realtime" / "__init__.py"
	version.write_text(version.read_text().replace('__version__ = "', '__version__ = "0.'))
	bench.sidecar.cwd = older
	return place.page(bench.start())


@breaks("the sidecar may have too few open files")
def few_descriptors(place: Place) -> Page:
	if shutil.which("prlimit") is None:
		pytest.skip("there is no prlimit")
	bench = place.bench()
	limited = ("prlimit", "--nofile=200:200", sys.executable, "-m", "realtime")
	replace_sidecar(bench, command=limited)
	bench.wait_until_subscribed()
	return place.page(bench)


@breaks("a handlers file does not import")
def broken_handlers(place: Place) -> Page:
	bench = place.bench(start=False)
	write_handlers(bench, "shop", "import no_such_module\n")
	install(bench, "shop")
	bench.sidecar.expects_traceback = True
	return place.page(bench.start())


# -- files of the bench


@breaks("the folder of a site is not readable")
def site_not_readable(place: Place) -> Page:
	if shutil.which("setpriv") is None:
		pytest.skip("there is no setpriv")
	bench = place.bench()
	folder = bench.folder / "sites" / APP_SITE
	folder.chmod(0)
	place.cleanup.callback(folder.chmod, 0o755)
	unprivileged = (
		"setpriv",
		"--bounding-set=-dac_override,-dac_read_search",
		sys.executable,
		"-m",
		"realtime",
	)
	replace_sidecar(bench, command=unprivileged)
	bench.wait_until_subscribed()
	return place.page(bench)


@breaks("`default_site` hides another site")
def hidden_site(place: Place) -> Page:
	bench = place.bench()
	sign_in(place.window, bench, bench.user(STOCK_SITE), STOCK_SITE)
	page = place.window.new_page()
	page.goto(f'http://127.0.0.1:{bench.sidecar.port}/desk.html?boot={{"sitename":"{STOCK_SITE}"}}')
	return page


@breaks("the app is on no site")
def app_on_no_site(place: Place) -> Page:
	bench = place.bench()
	bench.site().installed_apps.remove("frappe_realtime")
	return place.page(bench)


@breaks("an unknown key")
def unknown_key(place: Place) -> Page:
	return place.page(place.bench(common={"realtime_cache_second": 1}))


# -- proxies


def right(bench: Bench) -> str:
	"""Return the location that works."""
	return SOCKETIO.format(port=bench.sidecar.port)


def with_location(place: Place, location: str) -> Page:
	"""Open a page behind nginx with this location."""
	bench = place.bench()
	ports = {"port": bench.sidecar.port, "free_port": free_port(), "web_port": bench.web_port}
	return place.behind_nginx(bench, location.format(**ports))


@breaks("nginx without Upgrade")
def without_upgrade(place: Place) -> Page:
	return with_location(place, WITHOUT_UPGRADE)


@breaks("nginx with another Origin")
def another_origin(place: Place) -> Page:
	return with_location(place, changed("$http_origin", "https://wrong.test"))


@breaks("nginx without /socket.io")
def without_location(place: Place) -> Page:
	return with_location(place, "location /elsewhere {{ return 404; }}")


@breaks("nginx with another site")
def another_site(place: Place) -> Page:
	return with_location(place, changed("Site-Name app.test", "Site-Name other.test"))


@breaks("nginx passes to an old port")
def old_port(place: Place) -> Page:
	return with_location(place, changed("{port}", "{free_port}"))


@breaks("nginx passes to the web process")
def to_the_web_process(place: Place) -> Page:
	return with_location(place, changed("{port}", "{web_port}"))


@breaks("nginx names `default_site` for all hosts")
def default_site_for_all(place: Place) -> Page:
	return with_location(place, changed("Site-Name app.test", f"Site-Name {STOCK_SITE}"))


@breaks("the folder of the site has another name than the host")
def another_host(place: Place) -> Page:
	bench = place.bench(common={"default_site": None})
	nginx_page = place.behind_nginx(
		bench, right(bench).replace("proxy_set_header X-Frappe-Site-Name app.test;", "")
	)
	port = nginx_page.evaluate("location.port")
	page = place.window.new_page()
	page.goto(f'http://erp.test:{port}/desk.html?boot={{"sitename":"{APP_SITE}"}}')
	return page


@breaks("a proxy holds back answers to polling")
def held_back(place: Place) -> Page:
	bench = place.bench()
	proxy = Proxy(place.background, bench.sidecar.port, holds_polling=True)
	place.cleanup.callback(proxy.close)
	return place.at(bench, int(proxy.url.rpartition(":")[2]))


@breaks("the Desk has another port")
def desk_port(place: Place) -> Page:
	bench = place.bench()
	sign_in(place.window, bench, bench.user())
	nginx = place.behind_nginx(bench, "location /elsewhere {{ return 404; }}".format())
	port = nginx.evaluate("location.port")
	page = place.window.new_page()
	page.goto(
		f"http://{APP_SITE}:{port}/desk.html?dev_server=1&boot="
		f'{{"sitename":"{APP_SITE}","socketio_port":{free_port()}}}'
	)
	return page
