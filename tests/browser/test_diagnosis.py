"""The browser says why its connection fails: the sign in the Desk, its details for System Managers, and `diagnose()`."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from playwright.sync_api import BrowserContext, Page, Route, expect

from tests.browser.conftest import OpenPage, hand_out, sign_in
from tests.browser.driving import IMPORT, start, wait_for_status
from tests.browser.nginx import COMMAND, SOCKETIO, Nginx
from tests.wire.bench import APP_SITE, Bench
from tests.wire.conditions import accepts, free_port, until
from tests.wire.conftest import Connect, MakeBench
from tests.wire.sidecar import ROOT, environment

SIGN = ".realtime-status"
MANAGER = {"roles": ["System Manager", "All"]}
TIMEOUT = 45_000
"""Milliseconds: the sign waits, and so does a client whose requests get no answer."""

needs_nginx = pytest.mark.skipif(not os.path.exists(COMMAND), reason="no nginx")

StartNginx = Callable[[str], Nginx]
OpenAt = Callable[..., Page]


@pytest.fixture
def start_nginx(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartNginx]:
	"""Start nginx with locations."""
	started = []

	def start_nginx(locations: str) -> Nginx:
		started.append(Nginx(tmp_path_factory.mktemp("nginx"), locations))
		return started[-1]

	yield start_nginx
	for one in started:
		one.close()


@pytest.fixture
def open_at(window: BrowserContext) -> OpenAt:
	"""Open a page like the Desk's on a port: `open_at(bench, port, user={"roles": [...]}, **boot)`."""

	def open_at(bench: Bench, port: int, **boot: Any) -> Page:
		sign_in(window, bench, bench.user())
		query = urlencode({"boot": json.dumps({"sitename": APP_SITE, **boot})})
		page = window.new_page()
		page.goto(f"http://{APP_SITE}:{port}/desk.html?{query}")
		return page

	return open_at


def diagnose(page: Page) -> dict[str, Any]:
	"""Return what `diagnose()` of the page's client finds."""
	found: dict[str, Any] = page.evaluate("(window.realtime ?? frappe.realtime).diagnose()")
	assert re.fullmatch(r"docs/troubleshooting\.md#[a-z_]+", found["docs"])
	assert [step["step"] for step in found["steps"]] in (["polling", "websocket", "connect"], [])
	return found


def step(found: dict[str, Any], name: str) -> dict[str, Any]:
	"""Return a step of a diagnosis."""
	(one,) = [one for one in found["steps"] if one["step"] == name]
	return dict(one)


def read_details(page: Page) -> str:
	"""Open the details of the sign with the keyboard, and return their text once the diagnosis is there."""
	button = page.get_by_role("button", name="Details")
	expect(button).to_be_visible(timeout=TIMEOUT)
	expect(button).to_have_attribute("aria-expanded", "false")
	button.focus()
	page.keyboard.press("Enter")
	panel = page.get_by_role("region", name="Realtime diagnosis")
	expect(panel).to_be_visible()
	expect(panel).to_be_focused()
	expect(button).to_have_attribute("aria-expanded", "true")
	expect(panel).to_have_attribute("aria-busy", "false", timeout=TIMEOUT)
	return panel.inner_text()


def changed(old: str, new: str) -> str:
	"""Return the location that works with one line changed."""
	assert old in SOCKETIO
	return SOCKETIO.replace(old, new)


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


@pytest.fixture
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
	make_bench: MakeBench,
	connect: Connect,
	start_nginx: StartNginx,
	open_at: OpenAt,
	other_server: int,
	silent_server: int,
) -> None:
	failing, status, locations = CAUSES[code]
	common = {"realtime_connections_per_address": 1} if code == "too_many_connections" else {}
	bench = make_bench(common=common)
	if common:
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
	make_user = bench.user

	def restricted() -> Any:
		user = make_user()
		user.restrict_ip = ("203.0.113.",)
		return user

	bench.user = restricted  # type: ignore[method-assign, assignment]
	return open_at(bench, port, user=MANAGER)


@needs_nginx
def test_an_origin_that_the_proxy_replaces(bench: Bench, start_nginx: StartNginx, open_at: OpenAt) -> None:
	locations = changed("$http_origin", "https://elsewhere.test").format(port=bench.sidecar.port)
	page = open_at(bench, start_nginx(locations).port, user=MANAGER)
	found = diagnose(page)
	assert "elsewhere.test" in found["reason"]
	assert "The proxy replaces the header Origin" in found["advice"]


WITHOUT_UPGRADE = changed("proxy_set_header Upgrade $http_upgrade;", "").replace('"upgrade"', '""')


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


def test_a_diagnosis_leaves_no_connection(make_bench: MakeBench, open_desk: OpenPage) -> None:
	bench = make_bench()
	page = open_desk(bench, bench.user())
	wait_for_status(page, "connected")
	until(lambda: bench.sidecar.health()[1]["connections"] == 1, "the page's connection")
	assert diagnose(page)["ok"]
	until(lambda: bench.sidecar.health()[1]["connections"] == 1, "the page's connection")


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


def test_mixed_content(bench: Bench, window: BrowserContext) -> None:
	window.route(
		re.compile(r"^https://"), lambda route: route.fulfill(body="<html></html>", content_type="text/html")
	)
	page = window.new_page()
	page.goto(f"https://{APP_SITE}/")
	window.route(re.compile(r"^https://.*/assets/"), hand_out)
	start(page, url=f"http://{APP_SITE}:{bench.sidecar.port}", site=APP_SITE)
	found = diagnose(page)
	assert (found["ok"], found["code"]) == (False, "mixed_content")


def test_offline(make_bench: MakeBench, open_desk: OpenPage, window: BrowserContext) -> None:
	bench = make_bench()
	page = open_desk(bench, bench.user(), user=MANAGER)
	wait_for_status(page, "connected")
	window.set_offline(True)
	bench.sidecar.kill()
	assert "offline" in read_details(page)
	found = diagnose(page)
	assert (found["ok"], found["code"]) == (False, "offline")
	assert step(found, "websocket")["code"] == "offline"


def test_a_sidecar_that_does_not_run(make_bench: MakeBench, open_desk: OpenPage) -> None:
	bench = make_bench()
	page = open_desk(bench, bench.user(), user=MANAGER)
	wait_for_status(page, "connected")
	bench.sidecar.kill()
	assert "unreachable" in read_details(page)
	bench.sidecar.start()
	expect(page.get_by_role("status").last).to_have_text("Live updates work again", timeout=TIMEOUT)
	expect(page.get_by_role("region", name="Realtime diagnosis")).to_be_visible()
	page.keyboard.press("Tab")
	expect(page.get_by_role("button", name="Check again")).to_be_focused()
	page.keyboard.press("Enter")
	expect(page.get_by_role("region", name="Realtime diagnosis")).to_contain_text("The connection works.")
	page.keyboard.press("Escape")
	expect(page.locator(SIGN)).to_be_hidden()


def test_a_web_process_that_is_away(make_bench: MakeBench, open_desk: OpenPage) -> None:
	bench = make_bench()
	bench.stop_web()
	page = open_desk(bench, "Guest", user=MANAGER)
	expect(page.locator(SIGN)).to_contain_text("Waiting for live updates", timeout=TIMEOUT)
	text = read_details(page)
	assert "connect_not_answered" in text
	assert step(diagnose(page), "polling")["ok"]
	assert "webserver_port" in text


def test_a_user_sees_no_technical_details(make_bench: MakeBench, open_desk: OpenPage) -> None:
	bench = make_bench()
	page = open_desk(bench, bench.user(), user={"roles": ["All", "Desk User"]})
	wait_for_status(page, "connected")
	bench.sidecar.kill()
	expect(page.locator(SIGN)).to_contain_text("Live updates are paused", timeout=TIMEOUT)
	assert page.locator(SIGN).inner_text().strip() == "Live updates are paused, reconnecting…"
	expect(page.get_by_role("button")).to_have_count(0)
	expect(page.get_by_role("region")).to_have_count(0)


OPEN_PACKET = '0{"sid":"s","upgrades":[],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}'
MARKUP = '<img src=x onerror="window.broken = true">'


def answer_with(page: Page, answers: Callable[[Route], dict[str, Any]]) -> None:
	"""Answer the polling requests of a page in the place of a server."""
	page.route(re.compile(r"/socket\.io/"), lambda route: route.fulfill(**answers(route)))


def refuse_with(data: Any, message: str = "No") -> Callable[[Route], dict[str, Any]]:
	"""Return the answers of a server that refuses every CONNECT."""

	def answers(route: Route) -> dict[str, Any]:
		if route.request.method == "POST":
			return {"body": "ok", "content_type": "text/html"}
		if "sid=" not in route.request.url:
			return {"body": OPEN_PACKET, "content_type": "text/plain"}
		packet = json.dumps({"message": message, "data": data})
		return {"body": f"44/{APP_SITE},{packet}", "content_type": "text/plain"}

	return answers


@pytest.mark.parametrize(
	"data", [{"code": "login_rejected", "reason": MARKUP}, {"code": MARKUP, "reason": MARKUP}]
)
def test_what_a_server_sends_is_no_markup(data: Any, bench: Bench, open_desk: OpenPage) -> None:
	page = open_desk(bench, bench.user(), user=MANAGER)
	wait_for_status(page, "connected")
	answer_with(page, refuse_with(data, MARKUP))
	page.evaluate("frappe.realtime.socket.disconnect()")
	page.evaluate("frappe.realtime.socket.connect()")
	text = read_details(page)
	assert MARKUP in text
	assert page.locator(f"{SIGN} img").count() == 0
	assert page.evaluate("window.broken") is None


@pytest.mark.parametrize(
	("data", "code"),
	[
		(None, "other_socketio_server"),
		("text", "other_socketio_server"),
		({"code": "toString", "reason": "r"}, "other_socketio_server"),
		({"code": "login_rejected", "reason": "r"}, "login_rejected"),
		({"code": "secret_rejected", "reason": {"nested": 1}}, "secret_rejected"),
	],
)
def test_the_data_of_a_refusal(data: Any, code: str, bench: Bench, open_desk: OpenPage) -> None:
	page = open_desk(bench, bench.user())
	wait_for_status(page, "connected")
	answer_with(page, refuse_with(data))
	found = diagnose(page)
	assert (found["ok"], found["code"]) == (False, code)
	assert step(found, "connect")["status"] is None


@pytest.mark.parametrize(
	("status", "body", "code"),
	[
		(400, '{"code":0,"message":"Transport unknown"}', "unknown_transport"),
		(400, '{"code":5,"message":"Unsupported protocol version"}', "unsupported_protocol_version"),
		(403, '{"code":4,"message":"Forbidden"}', "forbidden"),
		(400, '{"code":99,"message":"New"}', "http_error"),
		(503, '{"code":3,"message":"Bad request"}', "server_stopping"),
		(503, "<html>Service Unavailable</html>", "bad_gateway"),
		(200, "404 not found", "other_http_server"),
	],
)
def test_an_http_response(status: int, body: str, code: str, bench: Bench, open_desk: OpenPage) -> None:
	page = open_desk(bench, bench.user())
	wait_for_status(page, "connected")
	answer_with(page, lambda route: {"status": status, "body": body})
	found = diagnose(page)
	assert (found["code"], step(found, "polling")["status"]) == (code, status)


def test_requests_that_reach_different_servers(bench: Bench, open_desk: OpenPage) -> None:
	page = open_desk(bench, bench.user())
	wait_for_status(page, "connected")

	def answers(route: Route) -> dict[str, Any]:
		if "sid=" in route.request.url:
			return {"status": 400, "body": '{"code":1,"message":"Session ID unknown"}'}
		return {"body": OPEN_PACKET}

	answer_with(page, answers)
	found = diagnose(page)
	assert found["code"] == "unknown_sid"
	assert (step(found, "connect")["status"], step(found, "connect")["code"]) == (400, "unknown_sid")


def test_a_policy_of_the_page(bench: Bench, open_portal: OpenPage) -> None:
	page = open_portal(bench, bench.user())
	page.evaluate(
		"""() => {
			const policy = document.createElement("meta");
			policy.httpEquiv = "Content-Security-Policy";
			policy.content = "connect-src 'none'";
			document.head.append(policy);
		}"""
	)
	start(page)
	found = diagnose(page)
	assert found["code"] == "blocked_by_policy"
	assert "connect-src" in found["reason"]


def test_a_server_that_does_not_let_the_page_read(bench: Bench, open_portal: OpenPage) -> None:
	page = open_portal(bench, bench.user())
	# The stand-in for the web process answers without the headers of CORS.
	start(page, url=f"http://{APP_SITE}:{bench.web_port}", site=APP_SITE)
	assert diagnose(page)["code"] == "blocked_by_cors"


def test_a_token_is_used_and_not_shown(bench: Bench, open_portal: OpenPage) -> None:
	page = open_portal(bench)
	token = bench.site().authorization(bench.user().name).split(" ")[1]
	page.evaluate(
		f"""async (token) => {{
			{IMPORT};
			const auth = (send) => send({{ token }});
			window.realtime = await client.connect({{ auth, query: {{ secret: token }} }});
		}}""",
		token,
	)
	wait_for_status(page, "connected")
	found = diagnose(page)
	assert found["code"] == "working"
	assert token not in json.dumps(found)


def test_a_server_without_polling(make_bench: MakeBench, open_desk: OpenPage) -> None:
	bench = make_bench(common={"realtime_transports": ["websocket"]})
	page = open_desk(bench, bench.user())
	found = diagnose(page)
	assert (found["ok"], found["code"]) == (False, "unknown_transport")
	assert "realtime_websocket_only" in found["advice"]
	assert [one["ok"] for one in found["steps"]] == [False, True, True]


def test_a_page_without_the_app(bench: Bench, open_desk: OpenPage) -> None:
	page = open_desk(bench, bench.user())
	wait_for_status(page, "connected")
	found = page.evaluate(
		"""async () => {
			const { diagnose } = await import("/assets/frappe_realtime/js/diagnosis.js");
			return diagnose(frappe.realtime.socket);
		}"""
	)
	assert (found["ok"], found["code"], found["status"]) == (True, "working", "")


def test_the_result_can_be_copied(make_bench: MakeBench, open_desk: OpenPage) -> None:
	bench = make_bench()
	page = open_desk(bench, bench.user(), user=MANAGER)
	wait_for_status(page, "connected")
	bench.sidecar.kill()
	read_details(page)
	# There is no clipboard without HTTPS: the text is shown.
	page.get_by_role("button", name="Copy").click()
	shown = page.locator("#realtime-diagnosis pre")
	expect(shown).to_be_visible()
	assert json.loads(shown.inner_text())["code"] == "unreachable"


def test_without_realtime(bench: Bench, open_desk: OpenPage) -> None:
	page = open_desk(bench, bench.user(), disable_async=1)
	found = diagnose(page)
	assert (found["ok"], found["code"], found["steps"]) == (False, "disabled", [])


def test_a_page_of_the_website(bench: Bench, open_desk: OpenPage) -> None:
	page = open_desk(bench, bench.user(), "website")
	assert diagnose(page)["code"] == "working"
	assert page.evaluate("frappe.realtime.status") == "connecting"


def test_a_refusal_is_written_to_the_console_once(bench: Bench, open_portal: OpenPage) -> None:
	page = open_portal(bench)
	warnings: list[str] = []
	page.on("console", lambda message: warnings.append(message.text) if message.type == "warning" else None)
	page.evaluate(
		f"""async () => {{
			{IMPORT};
			window.realtime = await client.connect();
			realtime.socket.on("connect_error", () => seen.push("refused"));
		}}"""
	)
	until(lambda: page.evaluate("seen.length") >= 2, "two refusals")
	assert len([text for text in warnings if "no_credential" in text]) == 1


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_details_fit_into_a_narrow_window(
	theme: str, make_bench: MakeBench, open_desk: OpenPage, tmp_path: Path
) -> None:
	bench = make_bench()
	page = open_desk(bench, bench.user(), user=MANAGER)
	wait_for_status(page, "connected")
	page.set_viewport_size({"width": 360, "height": 640})
	page.evaluate("theme => document.documentElement.setAttribute('data-theme', theme)", theme)
	bench.sidecar.kill()
	read_details(page)
	box = page.locator("#realtime-diagnosis").bounding_box()
	assert box
	assert box["x"] >= 0
	assert box["x"] + box["width"] <= 360
	assert box["y"] >= 0
	page.screenshot(path=tmp_path / f"{theme}.png")
