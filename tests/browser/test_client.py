"""realtime.js in a page without the Desk."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Error, Page

from tests.browser.conftest import OpenPage, sign_in
from tests.browser.driving import (
	IMPORT,
	connect,
	listen,
	lose_connection,
	seen,
	settle,
	start,
	wait_for_room,
	wait_for_status,
	wait_to_see,
	wait_until,
)
from tests.wire.apps import install, write_handlers
from tests.wire.bench import Bench
from tests.wire.conditions import until
from tests.wire.conftest import MakeBench
from tests.wire.sidecar import ROOT

BROWSER_MD = ROOT / "docs" / "browser.md"
UNREACHABLE = "**/assets/**/socket.io-client/**"

HANDLERS = """
from frappe.realtime import realtime

@realtime.on("add")
async def add(socket, one, other):
	return one + other

@realtime.on("answer_me")
async def answer_me(socket):
	await socket.emit("answer", "one text")

@realtime.on("fails")
async def fails(socket):
	raise ValueError("on purpose")

@realtime.on("keeps")
async def keeps(socket, ack):
	await socket.emit("kept")

@realtime.on("send_me_away")
async def send_me_away(socket):
	await socket.disconnect()
"""


def bench_with_handlers(make_bench: MakeBench) -> Bench:
	"""Make a bench with an app whose handlers are `HANDLERS`."""
	bench = make_bench(start=False)
	write_handlers(bench, "shop", HANDLERS)
	install(bench, "shop")
	return bench.start()


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


def test_an_acknowledged_emit_gives_the_answer(make_bench: MakeBench, open_portal: OpenPage) -> None:
	bench = bench_with_handlers(make_bench)
	page = open_portal(bench, bench.user())
	start(page)
	assert page.evaluate("realtime.emitWithAck('add', 1, 2)") == 3


def test_listeners_get_all_that_a_handler_emits(make_bench: MakeBench, open_portal: OpenPage) -> None:
	bench = bench_with_handlers(make_bench)
	page = open_portal(bench, bench.user())
	connect(page)
	listen(page, "answer")
	page.evaluate("realtime.emit('answer_me')")
	wait_to_see(page, ["answer", "one text"])


def test_an_emit_that_nobody_answers_is_rejected_when_the_connection_breaks(
	make_bench: MakeBench, open_portal: OpenPage
) -> None:
	bench = bench_with_handlers(make_bench)
	page = open_portal(bench, bench.user())
	connect(page)
	listen(page, "kept")
	page.evaluate(
		"""() => void realtime.emitWithAck("keeps").catch(({ code, message }) => seen.push([code, message]))"""
	)
	wait_to_see(page, ["kept"])
	lose_connection(bench, page)
	wait_to_see(page, ["disconnected", '"keeps" was not answered: socket has been disconnected'])


CALLS = """async () => {
	const calls = [["add", 1, 2], ["unknown"], ["add", 1], ["fails"]];
	const answers = calls.map((call) => realtime.emitWithAck(...call).catch((error) => `${error.name} ${error.code}`));
	return Promise.all(answers);
}"""
ANSWERS = [3, "CallError no_handler", "CallError bad_arguments", "CallError failed"]


def test_an_emit_that_no_handler_answers_is_rejected_at_once(
	make_bench: MakeBench, open_portal: OpenPage
) -> None:
	bench = bench_with_handlers(make_bench)
	bench.sidecar.expects_traceback = True
	page = open_portal(bench, bench.user())
	# Also what is emitted before the connection exists, and in its order.
	start(page)
	page.evaluate("realtime.socket.onAnyOutgoing((...packet) => seen.push(packet))")
	page.evaluate(
		"realtime.emit('first'); void realtime.emitWithAck('second').catch(() => {}); realtime.emit('third');"
	)
	assert page.evaluate(CALLS) == ANSWERS
	assert [packet[-1] for packet in seen(page)[:3]] == ["first", "second", "third"]
	wait_for_status(page, "connected")
	assert page.evaluate(CALLS) == ANSWERS


def test_a_server_that_knows_no_calls_gets_stock_events(make_bench: MakeBench, open_portal: OpenPage) -> None:
	bench = bench_with_handlers(make_bench)
	page = open_portal(bench, bench.user())
	connect(page)
	# As after CONNECT of Frappe's Node server.
	page.evaluate(
		"realtime._calls.on_answer(realtime.socket, false); realtime.socket.onAnyOutgoing((event) => seen.push(event))"
	)
	assert page.evaluate("realtime.emitWithAck('add', 1, 2)") == 3
	assert seen(page) == ["add"]


def test_a_subscription_that_asks_for_an_answer_comes_back(
	make_bench: MakeBench, open_portal: OpenPage
) -> None:
	bench = make_bench()
	page = open_portal(bench, bench.user())
	connect(page)
	code = page.evaluate("realtime.emitWithAck('doctype_subscribe', 'ToDo').catch(({ code }) => code)")
	assert code == "no_answer"
	wait_for_room(bench, page, "doctype:ToDo")
	lose_connection(bench, page)
	bench.valkey.client.flushall()
	bench.sidecar.start()
	wait_for_room(bench, page, "doctype:ToDo")


def test_status_tells_connecting_connected_and_lost(make_bench: MakeBench, open_portal: OpenPage) -> None:
	bench = make_bench()
	page = open_portal(bench, bench.user())
	page.evaluate(
		f"""async () => {{
			{IMPORT};
			window.realtime = await client.connect();
			seen.push(realtime.status);
			realtime.on("realtime_status", (status) => seen.push(status));
		}}"""
	)
	wait_for_status(page, "connected")
	lose_connection(bench, page)
	bench.sidecar.start()
	wait_for_status(page, "connected")
	page.evaluate("realtime.close()")
	assert seen(page) == ["connecting", "connected", "lost", "connected", "closed"]


def test_after_a_reconnect_it_is_in_its_rooms_again(make_bench: MakeBench, open_portal: OpenPage) -> None:
	bench = make_bench()
	page = open_portal(bench, bench.user())
	connect(page)
	rooms = ["doc:ToDo/T-1", "doctype:ToDo", "task_progress:job-1"]
	page.evaluate(
		"""() => {
			realtime.doc_subscribe("ToDo", "T-1");
			realtime.doc_subscribe("ToDo", "T-2");
			realtime.doc_unsubscribe("ToDo", "T-2");
			realtime.doctype_subscribe("ToDo");
			realtime.task_subscribe("job-1");
		}"""
	)
	for room in rooms:
		wait_for_room(bench, page, room)
	listen(page, "left")
	lose_connection(bench, page)
	bench.sidecar.start()
	wait_for_status(page, "connected")
	for room in rooms:
		wait_for_room(bench, page, room)
	bench.publish("left", {}, "doc:ToDo/T-2")
	settle(bench, page)
	assert seen(page) == []


def test_viewers_of_a_document_are_viewers_again(make_bench: MakeBench, open_portal: OpenPage) -> None:
	bench = make_bench()
	user = bench.user()
	page = open_portal(bench, user)
	connect(page)
	page.evaluate("realtime.doc_open('ToDo', 'T-1')")
	wait_for_room(bench, page, "open_doc:ToDo/T-1")
	lose_connection(bench, page)
	bench.sidecar.start()
	wait_for_room(bench, page, "open_doc:ToDo/T-1")


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


SWALLOW = """() => {
	const { transport } = realtime.socket.io.engine;
	transport.send = () => {};
	window.hang_up = () => transport.ws.close();
}"""


def test_what_a_dead_connection_swallowed_is_said_again(bench: Bench, open_portal: OpenPage) -> None:
	page = open_portal(bench, bench.user())
	connect(page)
	wait_until(page, "realtime.socket.io.engine.transport.name === 'websocket'")
	page.evaluate("realtime.doc_open('ToDo', 'T-1')")
	wait_for_room(bench, page, "open_doc:ToDo/T-1")
	page.evaluate(SWALLOW)
	page.evaluate(
		"() => { realtime.doc_close('ToDo', 'T-1'); realtime.doc_subscribe('ToDo', 'T-2'); hang_up(); }"
	)
	wait_for_status(page, "lost")
	wait_for_status(page, "connected")
	assert page.evaluate("realtime.socket.recovered")
	wait_for_room(bench, page, "doc:ToDo/T-2")
	listen(page, "left")
	bench.publish("left", {}, "open_doc:ToDo/T-1")
	settle(bench, page)
	assert seen(page) == []


def test_many_subscriptions_come_back_without_a_storm(make_bench: MakeBench, open_portal: OpenPage) -> None:
	bench = make_bench()
	page = open_portal(bench, bench.user())
	connect(page)
	page.evaluate(
		"""() => {
			for (let number = 0; number < 100; number++) realtime.doc_subscribe("ToDo", `T-${number}`);
			realtime.socket.onAnyOutgoing((event, doctype, name) => seen.push(name));
		}"""
	)
	wait_for_room(bench, page, "doc:ToDo/T-99")
	lose_connection(bench, page)
	bench.valkey.client.flushall()
	bench.sidecar.start()
	wait_for_status(page, "connected")
	# The server takes a hundred events at once from a Guest.
	assert seen(page) == [f"T-{number}" for number in range(99, 19, -1)]
	page.evaluate("realtime.doc_unsubscribe('ToDo', 'T-5')")
	wait_until(page, "seen.includes('T-0')")
	assert seen(page)[80:] == ["T-5", *[f"T-{number}" for number in range(19, -1, -1)]]
	listen(page, "left")
	bench.publish("left", {}, "doc:ToDo/T-5")
	settle(bench, page)
	assert ["left", {}] not in seen(page)


def test_what_is_sent_while_the_connection_is_lost_waits(
	make_bench: MakeBench, open_portal: OpenPage
) -> None:
	bench = make_bench()
	page = open_portal(bench, bench.user())
	connect(page)
	lose_connection(bench, page)
	page.evaluate("realtime.doc_subscribe('ToDo', 'T-1')")
	bench.sidecar.start()
	wait_for_room(bench, page, "doc:ToDo/T-1")


def test_the_page_is_told_when_events_may_have_been_missed(
	make_bench: MakeBench, open_portal: OpenPage
) -> None:
	bench = make_bench()
	page = open_portal(bench, bench.user())
	connect(page)
	listen(page, "realtime_missed")
	lose_connection(bench, page)
	# Nothing to recover from is left anywhere.
	bench.valkey.client.flushall()
	bench.sidecar.start()
	wait_to_see(page, ["realtime_missed"])


def test_a_refused_page_tries_again(bench: Bench, open_portal: OpenPage) -> None:
	page = open_portal(bench)
	start(page)
	wait_for_status(page, "lost")
	assert not page.evaluate("realtime.socket.active")
	sign_in(page.context, bench, bench.user())
	wait_for_status(page, "connected")


def test_a_page_that_the_server_sends_away_comes_back(make_bench: MakeBench, open_portal: OpenPage) -> None:
	bench = bench_with_handlers(make_bench)
	page = open_portal(bench, bench.user())
	connect(page)
	listen(page, "realtime_status")
	page.evaluate("realtime.on('disconnect', (reason) => seen.push(reason))")
	page.evaluate("realtime.emit('send_me_away')")
	wait_to_see(page, ["realtime_status", "connected"])
	assert seen(page) == [
		["realtime_status", "lost"],
		"io server disconnect",
		["realtime_status", "connected"],
	]


def test_it_tries_at_once_when_the_browser_is_online_again(bench: Bench, open_portal: OpenPage) -> None:
	page = open_portal(bench, bench.user())
	connect(page)
	# An hour until socket.io-client would try by itself.
	page.evaluate("realtime.socket.io.reconnectionDelay(3600000).reconnectionDelayMax(3600000)")
	page.context.set_offline(True)
	wait_for_status(page, "lost")
	page.context.set_offline(False)
	wait_for_status(page, "connected")


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
