"""What a page finds by itself, without nginx: in the answers of a server, in its own rules, and in what it uses."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Route

from tests.browser.conftest import OpenPage, hand_out
from tests.browser.diagnosis.diagnosing import OPEN_PACKET, answer_with, diagnose, refuse_with, step
from tests.browser.driving import IMPORT, start, wait_for_status
from tests.wire.bench import APP_SITE, Bench
from tests.wire.conditions import until
from tests.wire.conftest import MakeBench


def test_a_diagnosis_leaves_no_connection(make_bench: MakeBench, open_desk: OpenPage) -> None:
	bench = make_bench()
	page = open_desk(bench, bench.user())
	wait_for_status(page, "connected")
	until(lambda: bench.sidecar.health()[1]["connections"] == 1, "the page's connection")
	assert diagnose(page)["ok"]
	until(lambda: bench.sidecar.health()[1]["connections"] == 1, "the page's connection")


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


def test_a_token_that_the_page_cannot_get(bench: Bench, open_portal: OpenPage) -> None:
	page = open_portal(bench)
	page.evaluate(
		f"""async (token) => {{
			{IMPORT};
			const refuse = () => Promise.reject(new Error("signed out"));
			window.realtime = await client.connect({{ token: async () => token ?? refuse() }});
			window.sign_out = () => void (token = null);
		}}""",
		bench.site().authorization(bench.user().name).split(" ")[1],
	)
	wait_for_status(page, "connected")
	page.evaluate("sign_out()")
	found = diagnose(page)
	assert (found["ok"], found["code"]) == (False, "no_credential")
	assert [one["ok"] for one in found["steps"]] == [True, True, False]
	# What works goes on.
	assert page.evaluate("realtime.status") == "connected"


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
