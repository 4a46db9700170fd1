"use strict";
// The apps' handlers.js: loaded once, from their place, as Frappe's server does.

const fs = require("node:fs");
const path = require("node:path");

const journal = require("./journal");

class Apps {
	constructor(channel) {
		this._channel = channel;
		this._handlers = new Map();
	}

	/** Load `file`, the handlers of `app`. Says so before and after, since the process may not survive it. */
	load(app, file) {
		if (this._handlers.has(app)) return;
		const real = fs.realpathSync(file);
		journal.add_root(path.dirname(path.dirname(file)), app);
		journal.add_root(path.dirname(path.dirname(real)), app);
		let handlers = null;
		let problem = null;
		try {
			handlers = journal.run_as(app, "loading handlers.js", () => require(file));
			if (typeof handlers !== "function") throw new TypeError("handlers.js does not export a function");
		} catch (error) {
			handlers = null;
			problem = String(error instanceof Error ? error.message : error).split("\n")[0];
			journal.failed(error, `${file} cannot be loaded`, app);
		}
		this._handlers.set(app, handlers);
		this._channel.send(["loaded", app, problem, loaded_files()]);
	}

	/** Call the handlers of `app` with a new socket. */
	set_up(app, socket) {
		const handlers = this._handlers.get(app);
		if (!handlers) return;
		const doing = () => `handlers.js failed to set up a socket of ${socket.site_name}`;
		try {
			const result = journal.run_as(app, "setting up a socket", () => handlers(socket));
			if (typeof result?.then === "function") result.then(undefined, (error) => journal.failed(error, doing(), app));
		} catch (error) {
			journal.failed(error, doing(), app);
		}
	}
}

function loaded_files() {
	return Object.keys(require.cache).filter(
		(file) => !file.startsWith(__dirname + path.sep) && !file.includes(`${path.sep}node_modules${path.sep}`),
	);
}

module.exports = { Apps };
