// The samples of the last hour: those that the sidecars have kept, and the snapshots that have arrived since.

const SECONDS = 3600;

/**
 * @typedef {object} Sample
 * @property {number} time seconds since 1970
 * @property {number} sockets
 * @property {number} events per second
 * @property {number} deliveries per second
 * @property {number} p50_ms
 * @property {number} p99_ms
 * @property {number} memory bytes
 */

/** The samples of the last hour, oldest first. */
export class History {
	constructor() {
		/** @type {Sample[]} */
		this.samples = [];
		this._interval = 10;
		this._pending = [];
	}

	/**
	 * Replace the samples with those of an answer.
	 *
	 * @param {{interval: number, fields: string[], samples: number[][]}} history
	 */
	load({ interval, fields, samples }) {
		this._interval = interval;
		this._pending = [];
		this.samples = samples.map((values) =>
			Object.fromEntries(fields.map((field, index) => [field, values[index]]))
		);
	}

	/**
	 * Add a snapshot. Snapshots of one interval become one sample.
	 *
	 * @param {object} snapshot
	 * @returns {boolean} whether there is a new sample
	 */
	add(snapshot) {
		this._pending.push(snapshot);
		const newest = this.samples[this.samples.length - 1]?.time ?? -Infinity;
		if (snapshot.time - newest < this._interval) return false;
		this.samples.push(join_snapshots(this._pending));
		this._pending = [];
		this.samples = this.samples.filter(({ time }) => snapshot.time - time <= SECONDS);
		return true;
	}
}

function join_snapshots(snapshots) {
	const mean = (read) => snapshots.reduce((sum, one) => sum + read(one), 0) / snapshots.length;
	const last = snapshots[snapshots.length - 1];
	return {
		time: last.time,
		sockets: last.totals.sockets,
		events: mean(({ rates }) => rates.events),
		deliveries: mean(({ rates }) => rates.deliveries),
		p50_ms: last.latency_ms.p50,
		p99_ms: last.latency_ms.p99,
		memory: total_memory(last),
	};
}

/** Return the bytes of memory of all processes together. */
export function total_memory({ processes }) {
	return processes.reduce((sum, { memory }) => sum + memory, 0);
}
