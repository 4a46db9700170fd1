"""The binding that extends the Desk's own `frappe.realtime`."""

from __future__ import annotations

from playwright.sync_api import expect

from tests.browser.conftest import OpenPage
from tests.browser.driving import (
	listen,
	lose_connection,
	seen,
	settle,
	wait_for_room,
	wait_for_status,
	wait_to_see,
)
from tests.wire.bench import Bench
from tests.wire.conditions import until
from tests.wire.conftest import MakeBench

SIGN = ".realtime-status"


def test_it_is_the_same_object_with_the_same_methods(bench: Bench, open_desk: OpenPage) -> None:
	page = open_desk(bench, bench.user())
	wait_for_status(page, "connected")
	assert page.evaluate("frappe.realtime === stock && frappe.realtime.socket.io.engine !== undefined")
	missing = page.evaluate(
		"""Object.getOwnPropertyNames(StandInForRealTimeClient.prototype)
			.filter((name) => typeof frappe.realtime[name] !== "function")"""
	)
	assert missing == ["constructor"] or missing == []


def test_listeners_get_the_message_and_nothing_else(bench: Bench, open_desk: OpenPage) -> None:
	user = bench.user()
	page = open_desk(bench, user)
	wait_for_status(page, "connected")
	listen(page, "report_generated")
	bench.publish("report_generated", {"name": 1}, f"user:{user.name}")
	wait_to_see(page, ["report_generated", {"name": 1}])


def test_off_takes_a_callback_as_ever(bench: Bench, open_desk: OpenPage) -> None:
	page = open_desk(bench, bench.user())
	wait_for_status(page, "connected")
	page.evaluate(
		"""() => {
			window.second = () => seen.push("second");
			frappe.realtime.on("news", () => seen.push("first"));
			frappe.realtime.on("news", second);
			frappe.realtime.on("news", () => seen.push("third"));
			frappe.realtime.off("news", second);
			frappe.realtime.off("unheard of");
			frappe.realtime.off("news");
		}"""
	)
	bench.publish("news", {}, "website")
	settle(bench, page)
	assert seen(page) == ["third"], "without a callback the oldest goes, as in Frappe"


def test_off_leaves_alone_what_the_client_listens_to_itself(
	make_bench: MakeBench, open_desk: OpenPage
) -> None:
	bench = make_bench()
	page = open_desk(bench, bench.user())
	page.evaluate(
		"""() => {
			frappe.realtime.doc_subscribe("ToDo", "T-1");
			for (const event of ["connect", "disconnect", "connect_error", "realtime_status"]) {
				frappe.realtime.on(event, () => seen.push(event));
				for (let times = 0; times < 2; times++) frappe.realtime.off(event);
			}
		}"""
	)
	wait_for_room(bench, page, "doc:ToDo/T-1")
	lose_connection(bench, page)
	expect(page.locator(SIGN)).to_be_visible()
	bench.sidecar.start()
	wait_for_status(page, "connected")
	expect(page.locator(SIGN)).to_be_hidden()
	wait_for_room(bench, page, "doc:ToDo/T-1")
	assert seen(page) == []


def test_once_listens_once(bench: Bench, open_desk: OpenPage) -> None:
	page = open_desk(bench, bench.user())
	wait_for_status(page, "connected")
	page.evaluate("frappe.realtime.once('news', () => seen.push('once'))")
	bench.publish("news", {}, "website")
	bench.publish("news", {}, "website")
	settle(bench, page)
	assert seen(page) == ["once"]


def test_two_documents_within_a_second_are_both_subscribed(bench: Bench, open_desk: OpenPage) -> None:
	first, second = bench.document(), bench.document()
	page = open_desk(bench, bench.user())
	page.evaluate(
		"names => names.forEach((name) => frappe.realtime.doc_subscribe('ToDo', name))", [first, second]
	)
	wait_for_room(bench, page, f"doc:ToDo/{first}")
	wait_for_room(bench, page, f"doc:ToDo/{second}")


def test_a_subscription_is_sent_each_time_and_ended_once(bench: Bench, open_desk: OpenPage) -> None:
	page = open_desk(bench, bench.user())
	wait_for_status(page, "connected")
	sent = page.evaluate(
		"""() => {
			const sent = [];
			frappe.realtime.socket.onAnyOutgoing((...packet) => sent.push(packet));
			frappe.realtime.doc_subscribe("ToDo", "T-1");
			frappe.realtime.doc_subscribe("ToDo", "T-1");
			frappe.realtime.doc_unsubscribe("ToDo", "T-1");
			const counted = sent.length;
			frappe.realtime.doc_unsubscribe("ToDo", "T-1");
			frappe.realtime.doc_subscribe("ToDo", "T-1");
			return [counted, ...sent];
		}"""
	)
	counted, *packets = sent
	assert counted == 2, "one of two has unsubscribed"
	events = [packet[0] for packet in packets]
	assert events == ["doc_subscribe", "doc_subscribe", "doc_unsubscribe", "doc_subscribe"]


FORM = """
	const sent = [];
	frappe.realtime.socket.onAnyOutgoing((...packet) => sent.push(packet));
	const show = (form, docname) => $(document).trigger("form-refresh", [Object.assign(form, { docname })]);
	const leave = (form) => $(document).trigger("form-unload", [form]);
	const frm = { doctype: "ToDo", doc: {}, is_new: () => frm.docname.startsWith("new-") };
"""


def test_a_form_that_goes_on_to_another_document_closes_the_one_before(
	bench: Bench, open_desk: OpenPage
) -> None:
	page = open_desk(bench, bench.user())
	wait_for_status(page, "connected")
	sent = page.evaluate(
		f"""() => {{
			{FORM}
			show(frm, "T-1");
			show(frm, "T-1");
			show(frm, "T-2");
			show(frm, "new-todo-1");
			leave(frm);
			show(frm, "T-3");
			leave(frm);
			show(frm, "T-4");
			return sent;
		}}"""
	)
	assert [(event, name) for event, _, name in sent] == [
		("doc_open", "T-1"),
		("doc_open", "T-1"),
		("doc_close", "T-1"),
		("doc_open", "T-2"),
		("doc_close", "T-2"),
		("doc_open", "T-3"),
		("doc_close", "T-3"),
		("doc_open", "T-4"),
	]


def test_a_form_that_is_left_says_so_once_however_many_documents_it_has_shown(
	bench: Bench, open_desk: OpenPage
) -> None:
	page = open_desk(bench, bench.user())
	wait_for_status(page, "connected")
	sent = page.evaluate(
		f"""() => {{
			{FORM}
			show(frm, "T-1");
			for (let shown = 0; shown < 3; shown++) leave(frm);
			frappe.realtime.emit("doc_open", "ToDo", "T-2");
			frappe.realtime.doc_close("ToDo", "T-2");
			return sent;
		}}"""
	)
	assert [event for event, *_ in sent] == ["doc_open", "doc_close"] * 2


def test_where_realtime_is_disabled_forms_are_left_alone(bench: Bench, open_desk: OpenPage) -> None:
	page = open_desk(bench, bench.user(), disable_async=1)
	# An error of a listener ends the evaluation, and the test.
	page.evaluate(
		"""() => {
			for (const docname of ["T-1", "T-2"]) {
				$(document).trigger("form-refresh", [{ doctype: "ToDo", docname, doc: {}, is_new: () => false }]);
			}
		}"""
	)


def test_requests_name_the_page_to_the_own_site_only(bench: Bench, open_desk: OpenPage) -> None:
	page = open_desk(bench, bench.user())
	names = page.evaluate(
		"""() => {
			const headers = [];
			const stock = XMLHttpRequest.prototype.setRequestHeader;
			XMLHttpRequest.prototype.setRequestHeader = function (name, value) {
				if (name === "X-Frappe-Realtime-Page") headers.push(value);
				return stock.call(this, name, value);
			};
			$.ajax("/api/method/ping");
			$.ajax("http://elsewhere.test/");
			return headers;
		}"""
	)
	assert names == [page.evaluate("window.frappe_realtime_page")]


def test_after_a_reconnect_it_is_in_its_rooms_again(make_bench: MakeBench, open_desk: OpenPage) -> None:
	bench = make_bench()
	page = open_desk(bench, bench.user())
	page.evaluate(
		"""() => {
			frappe.realtime.doc_subscribe("ToDo", "T-1");
			frappe.realtime.doctype_subscribe("ToDo");
			frappe.realtime.subscribe("job-1", {});
		}"""
	)
	rooms = ["doc:ToDo/T-1", "doctype:ToDo", "task_progress:job-1"]
	for room in rooms:
		wait_for_room(bench, page, room)
	lose_connection(bench, page)
	bench.sidecar.start()
	for room in rooms:
		wait_for_room(bench, page, room)


def test_it_does_not_give_up(make_bench: MakeBench, open_desk: OpenPage) -> None:
	bench = make_bench()
	page = open_desk(bench, bench.user())
	wait_for_status(page, "connected")
	page.evaluate(
		"""() => {
			const manager = frappe.realtime.socket.io;
			manager.reconnectionDelay(20);
			manager.reconnectionDelayMax(20);
			manager.on("reconnect_attempt", () => seen.push("attempt"));
		}"""
	)
	lose_connection(bench, page)
	until(lambda: len(seen(page)) > 5, "more attempts than the Desk's three")
	bench.sidecar.start()
	wait_for_status(page, "connected")


def test_a_sign_shows_while_the_connection_is_lost(make_bench: MakeBench, open_desk: OpenPage) -> None:
	bench = make_bench()
	page = open_desk(bench, bench.user())
	wait_for_status(page, "connected")
	expect(page.locator(SIGN)).to_be_hidden()
	lose_connection(bench, page)
	expect(page.get_by_role("status")).to_contain_text("Live updates are paused")
	expect(page.locator(SIGN)).to_be_visible()
	bench.sidecar.start()
	expect(page.locator(SIGN)).to_be_hidden()


def test_website_pages_connect_when_something_listens(bench: Bench, open_desk: OpenPage) -> None:
	page = open_desk(bench, bench.user(), "website")
	assert page.evaluate("[frappe.realtime.status, frappe.realtime.socket.active]") == ["connecting", False]
	listen(page, "realtime_status")
	assert not page.evaluate("frappe.realtime.socket.active")
	listen(page, "news")
	wait_for_status(page, "connected")
	bench.publish("news", {}, "website")
	wait_to_see(page, ["news", {}])


def test_a_page_of_the_website_without_dialogs_goes_on_when_something_progresses(
	bench: Bench, open_desk: OpenPage
) -> None:
	user = bench.user()
	page = open_desk(bench, user, "website")
	errors = []
	page.on("pageerror", lambda error: errors.append(error))
	listen(page, "progress")
	wait_for_status(page, "connected")
	bench.publish("progress", {"title": "Import", "percent": 50}, f"user:{user.name}")
	wait_to_see(page, ["progress", {"title": "Import", "percent": 50}])
	assert errors == []


def test_behind_a_proxy_a_development_bench_is_one_address(bench: Bench, open_desk: OpenPage) -> None:
	page = open_desk(bench, bench.user(), "dev_server", socketio_port=1)
	wait_for_status(page, "connected")


def test_websocket_only_when_the_site_says_so(bench: Bench, open_desk: OpenPage) -> None:
	page = open_desk(bench, bench.user(), realtime_websocket_only=1)
	wait_for_status(page, "connected")
	polled = page.evaluate(
		"performance.getEntriesByType('resource').some(({ name }) => name.includes('transport=polling'))"
	)
	assert not polled
	assert page.evaluate("frappe.realtime.socket.io.engine.transport.name") == "websocket"


def test_where_realtime_is_disabled_nothing_happens(bench: Bench, open_desk: OpenPage) -> None:
	page = open_desk(bench, bench.user(), disable_async=1)
	page.evaluate(
		"""() => {
			frappe.realtime.on("news", () => {});
			frappe.realtime.doctype_subscribe("ToDo");
			frappe.realtime.doc_subscribe("ToDo", "T-1");
			frappe.realtime.task_subscribe("job-1");
		}"""
	)
	assert page.evaluate("frappe.realtime.socket") is None
	assert page.evaluate("frappe.realtime.emitWithAck('ping').catch((error) => error.message)") == (
		'"ping" was not sent: realtime is disabled'
	)


def test_a_task_calls_the_one_who_follows_it(bench: Bench, open_desk: OpenPage) -> None:
	user = bench.user()
	page = open_desk(bench, user)
	errors = []
	page.on("pageerror", lambda error: errors.append(error))
	page.evaluate("frappe.realtime.subscribe('job-1', { progress: (data) => seen.push(data) })")
	wait_for_status(page, "connected")
	for task_id in ("unknown", "job-1"):
		bench.publish("task_progress", {"task_id": task_id}, f"user:{user.name}")
	wait_to_see(page, {"task_id": "job-1"})
	assert errors == []
