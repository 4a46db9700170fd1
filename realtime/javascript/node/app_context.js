"use strict";
// Which app's code runs: known by the app whose code was called, the app that added a listener, or the stack.

const fs = require("node:fs");
const path = require("node:path");

const { activity_fd } = require("./process_arguments");

const listener_apps = new WeakMap(); // listener → the app that has added it
const app_folders = []; // [folder with a separator at its end, app]
const activity = Buffer.alloc(256); // the content of the activity file: the length in one byte, the text
let running_app = null; // the app whose code runs now, while that is known

/** Attribute the code below `folder` to `app`. */
function add_app_folder(folder, app) {
	app_folders.push([folder + path.sep, app]);
}

/** Run `code` as code of `app`, and write to the activity file what it is `doing`. Returns and throws what `code` does. */
function run_in_app(app, doing, code) {
	const previous = running_app;
	running_app = app;
	const length = activity.write(`${app ?? "an app"}: ${doing}`, 1);
	activity[0] = length;
	fs.writeSync(activity_fd, activity, 0, length + 1, 0);
	try {
		return code();
	} finally {
		running_app = previous;
	}
}

/** Attribute `listener` to the app that runs now, unless it is attributed already. */
function set_app_of(listener) {
	if (typeof listener === "function" && !listener_apps.has(listener)) {
		const app = current_app();
		if (app) listener_apps.set(listener, app);
	}
}

/** The app that has added `listener`; null if it is unknown. */
function get_app_of(listener) {
	// `once` wraps a listener, and keeps it as a property.
	return listener_apps.get(listener) ?? listener_apps.get(listener.listener) ?? null;
}

/** The app whose code runs now; null if it is unknown. */
function current_app() {
	return running_app ?? app_in_stack(new Error().stack);
}

/** The app of the innermost call in `stack` that lies in the folder of an app. */
function app_in_stack(stack) {
	for (const line of String(stack ?? "").split("\n")) {
		const found = app_folders.find(([folder]) => line.includes(folder));
		if (found) return found[1];
	}
	return null;
}

/** The app to blame for an error with this stack. */
function app_of_error(stack) {
	return app_in_stack(stack) ?? running_app;
}

module.exports = { add_app_folder, app_of_error, current_app, get_app_of, run_in_app, set_app_of };
