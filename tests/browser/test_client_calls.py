"""What realtime.js in a page emits, and the answers of handlers."""

from __future__ import annotations

import pytest

from tests.browser.conftest import OpenPage
from tests.browser.driving import (
	connect,
	listen,
	lose_connection,
	seen,
	start,
	wait_for_room,
	wait_for_status,
	wait_to_see,
)
from tests.browser.handlers import bench_with_handlers
from tests.wire.conftest import MakeBench


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


@pytest.mark.parametrize("client", ["portal", "desk"])
def test_an_emit_that_nobody_answers_is_rejected_when_the_connection_breaks(
	make_bench: MakeBench, open_portal: OpenPage, open_desk: OpenPage, client: str
) -> None:
	"""The Desk has an older Socket.IO client, which does not reject it itself."""
	bench = bench_with_handlers(make_bench)
	page = (open_portal if client == "portal" else open_desk)(bench, bench.user())
	if client == "portal":
		start(page)
	wait_for_status(page, "connected")
	listen(page, "kept")
	page.evaluate(
		"""() => void (window.realtime ?? frappe.realtime).emitWithAck("keeps")
			.catch(({ code, message }) => seen.push([code, message]))"""
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
