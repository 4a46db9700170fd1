"use strict";
// What handlers print and where they fail, as lines that the sidecar puts into its log under the app's name.

const fs = require("node:fs");
const path = require("node:path");
const util = require("node:util");

const LEVELS = { debug: "debug", log: "info", info: "info", warn: "warning", error: "error", trace: "error" };
const MARK = "\x1e"; // begins a line of ours; other lines on standard output are somebody else's
const MAX_LINE = 64 * 1024; // characters of an entry in the sidecar's log

const owners = new WeakMap(); // listener → its app
const roots = []; // [folder with a separator at its end, app]
const page = Buffer.alloc(256);
let note = -1; // the file that says what runs
let running = null; // the app whose code runs now, while that is known

/** Know the code below `folder` as the code of `app`. */
function add_root(folder, app) {
	roots.push([folder + path.sep, app]);
}

/** Write into the file `fd` what runs, whenever something begins. */
function note_in(fd) {
	note = fd;
}

/** Run `code` as a part of `app`, `doing` something; what it throws goes through. */
function run_as(app, doing, code) {
	const before = running;
	running = app;
	const length = page.write(`${app ?? "an app"}: ${doing}`, 1);
	page[0] = length;
	fs.writeSync(note, page, 0, length + 1, 0);
	try {
		return code();
	} finally {
		running = before;
	}
}

/** Note that `listener` was registered by the app that runs now. */
function own(listener) {
	if (typeof listener === "function" && !owners.has(listener)) {
		const app = current_app();
		if (app) owners.set(listener, app);
	}
}

function owner_of(listener) {
	return owners.get(listener) ?? owners.get(listener.listener) ?? null;
}

function current_app() {
	return running ?? app_in(new Error().stack);
}

/** The app in whose folder the innermost call of `stack` lies. */
function app_in(stack) {
	for (const line of String(stack ?? "").split("\n")) {
		const root = roots.find(([folder]) => line.includes(folder));
		if (root) return root[1];
	}
	return null;
}

function write(level, app, text) {
	process.stdout.write(`${MARK}${JSON.stringify([level, app, text.slice(0, MAX_LINE)])}\n`);
}

/** Log an error of a handler; `doing` says during what. */
function failed(error, doing, app) {
	const stack = error instanceof Error ? error.stack : util.inspect(error);
	write("failed", app ?? app_in(stack) ?? running, `${doing}: ${stack}`);
}

/** From now on what is printed with `console` carries the name of the app, and no error ends the process. */
function install() {
	for (const [method, level] of Object.entries(LEVELS)) {
		console[method] = (...values) => {
			let text = util.format(...values);
			if (method === "trace") text += `\n${new Error().stack.split("\n").slice(2).join("\n")}`;
			write(level, current_app(), text);
		};
	}
	process.on("uncaughtException", (error, origin) =>
		failed(error, origin === "unhandledRejection" ? "a promise was rejected" : "an exception was not caught"),
	);
}

module.exports = { add_root, failed, install, note_in, own, owner_of, run_as };
