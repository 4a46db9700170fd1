"""The sign in the Desk: its text, and its details for System Managers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, expect

from tests.browser.conftest import OpenPage
from tests.browser.diagnosis.diagnosing import (
	MANAGER,
	SIGN,
	TIMEOUT,
	answer_with,
	diagnose,
	read_details,
	refuse_with,
	step,
)
from tests.browser.driving import lose_connection, wait_for_status, wait_for_websocket
from tests.wire.bench import Bench
from tests.wire.conftest import MakeBench


def test_offline(make_bench: MakeBench, open_desk: OpenPage, window: BrowserContext) -> None:
	bench = make_bench()
	page = open_desk(bench, bench.user(), user=MANAGER)
	wait_for_status(page, "connected")
	wait_for_websocket(page)
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
	lose_connection(bench, page)
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
	lose_connection(bench, page)
	expect(page.locator(SIGN)).to_contain_text("Live updates are paused", timeout=TIMEOUT)
	assert page.locator(SIGN).inner_text().strip() == "Live updates are paused, reconnecting…"
	expect(page.get_by_role("button")).to_have_count(0)
	expect(page.get_by_role("region")).to_have_count(0)


MARKUP = '<img src=x onerror="window.broken = true">'


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


def test_the_result_can_be_copied(make_bench: MakeBench, open_desk: OpenPage) -> None:
	bench = make_bench()
	page = open_desk(bench, bench.user(), user=MANAGER)
	wait_for_status(page, "connected")
	lose_connection(bench, page)
	read_details(page)
	# There is no clipboard without HTTPS: the text is shown.
	page.get_by_role("button", name="Copy").click()
	shown = page.locator("#realtime-diagnosis pre")
	expect(shown).to_be_visible()
	assert json.loads(shown.inner_text())["code"] == "unreachable"


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_details_fit_into_a_narrow_window(
	theme: str, make_bench: MakeBench, open_desk: OpenPage, tmp_path: Path
) -> None:
	bench = make_bench()
	page = open_desk(bench, bench.user(), user=MANAGER)
	wait_for_status(page, "connected")
	page.set_viewport_size({"width": 360, "height": 640})
	page.evaluate("theme => document.documentElement.setAttribute('data-theme', theme)", theme)
	lose_connection(bench, page)
	read_details(page)
	box = page.locator("#realtime-diagnosis").bounding_box()
	assert box
	assert box["x"] >= 0
	assert box["x"] + box["width"] <= 360
	assert box["y"] >= 0
	page.screenshot(path=tmp_path / f"{theme}.png")
