"""Apps with Python handlers, over connections to a running sidecar."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator

import pytest
import socketio

from frappe_realtime.contract import PRESENCE_SET
from realtime.demo.model import WEBSITE_USER
from tests.wire.apps import add_chat, in_log, install, write_handlers
from tests.wire.background import Background
from tests.wire.bench import STOCK_SITE, Bench
from tests.wire.conditions import until
from tests.wire.conftest import Connect, ConnectNode, MakeBench
from tests.wire.presence import Watcher

MakeAppBench = Callable[..., Bench]

ALPHA = """
from frappe.realtime import Socket, realtime

@realtime.on("alpha")
async def alpha(socket: Socket, value, other=None):
	await socket.emit("alpha_seen", {"value": value, "other": other})
	return {"value": value, "user": socket.user, "site": socket.site, "type": socket.user_type}

@realtime.on("quiet")
async def quiet(socket):
	pass

@realtime.on("several")
async def several(socket):
	return 1, b"two"

@realtime.on("blocking")
def blocking(socket, room):
	import threading
	socket.join(room)
	socket.emit("in_room", threading.current_thread() is threading.main_thread(), room=room)
	return sorted(socket.rooms - {socket.sid})

@realtime.on("for_guests", allow_guest=True)
async def for_guests(socket):
	return socket.user

@realtime.on("may")
async def may(socket, doctype, name, ptype="read"):
	return await socket.has_permission(doctype, name, ptype)

@realtime.on("ask")
async def ask(socket, method, args):
	response = await socket.frappe_request("/api/method/" + method, args)
	return [response.status, response.ok, response.message]

@realtime.on("question")
async def question(socket, value):
	return await socket.call("echo", {"value": value, "bytes": b"x"}, timeout=5)

@realtime.on("hand")
async def hand(socket):
	shake = socket.handshake
	return [shake.auth, shake.query["EIO"], shake.headers["host"]]

@realtime.on("connect")
async def connected(socket):
	await socket.broadcast.emit("came", socket.user)

@realtime.on("disconnect")
async def gone(socket, reason):
	await socket.to("website").emit("went", (socket.user, reason, sorted(socket.rooms)))

@realtime.on("fails")
async def fails(socket):
	raise RuntimeError("on purpose")

@realtime.on("fails")
async def after_it(socket):
	return "the next one runs"

@realtime.on("exits")
def exits(socket):
	raise SystemExit(1)

@realtime.on("kick")
async def kick(socket):
	await socket.disconnect()
"""


@pytest.fixture(scope="module")
def alpha_bench(background: Background, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
	"""A bench with the app `alpha`."""
	bench = Bench(background, tmp_path_factory.mktemp("alpha"))
	write_handlers(bench, "alpha", ALPHA)
	install(bench, "alpha")
	yield bench.start()
	bench.close()


@pytest.fixture
def make_app_bench(make_bench: MakeBench) -> MakeAppBench:
	"""Make and start a bench with apps: `make(alpha="text of its handlers.py", …)`; options of the bench as `bench={…}`."""

	def make(bench: dict[str, object] | None = None, **apps: str) -> Bench:
		one = make_bench(start=False, **(bench or {}))
		for app, text in apps.items():
			write_handlers(one, app, text)
			install(one, app)
		return one.start()

	return make


def test_a_handler_answers_an_acknowledged_event(alpha_bench: Bench, connect: Connect) -> None:
	user = alpha_bench.user()
	client = connect(alpha_bench, user)
	assert client.call("alpha", 5) == {
		"value": 5,
		"user": user.name,
		"site": "app.test",
		"type": "System User",
	}
	assert client.next("alpha_seen") == ({"value": 5, "other": None},)


def test_several_values_and_bytes_in_an_answer(alpha_bench: Bench, connect: Connect) -> None:
	# python-socketio's client hands several arguments of an acknowledgement on as a tuple.
	assert connect(alpha_bench, alpha_bench.user()).call("several") == (1, b"two")


def test_none_sends_no_acknowledgement(alpha_bench: Bench, connect: Connect) -> None:
	client = connect(alpha_bench, alpha_bench.user())
	answers: list[object] = []
	alpha_bench.background.run(
		client.sio.emit("quiet", namespace=client.namespace, callback=lambda *args: answers.append(args))
	)
	client.fence()
	assert answers == []


def test_a_plain_handler_runs_in_a_thread(alpha_bench: Bench, connect: Connect) -> None:
	user = alpha_bench.user()
	client = connect(alpha_bench, user)
	assert client.call("blocking", "own") == ["all", "own", f"user:{user.name}", "website"]
	assert client.next("in_room") == (False,)


def test_guests_reach_only_handlers_with_allow_guest(alpha_bench: Bench, connect: Connect) -> None:
	guest = connect(alpha_bench)
	assert guest.call("for_guests") == "Guest"
	guest.emit("alpha", 1)
	guest.fence()
	assert guest.all("alpha_seen") == []


def test_handlers_run_only_where_their_app_is_installed(alpha_bench: Bench, connect: Connect) -> None:
	client = connect(alpha_bench, alpha_bench.user(STOCK_SITE), STOCK_SITE)
	client.emit("alpha", 1)
	client.fence()
	assert client.all("alpha_seen") == []


def test_has_permission_asks_the_site(alpha_bench: Bench, connect: Connect) -> None:
	user = alpha_bench.user()
	site = alpha_bench.site()
	site.forbid(user.name, "Note", "secret")
	site.forbid(user.name, "Note", "fixed", "write")
	client = connect(alpha_bench, user)
	assert client.call("may", "Note", "open") is True
	assert client.call("may", "Note", "secret") is False
	assert client.call("may", "Note", "fixed") is True
	assert client.call("may", "Note", "fixed", "write") is False


def test_frappe_request_calls_the_site_as_the_user(alpha_bench: Bench, connect: Connect) -> None:
	user = alpha_bench.user()
	client = connect(alpha_bench, user)
	assert client.call("ask", "frappe.auth.get_logged_user", {"x": 1}) == [200, True, user.name]
	assert client.call("ask", "no.such.method", {})[:2] == [417, False]


def test_a_handler_calls_the_client(alpha_bench: Bench, connect: Connect) -> None:
	client = connect(alpha_bench, alpha_bench.user())
	answer = client.call("question", 7)
	assert answer == {"value": 7, "bytes": b"x"}


def test_handshake(alpha_bench: Bench, connect: Connect) -> None:
	client = connect(alpha_bench, alpha_bench.user(), auth={"device": "phone"})
	auth, version, host = client.call("hand")
	assert (auth, version, host) == ({"device": "phone"}, "4", f"app.test:{alpha_bench.sidecar.port}")


def test_connect_and_disconnect(alpha_bench: Bench, connect: Connect) -> None:
	watching = connect(alpha_bench, alpha_bench.user())
	user = alpha_bench.user()
	other = connect(alpha_bench, user)
	until(lambda: (user.name,) in watching.all("came"), "the connect handler")
	other.close()
	until(lambda: any(args[0] == user.name for args in watching.all("went")), "the disconnect handler")
	_, reason, rooms = watching.all("went")[-1]
	assert reason in ("client namespace disconnect", "transport close")
	assert rooms == []


def test_an_exception_is_logged_and_affects_no_other_handler(alpha_bench: Bench, connect: Connect) -> None:
	client = connect(alpha_bench, alpha_bench.user())
	assert client.call("fails") == "the next one runs"
	in_log(alpha_bench, "alpha: a handler of 'fails' failed")
	client.emit("exits")
	assert client.call("alpha", 1)["value"] == 1
	alpha_bench.sidecar.expects_traceback = True


INTERRUPTS = """
from frappe.realtime import realtime

@realtime.on("interrupts")
async def interrupts(socket):
	raise KeyboardInterrupt

@realtime.on("interrupts_in_thread")
def interrupts_in_thread(socket):
	raise KeyboardInterrupt

@realtime.on("connect")
async def connected(socket):
	def middleware(event, arguments):
		if event == "stop":
			raise KeyboardInterrupt
	socket.use(middleware)

@realtime.on("stop")
async def stop(socket):
	return "not reached"
"""


def test_a_keyboard_interrupt_in_a_handler_ends_nothing_else(
	make_app_bench: MakeAppBench, connect: Connect
) -> None:
	bench = make_app_bench(
		interrupts=INTERRUPTS,
		at_import="raise KeyboardInterrupt",
		set_up="def set_up(socket):\n\traise KeyboardInterrupt\n",
		alpha=ALPHA,
	)
	bench.sidecar.expects_traceback = True
	client = connect(bench, bench.user())
	for event in ("interrupts", "interrupts_in_thread", "stop"):
		client.emit(event)
		in_log(bench, f"interrupts: a handler of {event!r} failed")
	assert client.call("alpha", 1)["value"] == 1
	assert bench.sidecar.alive


def test_disconnect_from_the_server(alpha_bench: Bench, connect: Connect) -> None:
	watching = connect(alpha_bench, alpha_bench.user())
	user = alpha_bench.user()
	client = connect(alpha_bench, user)
	client.emit("kick")
	until(lambda: not client.connected, "the disconnect")
	until(
		lambda: (user.name, "server namespace disconnect", []) in watching.all("went"),
		"the disconnect handler",
	)


def test_the_stock_client_gets_acknowledgements(
	alpha_bench: Bench, connect_node: ConnectNode, node_version: str
) -> None:
	client = connect_node(alpha_bench, node_version, alpha_bench.user())
	[answer] = client.call("alpha", {"deep": [1, None]})
	assert answer["value"] == {"deep": [1, None]}


def test_every_version_of_frappe(make_app_bench: MakeAppBench, connect: Connect) -> None:
	for version in (16, 17):
		bench = make_app_bench({"version": version}, alpha=ALPHA)
		assert connect(bench, bench.user()).call("alpha", version)["value"] == version


def test_v15_with_our_app(make_app_bench: MakeAppBench, connect: Connect) -> None:
	bench = make_app_bench({"version": 15}, alpha=ALPHA)
	assert connect(bench, bench.user()).call("alpha", 15)["value"] == 15


def test_the_apps_of_v15_without_our_app_are_requested_once(make_bench: MakeBench, connect: Connect) -> None:
	bench = make_bench(start=False, version=15)
	write_handlers(bench, "alpha", ALPHA)
	install(bench, "alpha", site=STOCK_SITE)
	bench.start()
	early = connect(bench, site=STOCK_SITE)
	user = bench.user(STOCK_SITE)
	assert connect(bench, user, STOCK_SITE).call("alpha", 15)["value"] == 15
	assert connect(bench, bench.user(STOCK_SITE), STOCK_SITE).call("may", "Note", "1") is True
	assert connect(bench, site=STOCK_SITE).call("for_guests") == "Guest"
	assert bench.web.counts["frappe.utils.change_log.get_versions"] == 1
	# Connected before the apps of the site were known.
	early.emit("for_guests")
	early.fence()


@pytest.mark.parametrize("version", [15, 16, 17])
def test_other_permissions_than_read_on_a_stock_site(
	make_bench: MakeBench, connect: Connect, version: int
) -> None:
	bench = make_bench(start=False, version=version)
	write_handlers(bench, "alpha", ALPHA)
	install(bench, "alpha", site=STOCK_SITE)
	bench.start()
	user = bench.user(STOCK_SITE)
	bench.site(STOCK_SITE).forbid(user.name, "Note", "1", "write")
	client = connect(bench, user, STOCK_SITE)
	answers = [client.call("may", "Note", "1", ptype) for ptype in ("read", "write", "delete")]
	assert answers == [True, False, True]


ORDER = """
from frappe_realtime import realtime

@realtime.on("order")
async def order(socket):
	await socket.emit("order", "{app}")
"""


def test_apps_answer_in_the_order_of_installation(make_app_bench: MakeAppBench, connect: Connect) -> None:
	bench = make_app_bench(zulu=ORDER.replace("{app}", "zulu"), alpha=ORDER.replace("{app}", "alpha"))
	client = connect(bench, bench.user())
	client.emit("order")
	assert [client.next("order"), client.next("order")] == [("zulu",), ("alpha",)]


SEED = """
def chat_app_handlers(socket):
	socket.on("hello_chat", lambda: print("hello world!", flush=True))
	socket.on("hello_chat", lambda: socket.emit("hello", socket.user))

	def once():
		socket.on("nested", lambda value: {"nested": value})

	socket.once("open", once)
"""


@pytest.mark.parametrize("place", ["{app}/realtime/handlers.py", "realtime/handlers.py"])
def test_the_set_up_function(make_bench: MakeBench, connect: Connect, place: str) -> None:
	bench = make_bench(start=False)
	write_handlers(bench, "hello_app", SEED, place)
	install(bench, "hello_app")
	bench.start()
	user = bench.user()
	client = connect(bench, user)
	client.emit("hello_chat")
	assert client.next("hello") == (user.name,)
	in_log(bench, "hello world!")
	client.emit("nested", 1)
	client.emit("open")
	assert client.call("nested", 2) == {"nested": 2}


def test_events_of_a_socket_stay_in_order(make_app_bench: MakeAppBench, connect: Connect) -> None:
	bench = make_app_bench(
		ordered="""
import asyncio
from frappe.realtime import realtime

@realtime.on("slow")
async def slow(socket, number):
	await asyncio.sleep(0.05 if number % 2 else 0)
	await socket.emit("done", number)

@realtime.on("thread")
def thread(socket, number):
	socket.emit("done", number)
"""
	)
	client = connect(bench, bench.user())
	for number in range(10):
		client.emit("slow" if number % 3 else "thread", number)
	until(lambda: len(client.all("done")) == 10, "ten answers")
	assert [args[0] for args in client.all("done")] == list(range(10))


def test_a_handler_that_waits_keeps_its_task_and_its_context(
	make_app_bench: MakeAppBench, connect: Connect
) -> None:
	bench = make_app_bench(
		waiting="""
import asyncio
from contextvars import ContextVar
from frappe.realtime import realtime

value_here = ContextVar("value_here", default=None)

@realtime.on("wait")
async def wait(socket, value):
	value_here.set(value)
	task = asyncio.current_task()
	late = []
	for _ in range(3):
		try:
			await asyncio.wait_for(asyncio.Event().wait(), 0.01)
		except asyncio.TimeoutError:
			late.append(asyncio.current_task() is task)
	await asyncio.sleep(0)
	return value_here.get(), late

@realtime.on("see")
async def see(socket):
	return repr(value_here.get())

@realtime.on("fail_later")
async def fail_later(socket):
	await asyncio.sleep(0.01)
	raise RuntimeError("on purpose")
"""
	)
	one, two = connect(bench, bench.user()), connect(bench, bench.user())
	assert one.call("wait", "first") == ("first", [True] * 3)
	assert one.call("see") == "None"
	one.emit("wait", "meanwhile")
	assert two.call("wait", "of two") == ("of two", [True] * 3)
	one.emit("fail_later")
	assert one.call("wait", "after it") == ("after it", [True] * 3)
	in_log(bench, "waiting: a handler of 'fail_later' failed")
	bench.sidecar.expects_traceback = True


def test_a_broken_file_is_reported_and_other_files_are_loaded(
	make_app_bench: MakeAppBench, connect: Connect
) -> None:
	bench = make_app_bench(
		{"common": {"developer_mode": 1}}, broken="import no_such_module_anywhere", alpha=ALPHA
	)
	bench.sidecar.expects_traceback = True
	client = connect(bench, bench.user())
	assert client.call("alpha", 1)["value"] == 1
	[error] = client.next("realtime_handlers_error")
	assert (error["app"], error["error"]) == (
		"broken",
		"ModuleNotFoundError: No module named 'no_such_module_anywhere'",
	)
	portal = connect(bench, bench.user(user_type=WEBSITE_USER))
	portal.fence()
	assert portal.all("realtime_handlers_error") == []
	status, health = bench.sidecar.health()
	assert status == 200
	assert "no_such_module_anywhere" in health["handlers"]["python"]["errors"]["broken"]["error"]
	assert "alpha" in health["handlers"]["python"]["apps"]["alpha"]["events"]


def test_a_changed_file_is_loaded_while_sockets_stay_connected(
	make_app_bench: MakeAppBench, connect: Connect
) -> None:
	text = "from frappe.realtime import realtime\n@realtime.on('v')\nasync def v(socket):\n\treturn 1\n"
	bench = make_app_bench({"common": {"developer_mode": 1}}, changing=text, hello_app=SEED)
	client = connect(bench, bench.user())
	assert client.call("v") == 1
	path = write_handlers(bench, "changing", text.replace("return 1", "return 2"))
	os.utime(path, ns=(time.time_ns(), time.time_ns() + 1))
	until(lambda: client.call("v") == 2, "the new answer")
	write_handlers(bench, "changing", "this is no Python")
	[error] = client.next("realtime_handlers_error")
	assert error["app"] == "changing"
	assert "SyntaxError" in error["error"]
	assert client.call("v") == 2
	write_handlers(bench, "hello_app", SEED.replace('"hello_chat"', '"bye_chat"'))
	client.emit("bye_chat")

	def answered() -> bool:
		client.emit("bye_chat")
		return bool(client.all("hello"))

	until(answered, "the new listener")
	assert client.disconnects == 0
	bench.sidecar.expects_traceback = True


def test_a_deleted_file_is_unloaded(make_app_bench: MakeAppBench, connect: Connect) -> None:
	text = "from frappe.realtime import realtime\n@realtime.on('v')\nasync def v(socket):\n\treturn 1\n"
	bench = make_app_bench({"common": {"developer_mode": 1}}, deleted=text, hello_app=SEED, alpha=ALPHA)
	client = connect(bench, bench.user())
	assert client.call("v") == 1
	client.emit("hello_chat")
	client.next("hello")
	for app in ("deleted", "hello_app"):
		(bench.folder / "apps" / app / app / "realtime" / "handlers.py").unlink()
		in_log(bench, f"the handlers of {app} are unloaded")
	assert list(bench.sidecar.health()[1]["handlers"]["python"]["apps"]) == ["alpha"]
	client.emit("v")
	client.emit("hello_chat")
	client.call("alpha", 1)
	assert len(client.all("hello")) == 1
	with pytest.raises(socketio.exceptions.TimeoutError):
		client.call("v", patience=0.5)
	write_handlers(bench, "deleted", text.replace("return 1", "return 2"))
	until(lambda: bench.sidecar.log.count("loaded the handlers of deleted") == 2, "the new file")
	assert client.call("v") == 2


def test_a_handler_that_blocks_the_loop_is_logged(make_app_bench: MakeAppBench, connect: Connect) -> None:
	bench = make_app_bench(
		{"common": {"realtime_handler_blocking": 0.2}},
		blocker="""
import time
from frappe.realtime import realtime

@realtime.on("block")
async def block(socket):
	until = time.monotonic() + 3
	while time.monotonic() < until:
		pass
""",
	)
	connect(bench, bench.user()).emit("block")
	in_log(bench, "blocker: a handler of 'block'")
	in_log(bench, "blocks the event loop for 0.2 s already")


def test_the_next_event_does_not_wait_for_a_slow_handler(
	make_app_bench: MakeAppBench, connect: Connect
) -> None:
	bench = make_app_bench(
		{"common": {"realtime_handler_seconds": 0.2}},
		slow="""
import asyncio
from frappe.realtime import realtime

@realtime.on("forever")
async def forever(socket):
	await asyncio.Event().wait()

@realtime.on("next")
async def following(socket):
	return "next"
""",
	)
	client = connect(bench, bench.user())
	client.emit("forever")
	assert client.call("next") == "next"
	in_log(bench, "slow: a handler of 'forever' runs for more than 0.2 s")


def test_events_above_the_rate_limit_are_ignored(make_app_bench: MakeAppBench, connect: Connect) -> None:
	bench = make_app_bench({"common": {"realtime_events_per_second": 1}}, alpha=ALPHA)
	client = connect(bench, bench.user())
	for _ in range(20):
		client.emit("alpha", 1)
	until(lambda: client.all("limit_reached"), "the event limit_reached")
	assert 5 <= len(client.all("alpha_seen")) < 15
	assert client.all("limit_reached")[0][0]["limit"] == "realtime_events_per_second"


def test_events_beyond_the_queue_limit_are_dropped(make_app_bench: MakeAppBench, connect: Connect) -> None:
	bench = make_app_bench(
		{"common": {"realtime_handler_queue": 3}},
		waiting="""
import asyncio
from frappe.realtime import realtime

gates = {}

@realtime.on("wait")
async def wait(socket, number):
	await gates.setdefault(socket.sid, asyncio.Event()).wait()
	await socket.emit("done", number)

@realtime.on("open")
async def open_gate(socket, sid):
	gates[sid].set()
""",
	)
	client, other = connect(bench, bench.user()), connect(bench, bench.user())
	client.emit("wait", 0)
	client.fence()
	for number in range(1, 6):
		client.emit("wait", number)
	client.fence()
	other.emit("open", client.id)
	until(lambda: len(client.all("done")) == 4, "the first event, and the three that were queued")
	assert [args[0] for args in client.all("done")] == [0, 1, 2, 3]
	in_log(bench, "3 events wait already (realtime_handler_queue)")
	assert bench.sidecar.health()[1]["handlers"]["python"]["dropped"] == 2


def test_sigterm_ends_a_sidecar_with_a_stuck_thread(make_app_bench: MakeAppBench, connect: Connect) -> None:
	bench = make_app_bench(
		stuck="""
import time
from frappe.realtime import realtime

@realtime.on("stuck")
def stuck(socket):
	print("stuck now", flush=True)
	time.sleep(600)
"""
	)
	connect(bench, bench.user()).emit("stuck")
	in_log(bench, "stuck now")
	assert bench.sidecar.stop() == 0


def test_the_example_chat(make_bench: MakeBench, connect: Connect) -> None:
	bench = make_bench(start=False)
	add_chat(bench)
	bench.start()
	ann, bob = connect(bench, bench.user()), connect(bench, bench.user())
	note = ("Note", bench.document())
	place = "room:" + ann.call("chat_open", *note)["room"]
	bob.call("chat_open", *note)
	first, second = Watcher(ann, place), Watcher(bob, place)
	first.sees(first.answer["me"]["user"], second.answer["me"]["user"])
	bob.emit(PRESENCE_SET, place, {"typing": True})
	first.sees_state(second.id, {"typing": True})
	sent = bob.call("chat_send", *note, "Hello")
	assert ann.next("chat_message")[0]["sent"] == sent["sent"]
	first.sees_state(second.id, {})
	bob.emit("chat_close", *note)
	first.sees(first.answer["me"]["user"])
