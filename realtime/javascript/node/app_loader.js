"use strict";
// Loads each handlers.js once, by Node's own rules, as Frappe's server does.

const fs = require("node:fs");
const path = require("node:path");

const { add_app_folder, run_in_app } = require("./app_context");
const log = require("./log");

class AppLoader {
	constructor(channel) {
		this._channel = channel;
		this._handlers = new Map();
	}

	/** Load `file`, the handlers of `app`, and report the result: the sidecar then knows that the process has survived. */
	load(app, file) {
		if (this._handlers.has(app)) return;
		const real = fs.realpathSync(file);
		add_app_folder(path.dirname(path.dirname(file)), app);
		add_app_folder(path.dirname(path.dirname(real)), app);
		let handlers = null;
		let problem = null;
		try {
			const exported = run_in_app(app, "loading handlers.js", () => require(file));
			if (typeof exported !== "function") throw new TypeError("handlers.js does not export a function");
			handlers = exported;
		} catch (error) {
			problem = String(error instanceof Error ? error.message : error).split("\n")[0];
			log.failure(error, `${file} cannot be loaded`, app);
		}
		this._handlers.set(app, handlers);
		this._channel.send(["app_loaded", app, problem, loaded_files()]);
	}

	/** Call the exported function of `app` with a new socket. */
	call(app, socket) {
		const handlers = this._handlers.get(app);
		if (!handlers) return;
		const doing = () => `handlers.js failed to set up a socket of ${socket.site_name}`;
		try {
			const result = run_in_app(app, "setting up a socket", () => handlers(socket));
			socket._report_properties();
			if (typeof result?.then === "function") {
				result.then(() => socket._report_properties(), (error) => log.failure(error, doing(), app, socket));
			}
		} catch (error) {
			log.failure(error, doing(), app, socket);
		}
	}
}

/** The files of apps that are loaded, without npm packages. */
function loaded_files() {
	return Object.keys(require.cache).filter(
		(file) => !file.startsWith(__dirname + path.sep) && !file.includes(`${path.sep}node_modules${path.sep}`),
	);
}

module.exports = { AppLoader };
