"""What apps in JavaScript know of the user, call, and load; and what is logged of them."""

from __future__ import annotations

import pytest

from realtime.demo.model import GUEST, WEBSITE_USER
from tests.wire.bench import APP_SITE, STOCK_SITE, Bench
from tests.wire.clients import POLLING, Client
from tests.wire.conftest import Connect
from tests.wire.javascript import in_log, processes
from tests.wire.javascript_api.chat import run, user_of


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
	assert run(one, "return 1") == 1
	assert len(one.all("may")) == 2


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


def test_module_state_is_shared_by_all_sites(chat_bench: Bench, connect: Connect, one: Client) -> None:
	before = run(one, "return shared.sockets")
	other = connect(chat_bench, chat_bench.user(STOCK_SITE), STOCK_SITE)
	assert run(other, "return shared.sockets") == before + 1


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
