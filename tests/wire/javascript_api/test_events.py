"""Events of handlers in JavaScript: arguments, listeners, middleware, order and acknowledgements."""

from __future__ import annotations

import pytest
import socketio

from tests.wire.bench import Bench
from tests.wire.clients import Client
from tests.wire.conditions import until
from tests.wire.conftest import ConnectNode
from tests.wire.javascript_api.chat import run, user_of


def test_arguments_and_binary_in_both_directions(one: Client) -> None:
	arguments = ("a", {"b": [1, None, 2.5, "ü€😀"]}, b"\x00\xff", {"deep": [b"", b"x" * 100_000]})
	one.emit("hello_chat", *arguments)
	assert one.next("hello") == arguments


def test_binary_arguments_are_buffers(one: Client) -> None:
	run(
		one,
		'socket.once("bytes", (b) => socket.emit("is", Buffer.isBuffer(b), new Uint16Array([1, 2]), b.buffer.slice(0, 1)))',
	)
	one.emit("bytes", b"\x07")
	assert one.next("is")[:2] == (True, b"\x01\x00\x02\x00")


def test_values_that_json_cannot_hold(one: Client) -> None:
	run(one, 'socket.emit("odd", undefined, NaN, new Date(0), () => 1, [undefined], {a: undefined})')
	assert one.next("odd") == (None, None, "1970-01-01T00:00:00.000Z", None, [None], {})
	answer = one.call("run", 'const a = {}; a.a = a; socket.emit("circular", a)')
	assert "error" in answer


@pytest.mark.parametrize(
	"question",
	[
		"socket.presence().join({ a: 1n })",
		"socket.presence().set({}, { ttl: 1n })",
		'socket.rewind("room", 1n)',
	],
)
def test_a_question_with_a_value_that_json_cannot_hold_is_refused(
	one: Client, two: Client, question: str
) -> None:
	"""And nothing else: it was kept, and no handler could send anything any more."""
	assert run(one, f"return {question}.catch(({{ code }}) => code)") == "bad_request"
	assert run(two, "return 1") == 1


def test_placeholder_without_attachment_is_unchanged(one: Client) -> None:
	one.emit("hello_chat", {"_placeholder": True, "num": 0})
	assert one.next("hello") == ({"_placeholder": True, "num": 0},)


@pytest.mark.parametrize(
	"values", ["...new Array(11).fill(Buffer.from('x'))", "Buffer.from('x'), { _placeholder: true, num: 7 }"]
)
def test_binary_values_that_clients_would_not_accept_are_refused(one: Client, values: str) -> None:
	for target in ("socket", "socket.nsp"):
		assert "binary values" in one.call("run", f"{target}.emit('b', {values})")["error"]


def test_missing_arguments_are_undefined(one: Client) -> None:
	run(one, 'socket.once("few", (a, b) => socket.emit("few", typeof a, typeof b))')
	one.emit("few", None)
	assert one.next("few") == ("object", "undefined")


def test_all_listeners_of_an_event_run(one: Client) -> None:
	one.emit("ping")
	until(lambda: len(one.all("pong")) == 2, "the pong of the core and that of the app")
	one.emit("hello_chat")
	assert [one.next("hello"), one.next("hello")] == [(), ("second",)]


def test_apps_run_in_order_of_installation(one: Client) -> None:
	for _ in range(3):
		one.emit("hello_chat", "first")
	until(lambda: len(one.all("hello")) == 6, "three events from each app")
	assert one.all("hello") == [("first",), ("second",)] * 3


def test_once_off_and_remove_all_listeners(one: Client) -> None:
	run(
		one,
		"""
		const listener = () => socket.emit("kept");
		socket.once("a", () => socket.emit("once"));
		socket.on("b", listener);
		socket.on("b", () => socket.emit("other"));
		socket.off("b", listener);
		socket.on("c", listener);
		socket.removeListener("c", listener);
		socket.on("d", listener);
		socket.removeAllListeners("d");
		""",
	)
	for event in ("a", "a", "b", "c", "d"):
		one.emit(event)
	run(one, 'socket.emit("end")')
	one.next("end")
	assert [name for name, _ in one.events if name in ("once", "kept", "other")] == ["once", "other"]
	assert run(one, 'return socket.listenerCount("d") + socket.listeners("b").length') == 1


def test_on_can_be_replaced(one: Client) -> None:
	run(
		one,
		"""
		const on = socket.on.bind(socket);
		socket.on = (event, listener) => on(event, (...args) => listener("wrapped", ...args));
		socket.on("wrap", (...args) => socket.emit("wrap", ...args));
		""",
	)
	one.emit("wrap", 1)
	assert one.next("wrap") == ("wrapped", 1)


def test_middleware_runs_before_listeners(one: Client) -> None:
	run(
		one,
		"""
		socket.on("error", (error) => socket.emit("refused", error.message));
		socket.use((packet, next) => {
			if (packet[0] === "secret") return next(new Error("no " + packet[1]));
			if (packet[0] === "later") return setTimeout(() => { packet[1] += "!"; next(); }, 1);
			next();
		});
		socket.on("secret", () => socket.emit("heard"));
		socket.on("later", (text) => socket.emit("later", text));
		""",
	)
	one.emit("secret", "entry")
	assert one.next("refused") == ("no entry",)
	one.emit("later", "text")
	assert one.next("later") == ("text!",)
	assert one.all("heard") == []


def test_reserved_names_cannot_be_emitted(one: Client) -> None:
	for name in ("connect", "disconnect", "connect_error", "newListener"):
		for target in ("socket", "socket.broadcast", "socket.nsp"):
			assert "reserved" in one.call("run", f'{target}.emit("{name}")')["error"]


@pytest.mark.parametrize("name", ["null", "{ a: 1 }", "true", "undefined", "NaN"])
def test_a_name_that_is_no_string_cannot_be_emitted(one: Client, name: str) -> None:
	for target in ("socket", "socket.nsp", "socket.broadcast"):
		assert "is a string" in one.call("run", f"{target}.emit({name}, 1)")["error"]


def test_events_of_a_socket_keep_their_order(one: Client) -> None:
	for number in range(300):
		one.emit("order", number)
	until(lambda: len(one.all("order")) == 300, "all events")
	assert [args[0] for args in one.all("order")] == list(range(300))


def test_awaited_steps_run_before_the_next_event(one: Client) -> None:
	run(
		one,
		"""
		let running = 0, most = 0;
		socket.on("step", async () => {
			running += 1;
			most = Math.max(most, running);
			// So that further events come meanwhile.
			for (const end = performance.now() + 2; performance.now() < end; );
			for (let turn = 0; turn < 5; turn++) await null;
			running -= 1;
			socket.emit("most", most);
		});
		""",
	)
	for _ in range(50):
		one.emit("step")
	until(lambda: len(one.all("most")) == 50, "all steps")
	assert one.all("most")[-1] == (1,)


def test_sloppy_mode(one: Client) -> None:
	one.emit("sloppy")
	assert one.next("sloppy")[0] == user_of(one)


# -- acknowledgements


def test_handler_acknowledges_once(chat_bench: Bench, connect_node: ConnectNode, node_version: str) -> None:
	client = connect_node(chat_bench, node_version, chat_bench.user())
	assert client.call("acknowledged", {"a": b"\x01"}) == ({"a": b"\x01"}, 1)
	assert client.call("acknowledged", "again") == ("again", 1)


def test_handler_that_does_not_acknowledge(one: Client) -> None:
	with pytest.raises(socketio.exceptions.TimeoutError):
		one.call("not acknowledged", patience=0.5)
	one.fence()


def test_client_acknowledges_an_event_of_a_handler(
	chat_bench: Bench, connect_node: ConnectNode, node_version: str
) -> None:
	client = connect_node(chat_bench, node_version, chat_bench.user())
	client.call(
		"run", 'socket.emit("echo", "question", Buffer.from([9]), (...a) => socket.emit("answered", ...a))'
	)
	assert client.next("answered")[:2] == ("question", b"\x09")
