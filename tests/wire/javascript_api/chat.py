"""The apps of the bench, and what tests run in the app `chat`."""

from __future__ import annotations

from typing import Any

from tests.wire.clients import Client

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


def run(client: Client, code: str) -> Any:
	"""Run JavaScript in the handlers with the socket of `client`; return what it returns."""
	answer = client.call("run", code)
	assert not (isinstance(answer, dict) and "error" in answer), answer
	return answer


def user_of(client: Client) -> str:
	"""Return the user of a client, as handlers read it."""
	return str(run(client, "return socket.user"))
