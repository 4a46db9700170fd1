"""What a page finds behind nginx: a proxy or server in which one thing is wrong, or one that works."""

from __future__ import annotations

import copy
import socket
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import OpenPage
from tests.browser.diagnosis.diagnosing import (
	MANAGER,
	SIGN,
	TIMEOUT,
	WITHOUT_UPGRADE,
	OpenAt,
	StartNginx,
	changed,
	diagnose,
	needs_nginx,
	read_details,
	step,
)
from tests.browser.driving import start, wait_for_status
from tests.browser.nginx import SOCKETIO
from tests.wire.bench import APP_SITE, Bench
from tests.wire.conditions import accepts, free_port, until
from tests.wire.conftest import Connect, MakeBench
from tests.wire.sidecar import ROOT, environment

CAUSES = {
	"no_socketio_path": ("polling", 404, "location /other {{ return 200 port{port}; }}"),
	"bad_gateway": ("polling", 502, changed("{port}", "{free_port}")),
	"gateway_timeout": (
		"polling",
		504,
		changed("{port}", "{silent_port}").replace(
			"proxy_http_version", "proxy_read_timeout 1s; proxy_http_version"
		),
	),
	"other_http_server": (
		"polling",
		200,
		'location /socket.io {{ return 200 "<html>Welcome, {port}</html>"; }}',
	),
	"redirected": ("polling", 0, "location /socket.io {{ return 302 http://127.0.0.1:{free_port}/; }}"),
	"http_error": ("polling", 401, "location /socket.io {{ return 401 port{port}; }}"),
	"other_socketio_server": ("connect", 0, changed("{port}", "{other_port}")),
	"origin_not_allowed": ("connect", 0, changed("$http_origin", "https://elsewhere.test")),
	"site_not_served": ("connect", 0, changed("Site-Name app.test", "Site-Name other.test")),
	"no_credential": ("connect", 0, changed("proxy_pass", 'proxy_set_header Cookie ""; proxy_pass')),
	"address_not_allowed": ("connect", 0, SOCKETIO),
	"too_many_connections": ("polling", 429, changed("$remote_addr", "198.51.100.7")),
}
"""By code: the step that fails, the HTTP status that the page can read, and the locations of nginx."""


@pytest.fixture(scope="module")
def other_server() -> Iterator[int]:
	"""The port of a Socket.IO server that knows no sites, and whose refusals have no code."""
	port = free_port()
	command = [sys.executable, str(ROOT / "tests" / "protocol_server.py"), "--port", str(port)]
	# Not the short timeouts of the protocol's test suites, which end sessions on a slow machine.
	command += ["--ping-interval", "25"]
	process = subprocess.Popen(command, cwd=ROOT, env=environment(), stdout=subprocess.DEVNULL)
	until(lambda: accepts(port), "the other server listens")
	yield port
	process.terminate()
	process.wait()


@pytest.fixture
def silent_server() -> Iterator[int]:
	"""The port of a server that accepts connections and never answers."""
	with socket.create_server(("127.0.0.1", 0), backlog=100) as server:
		yield server.getsockname()[1]


@needs_nginx
@pytest.mark.parametrize("code", CAUSES)
def test_a_cause_behind_nginx(
	code: str,
	bench: Bench,
	make_bench: MakeBench,
	connect: Connect,
	start_nginx: StartNginx,
	open_at: OpenAt,
	other_server: int,
	silent_server: int,
) -> None:
	failing, status, locations = CAUSES[code]
	if code == "too_many_connections":
		bench = make_bench(common={"realtime_connections_per_address": 1})
		connect(bench, headers={"X-Forwarded-For": "198.51.100.7"})
	nginx = start_nginx(
		locations.format(
			port=bench.sidecar.port, free_port=free_port(), other_port=other_server, silent_port=silent_server
		)
	)
	if code == "address_not_allowed":
		page = open_restricted(bench, open_at, nginx.port)
	else:
		page = open_at(bench, nginx.port, user=MANAGER)

	found = diagnose(page)
	assert (found["ok"], found["code"]) == (False, code)
	assert found["page"] == f"http://{APP_SITE}:{nginx.port}"
	assert found["site"] == APP_SITE
	failed = step(found, failing)
	assert failed["ok"] is False
	assert failed["code"] == code
	assert failed["advice"]
	assert failed["reason"]
	assert failed["status"] == (status or None)
	assert failed["address"] == f"http://{APP_SITE}:{nginx.port}/socket.io/?EIO=4&transport=polling"
	assert step(found, "polling")["ok"] is (failing == "connect")

	expect(page.get_by_role("status").first).to_be_attached()
	expect(page.locator(SIGN)).to_contain_text("Live updates are paused", timeout=TIMEOUT)
	text = read_details(page)
	assert code in text
	assert failed["advice"] in text
	assert failed["address"] in text
	if status:
		assert f"HTTP {status}" in text


def open_restricted(bench: Bench, open_at: OpenAt, port: int) -> Page:
	"""Open a page as a user who may connect from another address only."""
	visited = copy.copy(bench)

	def restricted() -> Any:
		user = bench.user()
		user.restrict_ip = ("203.0.113.",)
		return user

	visited.user = restricted  # type: ignore[method-assign, assignment]
	return open_at(visited, port, user=MANAGER)


@needs_nginx
def test_an_origin_that_the_proxy_replaces(bench: Bench, start_nginx: StartNginx, open_at: OpenAt) -> None:
	locations = changed("$http_origin", "https://elsewhere.test").format(port=bench.sidecar.port)
	page = open_at(bench, start_nginx(locations).port, user=MANAGER)
	found = diagnose(page)
	assert "elsewhere.test" in found["reason"]
	assert "The proxy replaces the header Origin" in found["advice"]


@needs_nginx
def test_a_blocked_websocket_beside_polling_that_works(
	bench: Bench, start_nginx: StartNginx, open_at: OpenAt
) -> None:
	nginx = start_nginx(WITHOUT_UPGRADE.format(port=bench.sidecar.port))
	page = open_at(bench, nginx.port, user=MANAGER)
	wait_for_status(page, "connected")
	found = diagnose(page)
	assert (found["ok"], found["code"]) == (True, "websocket_blocked")
	assert "Upgrade" in found["advice"]
	assert [one["ok"] for one in found["steps"]] == [True, False, True]
	expect(page.locator(SIGN)).to_be_hidden()


@needs_nginx
def test_a_blocked_websocket_of_a_page_that_uses_nothing_else(
	bench: Bench, start_nginx: StartNginx, open_at: OpenAt
) -> None:
	nginx = start_nginx(WITHOUT_UPGRADE.format(port=bench.sidecar.port))
	page = open_at(bench, nginx.port, user=MANAGER, realtime_websocket_only=1)
	text = read_details(page)
	assert "websocket_blocked" in text
	found = diagnose(page)
	assert (found["ok"], found["code"]) == (False, "websocket_blocked")


@needs_nginx
def test_a_connection_that_works(bench: Bench, start_nginx: StartNginx, open_at: OpenAt) -> None:
	nginx = start_nginx(SOCKETIO.format(port=bench.sidecar.port))
	page = open_at(bench, nginx.port, user=MANAGER)
	wait_for_status(page, "connected")
	found = diagnose(page)
	assert found["ok"] is True
	assert (found["code"], found["status"], found["advice"]) == ("working", "connected", "")
	assert [one["ok"] for one in found["steps"]] == [True, True, True]
	assert step(found, "polling")["status"] == 200
	assert "with connection state recovery" in step(found, "connect")["reason"]


def test_a_certificate_that_the_browser_does_not_accept(
	bench: Bench, start_nginx: StartNginx, open_portal: OpenPage
) -> None:
	nginx = start_nginx(SOCKETIO.format(port=bench.sidecar.port))
	page = open_portal(bench, bench.user())
	start(page, url=f"https://{APP_SITE}:{nginx.tls_port}", site=APP_SITE)
	found = diagnose(page)
	assert (found["ok"], found["code"]) == (False, "certificate_or_unreachable")
	assert step(found, "websocket")["code"] == "certificate_or_unreachable"
	assert step(found, "connect")["reason"] == "neither transport works"
