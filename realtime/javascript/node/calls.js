"use strict";
// Counts the calls of listeners on the sites that are watched: reports for the sidecar, which shows them on the monitoring page.

const util = require("node:util");

const INTERVAL = 1000; // milliseconds between two reports
const MAX_COUNTS = 500; // counts that are kept until the next report; with more, it is sent at once
const MAX_ERROR = 200; // characters of an error

class Calls {
	/** @param {Channel} channel the channel to the sidecar */
	constructor(channel) {
		this._channel = channel;
		this._sites = new Set();
		this._counts = new Map(); // site, app and event as JSON → [calls, sum of the seconds, errors, last error]
		this._timer = null;
	}

	/** Count the calls of these sites from now on, and of no others. */
	watch(sites) {
		this._sites = new Set(sites);
	}

	/** Count one call of a listener of `app`; `failure` is null, or `[error]`. An unknown app, null, is not counted. */
	observe(site, app, event, seconds, failure) {
		if (app === null || !this._sites.has(site)) return;
		const key = JSON.stringify([site, app, event]);
		let count = this._counts.get(key);
		if (!count) {
			if (this._counts.size === MAX_COUNTS) this._report();
			this._timer ??= setTimeout(() => this._report(), INTERVAL).unref();
			this._counts.set(key, (count = [0, 0, 0, ""]));
		}
		count[0] += 1;
		count[1] += seconds;
		if (failure) {
			count[2] += 1;
			count[3] = describe(failure[0]).slice(0, MAX_ERROR);
		}
	}

	_report() {
		clearTimeout(this._timer);
		this._timer = null;
		for (const [key, count] of this._counts) this._channel.send(["calls", ...JSON.parse(key), ...count]);
		this._counts.clear();
	}
}

/** The type and the text of an error that a handler has thrown, which may be any value. */
function describe(error) {
	try {
		return error instanceof Error ? `${error.name}: ${error.message}` : util.inspect(error);
	} catch {
		return "an error without a text";
	}
}

module.exports = { Calls };
