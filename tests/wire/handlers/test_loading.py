"""Which handlers run: versions of Frappe, the order of apps, and files that are broken, changed or deleted."""

from __future__ import annotations

import os
import time

import pytest
import socketio

from frappe_realtime.contract.presence import PRESENCE_SET
from realtime.demo.model import WEBSITE_USER
from tests.wire.apps import add_chat, in_log, install, write_handlers
from tests.wire.bench import STOCK_SITE
from tests.wire.conditions import until
from tests.wire.conftest import Connect, MakeBench
from tests.wire.handlers.alpha import ALPHA, MakeAppBench
from tests.wire.presence import Watcher


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
