"use strict";
// Writes what handlers print, and the errors that they do not catch, for the log of the sidecar
// (realtime/javascript/process_log.py).

const util = require("node:util");

const { app_of_error, current_app } = require("./app_context");

const LEVELS = { debug: "debug", log: "info", info: "info", warn: "warning", error: "error", trace: "error" };
const RECORD_MARK = "\x1e"; // begins each line that is written here; other lines are of Node or of apps
const MAX_TEXT = 64 * 1024; // characters

function write(level, app, text, socket = null) {
	// As text: handlers can replace the properties of a socket.
	const client = socket && { site: `${socket.site_name}`, user: `${socket.user}`, socket: `${socket.id}` };
	process.stdout.write(`${RECORD_MARK}${JSON.stringify([level, app, text.slice(0, MAX_TEXT), client])}\n`);
}

/** Log an error that a handler has not caught; `doing` says in what, `socket` is the handler's socket if it is known. */
function failure(error, doing, app, socket = null) {
	const stack = error instanceof Error ? error.stack : util.inspect(error);
	write("failed", app ?? app_of_error(stack), `${doing}: ${stack}`, socket);
}

/** Log the output of `console` under the name of the app, and uncaught errors, which end the process no more. */
function install() {
	for (const [method, level] of Object.entries(LEVELS)) {
		console[method] = (...values) => {
			let text = util.format(...values);
			if (method === "trace") text += `\n${new Error().stack.split("\n").slice(2).join("\n")}`;
			write(level, current_app(), text);
		};
	}
	process.on("uncaughtException", (error, origin) =>
		failure(error, origin === "unhandledRejection" ? "a promise was rejected" : "an exception was not caught", null),
	);
}

module.exports = { failure, install };
