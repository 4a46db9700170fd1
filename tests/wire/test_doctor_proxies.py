"""Proxies that are broken on purpose: the doctor names what the proxy does, and the command that mends it.

nginx is a real one; `bench setup nginx` is the right configuration of these tests.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.wire.background import Background
from tests.wire.bench import APP_SITE, SITES, STOCK_SITE, Bench
from tests.wire.conditions import free_port
from tests.wire.conftest import MakeBench
from tests.wire.doctor import ON_APP_SITE, Action, cure, diagnose, is_well, set_site_key
from tests.wire.nginx import NGINX, Nginx
from tests.wire.proxy import Proxy

LOCATION = "the location /socket.io of the proxy"
SETUP_NGINX = "bench setup nginx --yes && sudo nginx -s reload"

needs_nginx = pytest.mark.skipif(NGINX is None, reason="there is no nginx")


@pytest.fixture(scope="module")
def shared(make_shared_bench: MakeBench) -> Bench:
	"""A bench for the tests that change only its proxies and the files of its sites."""
	return make_shared_bench(version=17)


@pytest.fixture
def bench(shared: Bench) -> Iterator[Bench]:
	"""The shared bench; its files are as before afterwards."""
	files = [shared.folder / "sites" / site / "site_config.json" for site in SITES]
	before = [file.read_text() for file in files]
	yield shared
	for file, text in zip(files, before, strict=True):
		file.write_text(text)
	shutil.rmtree(shared.folder / "config", ignore_errors=True)
	shared.sidecar.check_log()


@contextmanager
def nginx_before(bench: Bench, folder: Path) -> Iterator[Nginx]:
	"""Start a right nginx, which is the public address of both sites."""
	one = Nginx(folder, bench.sidecar.port, APP_SITE)
	try:
		for site in SITES:
			set_site_key(bench, site, "host_name", one.url)
		yield one
	finally:
		one.close()


@pytest.fixture
def nginx(bench: Bench, tmp_path: Path) -> Iterator[Nginx]:
	"""A right nginx before the shared bench."""
	with nginx_before(bench, tmp_path) as one:
		yield one


def setup_nginx(nginx: Nginx) -> dict[str, Action]:
	"""Return what stands for the commands that write the configuration of nginx and load it."""
	return {"bench setup nginx": nginx.write, "sudo nginx -s reload": nginx.reload}


@needs_nginx
def test_a_right_nginx(bench: Bench, nginx: Nginx) -> None:
	is_well(bench, *ON_APP_SITE)


@needs_nginx
def test_nginx_may_buffer(bench: Bench, nginx: Nginx) -> None:
	"""The sidecar's answers are complete, so that nothing waits in the buffers of nginx."""
	nginx.write(
		more="proxy_buffering on; proxy_buffers 8 1m; proxy_buffer_size 1m; proxy_busy_buffers_size 2m;"
	)
	nginx.reload()
	is_well(bench, *ON_APP_SITE)


@needs_nginx
@pytest.mark.parametrize(
	("row", "broken", "what", "where"),
	[
		(
			"without Upgrade",
			{"upgrade": ""},
			"does not pass on upgrade and WebSocket",
			f"proxy_set_header Upgrade and Connection in {LOCATION}",
		),
		(
			"with another Origin",
			{"origin": "proxy_set_header Origin https://wrong.test;"},
			"the proxy replaces the page's Origin by that of wrong.test",
			f"proxy_set_header Origin in {LOCATION}",
		),
		(
			"without /socket.io",
			{"location": "/elsewhere"},
			"answers HTTP 404 to /socket.io/",
			f"{LOCATION}, which is missing or leads elsewhere",
		),
		(
			"with another site",
			{"site": "other.test"},
			"the proxy names 'other.test' instead of the site",
			f"X-Frappe-Site-Name in {LOCATION}",
		),
	],
	ids=["without Upgrade", "another Origin", "without /socket.io", "another site"],
)
def test_a_broken_nginx(
	bench: Bench, nginx: Nginx, row: str, broken: dict[str, str], what: str, where: str
) -> None:
	nginx.write(**broken)  # type: ignore[arg-type]
	nginx.reload()
	cause = diagnose(bench, *ON_APP_SITE, row=f"nginx {row}")
	assert f"{APP_SITE}: " in cause.what
	assert nginx.url in cause.what
	assert what in cause.what
	assert (cause.where, cause.command) == (where, SETUP_NGINX)
	cure(bench, cause.command, setup_nginx(nginx))
	is_well(bench, *ON_APP_SITE)


@needs_nginx
def test_nginx_passes_to_an_old_port(bench: Bench, nginx: Nginx) -> None:
	nginx.write(target=free_port())
	nginx.reload()
	cause = diagnose(bench, *ON_APP_SITE, row="nginx passes to an old port")
	assert f"{nginx.url} answers HTTP 502 to /socket.io/" in cause.what
	assert f"the sidecar listens on port {bench.sidecar.port}" in cause.what
	assert (cause.where, cause.command) == (f"proxy_pass in {LOCATION}", SETUP_NGINX)
	cure(bench, cause.command, setup_nginx(nginx))
	is_well(bench, *ON_APP_SITE)


@needs_nginx
def test_nginx_passes_to_a_web_process(bench: Bench, nginx: Nginx) -> None:
	nginx.write(target=bench.web_port)
	nginx.reload()
	cause = diagnose(bench, *ON_APP_SITE, row="nginx passes to the web process")
	assert "and not as a realtime server does" in cause.what
	assert cause.command == SETUP_NGINX
	cure(bench, cause.command, setup_nginx(nginx))
	is_well(bench, *ON_APP_SITE)


@needs_nginx
def test_the_configuration_of_nginx_has_another_port(bench: Bench, nginx: Nginx) -> None:
	"""The file of the bench is read, so that the two ports are in the line, and the answer 502 is a consequence."""
	configuration = bench.folder / "config" / "nginx.conf"
	configuration.parent.mkdir()
	configuration.symlink_to(nginx.configuration)
	old = free_port()
	nginx.write(target=old)
	nginx.reload()
	cause = diagnose(bench, *ON_APP_SITE, row="nginx has another port in its file")
	assert cause.what == f"nginx passes /socket.io to port {old}, and socketio_port is {bench.sidecar.port}"
	assert f"the upstream of /socket.io in {configuration}; socketio_port in " in cause.where
	assert cause.command == SETUP_NGINX
	cure(bench, cause.command, setup_nginx(nginx))
	is_well(bench, *ON_APP_SITE)


@needs_nginx
def test_the_proxy_names_the_default_site_for_all_hosts(bench: Bench, nginx: Nginx) -> None:
	set_site_key(bench, STOCK_SITE, "host_name", f"http://127.0.0.2:{nginx.port}")
	cause = diagnose(bench, "--site", STOCK_SITE, row="nginx names `default_site` for all hosts")
	assert f"the proxy names default_site {APP_SITE} for all hosts" in cause.what
	assert cause.where.startswith(f"X-Frappe-Site-Name in {LOCATION}; default_site in ")
	assert cause.command == f"bench config dns_multitenant on && {SETUP_NGINX}"
	actions: dict[str, Action] = {
		"bench config dns_multitenant on": lambda: None,
		"bench setup nginx": lambda: nginx.write(site=STOCK_SITE),
		"sudo nginx -s reload": nginx.reload,
	}
	cure(bench, cause.command, actions)
	is_well(bench, "--site", STOCK_SITE)


@needs_nginx
def test_a_site_folder_is_not_named_as_the_host(make_bench: MakeBench, tmp_path: Path) -> None:
	"""The proxy names no site, so the host must be the name of a site or its `host_name`."""
	bench = make_bench(version=17, start=False)
	with nginx_before(bench, tmp_path) as nginx:
		configuration = bench.folder / "config" / "nginx.conf"
		configuration.parent.mkdir()
		configuration.symlink_to(nginx.configuration)
		bench.write_config(default_site=None)
		bench.write(f"sites/{APP_SITE}/site_config.json", {"db_name": "app"})
		bench.start()
		nginx.write(site="$host", names="erp.example.com")
		nginx.reload()
		cause = diagnose(bench, *ON_APP_SITE, row="the folder of the site has another name than the host")
		assert "nginx serves the host erp.example.com and names no site for it" in cause.what
		assert cause.where == f"host_name in {bench.folder / 'sites' / APP_SITE / 'site_config.json'}"
		assert (
			cause.command
			== f"bench --site {APP_SITE} set-config host_name http://erp.example.com:{nginx.port}"
		)
		cure(bench, cause.command)
		is_well(bench, *ON_APP_SITE)


# -- other proxies


@pytest.fixture
def proxies(background: Background) -> Iterator[Callable[..., Proxy]]:
	"""Start proxies, and close them after the test."""
	started: list[Proxy] = []

	def start(target: int, **options: object) -> Proxy:
		started.append(Proxy(background, target, **options))  # type: ignore[arg-type]
		return started[-1]

	yield start
	for proxy in started:
		proxy.close()


def test_a_proxy_that_holds_back_answers_to_polling(bench: Bench, proxies: Callable[..., Proxy]) -> None:
	proxy = proxies(bench.sidecar.port, holds_polling=True)
	set_site_key(bench, APP_SITE, "host_name", proxy.url)
	cause = diagnose(bench, *ON_APP_SITE, row="a proxy holds back answers to polling")
	assert f"{proxy.url} does not pass on polling" in cause.what
	assert "the proxy holds back the answers to polling requests" in cause.what
	assert cause.where == f"proxy_buffering in {LOCATION}"
	assert cause.command == SETUP_NGINX
	right = proxies(bench.sidecar.port, add=("X-Real-IP: 127.0.0.1",))
	set_site_key(bench, APP_SITE, "host_name", right.url)
	is_well(bench, *ON_APP_SITE)
