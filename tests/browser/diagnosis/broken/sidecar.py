"""Benches whose sidecar or files are broken."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest
from playwright.sync_api import Page

from tests.browser.conftest import sign_in
from tests.browser.diagnosis.broken.place import Breaks, Place, right
from tests.wire import nodejs
from tests.wire.apps import install, write_handlers
from tests.wire.bench import APP_SITE, STOCK_SITE, Bench
from tests.wire.conditions import accepts, free_port, until
from tests.wire.sidecar import Sidecar, copy_older
from tests.wire.test_doctor_sidecar import SOCKET_IO

breaks = Breaks()

NODE_SERVER = """
const server = require("http").createServer();
new (require("socket.io").Server)(server, { cors: { origin: true, credentials: true } }).of(/^\\/.*$/);
server.listen(Number(process.argv[1]), "127.0.0.1");
"""
"""As Frappe's Node server, it accepts each site as a namespace."""


# -- the sidecar


def with_command(bench: Bench, command: tuple[str, ...]) -> Bench:
	"""Start a bench whose sidecar is run by a command."""
	bench.sidecar = Sidecar(bench.folder, bench.sidecar.log_path, port=bench.sidecar.port, command=command)
	return bench.start()


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
	bench.sidecar.cwd = copy_older(bench.folder.parent / "older")
	return place.page(bench.start())


@breaks("the sidecar may have too few open files")
def few_descriptors(place: Place) -> Page:
	if shutil.which("prlimit") is None:
		pytest.skip("there is no prlimit")
	limited = ("prlimit", "--nofile=200:200", sys.executable, "-m", "realtime")
	return place.page(with_command(place.bench(start=False), limited))


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
	bench = place.bench(start=False)
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
	return place.page(with_command(bench, unprivileged))


@breaks("`default_site` hides another site")
def hidden_site(place: Place) -> Page:
	bench = place.shared()
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
