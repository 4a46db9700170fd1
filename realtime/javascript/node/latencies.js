"use strict";
// How long the listeners of each app take: histograms that are sent to the sidecar, which adds them up for `/metrics`.

const INTERVAL = 1000; // milliseconds between two reports

class Latencies {
	/** @param {Channel} channel the channel to the sidecar
	 *  @param {number[]} bounds the inclusive upper bounds of the buckets in seconds, ascending */
	constructor(channel, bounds) {
		this._channel = channel;
		this._bounds = bounds;
		this._apps = new Map(); // app → [counts of the buckets, sum of the seconds], since the last report
	}

	/** Count one call of a listener of `app`; null, an unknown app, is not counted. */
	observe(app, seconds) {
		if (app === null) return;
		if (!this._apps.size) setTimeout(() => this._report(), INTERVAL).unref();
		let histogram = this._apps.get(app);
		if (!histogram) {
			histogram = [new Array(this._bounds.length + 1).fill(0), 0];
			this._apps.set(app, histogram);
		}
		const bucket = this._bounds.findIndex((bound) => seconds <= bound);
		histogram[0][bucket < 0 ? this._bounds.length : bucket] += 1;
		histogram[1] += seconds;
	}

	_report() {
		for (const [app, histogram] of this._apps) this._channel.send(["latency", app, ...histogram]);
		this._apps.clear();
	}
}

module.exports = { Latencies };
