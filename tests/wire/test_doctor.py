"""`frappe-realtime doctor`: where the way of an event ends, and what to do."""

from __future__ import annotations

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest

from tests.wire.bench import APP_SITE, STOCK_SITE, Bench
from tests.wire.conftest import MakeBench
from tests.wire.doctor import run_doctor


@pytest.fixture
def bench(make_bench: MakeBench) -> Bench:
	"""A bench in which both sites have an address that is reached."""
	bench = make_bench(version=17)
	for site in (APP_SITE, STOCK_SITE):
		bench.write(f"sites/{site}/site_config.json", {"host_name": bench.sidecar.url})
	return bench


def test_all_is_well(bench: Bench) -> None:
	code, said = run_doctor(bench, "--site", APP_SITE)
	assert code == 0, said
	assert f"{APP_SITE}: an event arrives at a browser" in said
	assert "FAILED" not in said
	assert "Everything that could be checked works." in said


def test_a_site_without_the_app(bench: Bench) -> None:
	code, said = run_doctor(bench, "--site", STOCK_SITE)
	assert "the app is not installed" in said
	assert code in (0, 1)


def test_no_sidecar(bench: Bench) -> None:
	bench.sidecar.stop()
	code, said = run_doctor(bench)
	assert code == 1
	assert "nobody listens to the channel 'events'" in said
	assert f"nothing answers on port {bench.sidecar.port}" in said
	assert "frappe-realtime serve" in said


def test_no_redis(bench: Bench) -> None:
	bench.valkey.stop()
	code, said = run_doctor(bench)
	assert code == 1
	assert "FAILED  Redis at" in said
	bench.valkey.start()


def test_no_web_process(bench: Bench) -> None:
	bench.stop_web()
	code, said = run_doctor(bench)
	assert code == 1
	assert "does not reach the web process" in said
	assert "webserver_port" in said


def test_another_redis_than_the_sidecar_s(bench: Bench, make_bench: MakeBench) -> None:
	other = make_bench()
	bench.write_config(redis_queue=other.valkey.url)
	code, said = run_doctor(bench, "--site", APP_SITE)
	assert code == 1
	assert "was published, and did not arrive" in said


def test_a_site_that_is_not_there(bench: Bench) -> None:
	code, said = run_doctor(bench, "--site", "nowhere.test")
	assert code == 1
	assert f"it has: {APP_SITE}, {STOCK_SITE}" in said


def test_a_key_that_means_nothing(bench: Bench) -> None:
	bench.write_config(realtime_cache_second=1)
	assert "keys that mean nothing: realtime_cache_second" in run_doctor(bench)[1]


@pytest.fixture
def page() -> Iterator[str]:
	"""The address of a web server that knows no /socket.io/."""

	class Page(BaseHTTPRequestHandler):
		def do_GET(self) -> None:
			self.send_response(404)
			self.end_headers()

		def log_message(self, *args: object) -> None:
			pass

	server = HTTPServer(("127.0.0.1", 0), Page)
	thread = Thread(target=server.serve_forever)
	thread.start()
	yield f"http://127.0.0.1:{server.server_port}"
	server.shutdown()
	server.server_close()
	thread.join()


def test_something_else_on_the_port(bench: Bench, page: str) -> None:
	bench.write_config(socketio_port=int(page.rpartition(":")[2]))
	code, said = run_doctor(bench, "--site", APP_SITE)
	assert code == 1
	assert "is not this sidecar" in said


def test_a_proxy_that_does_not_pass_it_on(bench: Bench, page: str) -> None:
	bench.write(f"sites/{APP_SITE}/site_config.json", {"host_name": page})
	code, said = run_doctor(bench, "--site", APP_SITE)
	assert code == 1
	assert "answers HTTP 404 to /socket.io/" in said
	assert "bench setup nginx" in said
