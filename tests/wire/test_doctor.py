"""`frappe-realtime doctor`: what it checks, what it reports, and that it ends even if nothing answers."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

from frappe_realtime import __version__
from realtime.operations.public_checks import FORWARDED_FOR
from tests.wire.background import Background
from tests.wire.bench import APP_SITE, SITES, STOCK_SITE, Bench
from tests.wire.command import started_command
from tests.wire.conditions import PATIENCE, free_port, until
from tests.wire.conftest import MakeBench
from tests.wire.doctor import run_doctor
from tests.wire.proxy import Proxy
from tests.wire.sidecar import Sidecar
from tests.wire.test_process import listens


def give_addresses(bench: Bench) -> None:
	"""Give both sites an address that is reached."""
	for site in SITES:
		bench.write(f"sites/{site}/site_config.json", {"host_name": bench.sidecar.url})


@pytest.fixture(scope="module")
def shared(make_shared_bench: MakeBench) -> Bench:
	"""A bench for the tests that leave its processes and common_site_config.json alone."""
	return make_shared_bench(version=17)


@pytest.fixture
def bench(shared: Bench) -> Iterator[Bench]:
	"""The shared bench, in which both sites have an address that is reached."""
	give_addresses(shared)
	yield shared
	shutil.rmtree(shared.folder / "env", ignore_errors=True)
	shared.sidecar.check_log()


@pytest.fixture
def own_bench(make_bench: MakeBench) -> Bench:
	"""A bench for one test, in which both sites have an address that is reached."""
	bench = make_bench(version=17)
	give_addresses(bench)
	return bench


def test_all_is_well(bench: Bench) -> None:
	code, said = run_doctor(bench, "--site", APP_SITE)
	assert code == 0, said
	assert f"frappe-realtime {__version__}" in said
	assert f"the sidecar {__version__} runs on port" in said
	assert f"{APP_SITE}: an event arrives at a browser" in said
	assert f"{APP_SITE}: {bench.sidecar.url} passes on polling, upgrade, WebSocket" in said
	assert "FAILED" not in said
	assert "hides" not in said
	assert "Everything that could be checked works." in said


def test_a_site_without_the_app(bench: Bench) -> None:
	code, said = run_doctor(bench, "--site", STOCK_SITE)
	assert "the app is not installed" in said
	assert code == 1, "default_site hides it"


def test_another_redis_than_the_sidecar_s(own_bench: Bench, make_bench: MakeBench) -> None:
	bench = own_bench
	other = make_bench()
	bench.write_config(redis_queue=other.valkey.url)
	code, said = run_doctor(bench, "--site", APP_SITE)
	assert code == 1
	assert f"the sidecar uses the Redis at {bench.valkey.url}, and this bench {other.valkey.url}" in said


@contextmanager
def serving(body: str, status: int) -> Iterator[str]:
	"""Run a web server that answers every GET with `body`; gives its address."""

	class Page(BaseHTTPRequestHandler):
		def do_GET(self) -> None:
			self.send_response(status)
			self.end_headers()
			self.wfile.write(body.encode())

		def log_message(self, *args: object) -> None:
			pass

	server = HTTPServer(("127.0.0.1", 0), Page)
	thread = Thread(target=server.serve_forever)
	thread.start()
	try:
		yield f"http://127.0.0.1:{server.server_port}"
	finally:
		server.shutdown()
		server.server_close()
		thread.join()


@pytest.fixture
def page() -> Iterator[str]:
	"""The address of a web server that knows no /socket.io/."""
	with serving("", 404) as url:
		yield url


def test_something_else_on_the_port(own_bench: Bench, page: str) -> None:
	bench = own_bench
	bench.write_config(socketio_port=int(page.rpartition(":")[2]))
	code, said = run_doctor(bench, "--site", APP_SITE)
	assert code == 1
	assert f"the sidecar runs on port {bench.sidecar.port}" in said
	assert "another server answers there" in said
	bench.sidecar.stop()
	code, said = run_doctor(bench, "--site", APP_SITE)
	assert code == 1
	assert "is not this sidecar, and no Socket.IO server" in said


def test_a_proxy_that_does_not_pass_it_on(bench: Bench, page: str) -> None:
	bench.write(f"sites/{APP_SITE}/site_config.json", {"host_name": page})
	code, said = run_doctor(bench, "--site", APP_SITE)
	assert code == 1
	assert "answers HTTP 404 to /socket.io/" in said
	assert "bench setup nginx" in said


def test_a_proxy_that_drops_the_upgrade(bench: Bench, proxies: Callable[..., Proxy]) -> None:
	proxy = proxies(bench.sidecar.port, drop=("upgrade",))
	bench.write(f"sites/{APP_SITE}/site_config.json", {"host_name": proxy.url})
	code, said = run_doctor(bench, "--site", APP_SITE)
	assert code == 1
	assert f"{proxy.url} does not pass on upgrade and WebSocket" in said
	assert "drops the headers Upgrade and Connection" in said


def test_a_proxy_that_replaces_the_origin(bench: Bench, proxies: Callable[..., Proxy]) -> None:
	proxy = proxies(bench.sidecar.port, drop=("origin",))
	bench.write(f"sites/{APP_SITE}/site_config.json", {"host_name": proxy.url})
	code, said = run_doctor(bench, "--site", APP_SITE)
	assert code == 0, said
	assert (
		f"{proxy.url} passes on polling, upgrade, WebSocket, but hides the origin of the page and the address of the client"
		in said
	)


@pytest.mark.parametrize(
	("added", "hides"),
	[
		((f"X-Frappe-Site-Name: {APP_SITE}",), True),
		((), True),
		((f"X-Frappe-Site-Name: {APP_SITE}", "X-Forwarded-For: 127.0.0.1"), False),
		(("X-Real-IP: 127.0.0.1",), False),
	],
	ids=["bench's nginx", "no header", "X-Forwarded-For", "X-Real-IP"],
)
def test_a_proxy_that_names_no_address(
	bench: Bench, proxies: Callable[..., Proxy], added: tuple[str, ...], hides: bool
) -> None:
	proxy = proxies(bench.sidecar.port, add=added)
	bench.write(f"sites/{APP_SITE}/site_config.json", {"host_name": proxy.url})
	code, said = run_doctor(bench, "--site", APP_SITE)
	assert code == 0, said
	assert (
		f"{proxy.url} passes on polling, upgrade, WebSocket, but hides the address of the client" in said
	) is hides
	assert ("proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;" in said) is hides


NGINX = """
daemon off; pid {folder}/pid; error_log {folder}/error.log;
events {{ worker_connections 64; }}
http {{
	access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
	fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
	server {{
		listen 127.0.0.1:{port};
		location /socket.io {{
			proxy_http_version 1.1;
			proxy_set_header Upgrade $http_upgrade;
			proxy_set_header Connection "upgrade";
			proxy_set_header X-Frappe-Site-Name {site};
			proxy_set_header Origin $scheme://$http_host;
			proxy_set_header Host $host;
			{line}
			proxy_pass http://127.0.0.1:{target};
		}}
	}}
}}
"""
"""The location that `bench setup nginx` writes, and `line`."""


def accepts(port: int) -> bool:
	"""Return whether a TCP connection to the port is accepted."""
	with socket.socket() as probe:
		return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.skipif(shutil.which("nginx") is None, reason="there is no nginx")
def test_the_line_of_nginx_that_names_the_address(bench: Bench, tmp_path: Path) -> None:
	for line in ("", FORWARDED_FOR):
		port = free_port()
		configuration = tmp_path / "nginx.conf"
		configuration.write_text(
			NGINX.format(folder=tmp_path, port=port, site=APP_SITE, line=line, target=bench.sidecar.port)
		)
		bench.write(f"sites/{APP_SITE}/site_config.json", {"host_name": f"http://127.0.0.1:{port}"})
		with subprocess.Popen(
			["nginx", "-p", str(tmp_path), "-c", str(configuration)], stderr=subprocess.DEVNULL
		) as nginx:
			try:
				until(lambda port=port: accepts(port), "nginx listens")  # type: ignore[misc]
				code, said = run_doctor(bench, "--site", APP_SITE)
			finally:
				nginx.terminate()
		assert code == 0, said
		assert "hides the origin of the page" in said
		assert ("and the address of the client" in said) is not bool(line)
		assert (FORWARDED_FOR in said) is not bool(line)


@pytest.fixture
def proxies(background: Background) -> Iterator[Callable[..., Proxy]]:
	"""Start proxies, and close them after the test."""
	started: list[Proxy] = []

	def start(target: int, drop: tuple[str, ...] = (), add: tuple[str, ...] = ()) -> Proxy:
		started.append(Proxy(background, target, drop, add))
		return started[-1]

	yield start
	for proxy in started:
		proxy.close()


def test_only_the_configured_transports_are_tried(own_bench: Bench) -> None:
	bench = own_bench
	bench.write_config(realtime_transports=["websocket"])
	bench.sidecar.restart()
	bench.wait_until_subscribed()
	code, said = run_doctor(bench, "--site", APP_SITE)
	assert code == 0, said
	assert (
		f"{APP_SITE}: an event arrives at a browser on port {bench.sidecar.port} (socketio_port), by WebSocket\n"
		in said
	)


def test_a_unix_socket(own_bench: Bench, tmp_path: Path) -> None:
	bench = own_bench
	bench.sidecar.stop()
	path = tmp_path / "realtime.sock"
	bench.write_config(socketio_uds=str(path))
	bench.sidecar = Sidecar(bench.folder, tmp_path / "log", port=free_port())
	bench.sidecar.launch()
	until(lambda: listens(path), "the sidecar listens")
	bench.wait_until_subscribed()
	code, said = run_doctor(bench, "--site", APP_SITE)
	assert code == 0, said
	assert f"{APP_SITE}: an event arrives at a browser on the socket {path} (socketio_uds)" in said


def test_a_sidecar_of_another_version(own_bench: Bench) -> None:
	bench = own_bench
	healthy = {"redis": {"ok": True}, "web": {"ok": True}, "history": {"ok": True}}
	with serving(json.dumps({**healthy, "version": "0.0.1", "connections": 0}), 200) as url:
		bench.write_config(socketio_port=int(url.rpartition(":")[2]))
		_, said = run_doctor(bench, "--site", APP_SITE)
	assert f"has the version 0.0.1, installed is {__version__}" in said


def test_it_ends_if_nothing_answers(own_bench: Bench) -> None:
	"""Redis, the sidecar, the web process and the public addresses accept connections and do not answer."""
	bench = own_bench
	with socket.create_server(("127.0.0.1", 0)) as silent:
		bench.write(
			f"sites/{STOCK_SITE}/site_config.json",
			{"host_name": f"http://127.0.0.1:{silent.getsockname()[1]}"},
		)
		bench.web.fail(hang=True)
		frozen = bench.valkey.freeze()
		bench.sidecar.signal(signal.SIGSTOP)
		try:
			code, said = run_doctor(bench)
		finally:
			bench.valkey.thaw(frozen)
			bench.sidecar.signal(signal.SIGCONT)
			bench.web.heal()
	assert code == 1
	assert "FAILED  Redis at" in said
	assert "nothing answers on port" in said
	assert said.count("cannot be reached from here") == 2


def test_a_pipe_that_nobody_reads_is_no_error_of_python(bench: Bench) -> None:
	"""As in `frappe-realtime doctor | head -n 1`."""
	with started_command("doctor", "--bench", str(bench.folder), "--site", APP_SITE) as (
		process,
		output,
		errors,
	):
		output.close()
		assert process.wait(PATIENCE) == 1
		assert errors.read() == b""


def test_it_ends_if_the_web_process_does_not_answer(own_bench: Bench) -> None:
	bench = own_bench
	bench.web.fail(hang=True)
	try:
		code, said = run_doctor(bench)
	finally:
		bench.web.heal()
	assert code == 1
	assert "FAILED  the web process does not answer at" in said
	assert "no answer within 5 s" in said
	assert f"{APP_SITE}: no client was connected, because the web process does not answer" in said


def environment_of(bench: Bench, script: str) -> None:
	"""Put a script in the place of the Python of the bench's environment."""
	python = bench.folder / "env" / "bin" / "python"
	python.parent.mkdir(parents=True)
	python.write_text(f"#!/bin/sh\n{script}\n")
	python.chmod(0o755)


def test_a_session_is_made_used_and_ended(bench: Bench) -> None:
	sid = bench.site().login(bench.user().name)
	asked, ended = bench.folder / "asked", bench.folder / "ended"
	environment_of(bench, f'echo "$@" > {asked}; echo {sid}; cat > /dev/null; touch {ended}')
	code, said = run_doctor(bench, "--site", APP_SITE)
	assert code == 0, said
	assert f"{APP_SITE}: an event arrives at a browser with a session of Administrator" in said
	assert asked.read_text().split() == ["-m", "frappe_realtime.bench.session", APP_SITE]
	assert ended.exists()
	assert sid not in said


def test_a_session_that_cannot_be_made_is_left_out(bench: Bench) -> None:
	environment_of(bench, "echo Traceback >&2; echo 'OperationalError: no database' >&2; exit 1")
	code, said = run_doctor(bench, "--site", APP_SITE)
	assert code == 0, said
	assert f"{APP_SITE}: no client with a session was connected: OperationalError: no database" in said
