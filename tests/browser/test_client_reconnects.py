"""How realtime.js in a page comes back: its status, its rooms, and what it sends again."""

from __future__ import annotations

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
	wait_until_back,
	watch_connection,
)
from tests.browser.handlers import bench_with_handlers
from tests.wire.bench import Bench
from tests.wire.conftest import MakeBench


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
	watch_connection(page)
	page.evaluate(SWALLOW)
	page.evaluate(
		"() => { realtime.doc_close('ToDo', 'T-1'); realtime.doc_subscribe('ToDo', 'T-2'); hang_up(); }"
	)
	wait_until_back(page)
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
	# It is active for a moment with each attempt.
	wait_until(page, "!realtime.socket.active")
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
