"""realtime.js in a page without the Desk: listeners, where Socket.IO's client comes from, progress, and close."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Error, Page

from tests.browser.conftest import OpenPage
from tests.browser.driving import (
	IMPORT,
	connect,
	listen,
	seen,
	settle,
	start,
	wait_for_status,
	wait_to_see,
	wait_until,
)
from tests.wire.bench import Bench
from tests.wire.conditions import until
from tests.wire.sidecar import ROOT

BROWSER_MD = ROOT / "docs" / "browser.md"
UNREACHABLE = "**/assets/**/socket.io-client/**"


def test_a_listener_gets_the_message_and_nothing_else(bench: Bench, open_portal: OpenPage) -> None:
	user = bench.user()
	page = open_portal(bench, user)
	connect(page)
	listen(page, "order_ready")
	bench.publish("order_ready", {"name": "SO-1"}, f"user:{user.name}")
	wait_to_see(page, ["order_ready", {"name": "SO-1"}])


def test_a_text_is_a_message_like_any_other(bench: Bench, open_portal: OpenPage) -> None:
	user = bench.user()
	page = open_portal(bench, user)
	connect(page)
	listen(page, "greeting")
	bench.publish("greeting", "hello", f"user:{user.name}")
	wait_to_see(page, ["greeting", "hello"])


def test_guests_are_served(bench: Bench, open_portal: OpenPage) -> None:
	page = open_portal(bench, "Guest")
	connect(page)
	listen(page, "news")
	bench.publish("news", {}, "website")
	wait_to_see(page, ["news", {}])


def test_a_token_names_the_user(bench: Bench, open_portal: OpenPage) -> None:
	user = bench.user()
	token = bench.site().authorization(user.name).split(" ")[1]
	page = open_portal(bench)
	connect(page, auth={"token": token})
	listen(page, "order_ready")
	bench.publish("order_ready", {}, f"user:{user.name}")
	wait_to_see(page, ["order_ready", {}])


def test_websocket_only(bench: Bench, open_portal: OpenPage) -> None:
	page = open_portal(bench, bench.user())
	transports = []
	page.on("request", lambda request: transports.append("polling" if "polling" in request.url else "other"))
	connect(page, transports=["websocket"])
	assert page.evaluate("realtime.socket.io.engine.transport.name") == "websocket"
	assert "polling" not in transports


def test_off_ends_one_listener_or_all(bench: Bench, open_portal: OpenPage) -> None:
	page = open_portal(bench, bench.user())
	connect(page)
	page.evaluate(
		"""() => {
			const first = () => seen.push("first");
			realtime.on("news", first);
			realtime.on("news", () => seen.push("second"));
			realtime.once("news", () => seen.push("once"));
			window.first = first;
		}"""
	)
	bench.publish("news", {}, "website")
	settle(bench, page)
	assert seen(page) == ["first", "second", "once"]
	page.evaluate("realtime.off('news', first)")
	bench.publish("news", {}, "website")
	settle(bench, page)
	assert seen(page) == ["first", "second", "once", "second"]
	page.evaluate("realtime.off('news')")
	bench.publish("news", {}, "website")
	settle(bench, page)
	assert seen(page) == ["first", "second", "once", "second"]


def test_once_can_be_taken_back(bench: Bench, open_portal: OpenPage) -> None:
	page = open_portal(bench, bench.user())
	connect(page)
	page.evaluate(
		"""() => {
			const listener = () => seen.push("once");
			realtime.once("news", listener);
			realtime.off("news", listener);
			realtime.once("realtime_status", listener);
			realtime.off("realtime_status", listener);
		}"""
	)
	bench.publish("news", {}, "website")
	settle(bench, page)
	page.evaluate("realtime.close()")
	assert seen(page) == []


def test_an_event_of_the_server_named_as_ours_is_not_mistaken(bench: Bench, open_portal: OpenPage) -> None:
	page = open_portal(bench, bench.user())
	connect(page)
	listen(page, "realtime_status", "realtime_missed")
	bench.publish("realtime_status", "lost", "website")
	settle(bench, page)
	assert seen(page) == []


def test_socket_io_is_taken_from_frappe_when_the_app_has_none(bench: Bench, open_portal: OpenPage) -> None:
	page = open_portal(bench, bench.user())
	page.route("**/assets/frappe_realtime/node_modules/**", lambda route: route.fulfill(status=404))
	loaded = []
	page.on("response", lambda response: loaded.append(response.url) if response.ok else None)
	connect(page)
	assert any("/assets/frappe/node_modules/" in url for url in loaded)


def test_socket_io_can_be_handed_over(bench: Bench, open_portal: OpenPage) -> None:
	page = open_portal(bench, bench.user())
	page.evaluate(
		"""async () => {
			const place = "/assets/frappe/node_modules/socket.io-client/dist/socket.io.esm.min.js";
			window.io = (await import(place)).io;
		}"""
	)
	page.route(UNREACHABLE, lambda route: route.fulfill(status=404))
	page.evaluate(f"async () => {{ {IMPORT}; window.realtime = await client.connect({{ io }}); }}")
	wait_for_status(page, "connected")


def test_without_socket_io_the_error_says_what_was_tried(bench: Bench, open_portal: OpenPage) -> None:
	page = open_portal(bench, bench.user())
	page.route(UNREACHABLE, lambda route: route.fulfill(status=404))
	with pytest.raises(Error, match=r"tried .*node_modules.*bench build"):
		start(page)


def test_the_example_for_other_pages_runs(bench: Bench, open_portal: OpenPage) -> None:
	example = re.search(r"```html\n<script type=\"module\">\n(.+?)</script>", BROWSER_MD.read_text(), re.S)
	assert example
	user = bench.user()
	page = open_portal(bench, user)
	said = []
	page.on("console", lambda message: said.append(message.text))
	page.add_script_tag(content=example[1], type="module")

	def told() -> list[str]:
		bench.publish("order_ready", "SO-0001", "doc:Sales Order/SO-0001")
		page.evaluate("0")
		return said

	until(told, "the example has logged something")
	assert set(said) == {"SO-0001"}


def test_a_closed_client_stays_away(bench: Bench, open_portal: OpenPage) -> None:
	page = open_portal(bench, bench.user())
	connect(page)
	page.evaluate("realtime.close()")
	page.evaluate("window.dispatchEvent(new Event('online'))")
	assert page.evaluate("[realtime.status, realtime.socket.active]") == ["closed", False]


def test_a_closed_client_leaves_nothing_on_the_page(bench: Bench, open_portal: OpenPage) -> None:
	page = open_portal(bench, bench.user())
	page.evaluate(
		"""() => {
			const stock = { add: window.addEventListener, remove: window.removeEventListener };
			window.addEventListener = (event, ...rest) => {
				if (event === "online") seen.push("add");
				stock.add.call(window, event, ...rest);
			};
			window.removeEventListener = (event, ...rest) => {
				if (event === "online") seen.push("remove");
				stock.remove.call(window, event, ...rest);
			};
		}"""
	)
	connect(page)
	page.evaluate("realtime.close()")
	assert seen(page).count("add") == seen(page).count("remove") > 0


@pytest.mark.parametrize(
	("message", "percent"),
	[
		({"percent": 0}, 0),
		({"percent": 25.5}, 25.5),
		({"percent": "40"}, 40),
		({"percent": 99.9999}, 100),
		({"percent": 130}, 100),
		({"percent": -1}, 0),
		({"progress": [1, 4]}, 25),
		({"progress": [4, 4]}, 100),
		({"progress": [0, 0]}, 100),
		({"percent": None}, None),
		({}, None),
		(None, None),
	],
)
def test_reading_progress(
	bench: Bench, open_portal: OpenPage, message: dict[str, object] | None, percent: float | None
) -> None:
	page = open_portal(bench)
	read = page.evaluate(f"async (message) => {{ {IMPORT}; return client.read_progress(message); }}", message)
	assert (read and read["percent"]) == percent


def follow_progress(page: Page) -> str:
	"""Let the page note its progress; return its name."""
	connect(page)
	page.evaluate("realtime.progress(({ title, percent }) => seen.push([title, percent]))")
	name: str = page.evaluate(f"async () => {{ {IMPORT}; return client.page_id; }}")
	return name


def test_progress_is_for_the_page_that_has_asked(bench: Bench, open_portal: OpenPage) -> None:
	user = bench.user()
	pages = [open_portal(bench, user), open_portal(bench, user)]
	names = [follow_progress(page) for page in pages]
	assert names[0] != names[1]
	bench.publish("progress", {"title": "Import", "percent": 10, "page": names[0]}, f"user:{user.name}")
	for page in pages:
		settle(bench, page)
	assert [seen(page) for page in pages] == [[["Import", 10]], []]


def test_a_page_keeps_its_name_when_it_is_loaded_again(bench: Bench, open_portal: OpenPage) -> None:
	page = open_portal(bench)
	ask = f"async () => {{ {IMPORT}; return client.page_id; }}"
	name = page.evaluate(ask)
	page.reload()
	assert page.evaluate(ask) == name
	page.goto(page.url)
	wait_until(page, "document.readyState === 'complete'")
	assert page.evaluate(ask) != name
