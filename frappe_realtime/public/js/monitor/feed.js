// Watches the sidecars over the Desk's own realtime connection. Ends while the page is not visible; resumes after a reconnect.

export const MONITOR = "frappe_realtime:monitor";
export const MONITOR_SNAPSHOT = "frappe_realtime:monitor_snapshot";
export const MONITOR_QUERY = "frappe_realtime:monitor_query";

// Milliseconds without an answer before the page says so, and before it asks again.
const SILENT_AFTER = 4000;
const RETRY_AFTER = 10_000;

// Snapshots that may be missing before the page asks again: the sidecar may have ended the watch.
const MISSING_SNAPSHOTS = 3;

/** An error that the sidecar has answered: `code` and a sentence. */
export class MonitorError extends Error {
	constructor({ code, message }) {
		super(message);
		this.code = code;
	}
}

/**
 * The state of a feed.
 *
 * - `disabled`: the site has no realtime (`disable_async`)
 * - `lost`: the Desk is not connected
 * - `asking`: connected, and no answer yet
 * - `silent`: no answer for some seconds; the feed goes on asking
 * - `refused`: the sidecar has answered with an error
 * - `live`: snapshots arrive
 *
 * @typedef {"disabled" | "lost" | "asking" | "silent" | "refused" | "live"} FeedState
 */

/** A subscription to the snapshots of the sidecars. */
export class Feed {
	/**
	 * @param {object} realtime `frappe.realtime`
	 * @param {object} listeners
	 * @param {(state: FeedState, error?: MonitorError) => void} listeners.on_state
	 * @param {(history: object) => void} listeners.on_history
	 * @param {(snapshot: object) => void} listeners.on_snapshot
	 */
	constructor(realtime, { on_state, on_history, on_snapshot }) {
		this._realtime = realtime;
		this._on_state = on_state;
		this._on_history = on_history;
		this._on_snapshot = on_snapshot;
		this._is_active = false;
		// Increases with each request, so that a late answer to an earlier one is recognised.
		this._request = 0;
		this._interval = 0;
		this._timer = null;
		this._receive = (snapshot) => this._received(snapshot);
		this._change_status = (status) => this._on_status(status);
	}

	/** Start to watch. */
	start() {
		if (this._is_active) return;
		this._is_active = true;
		if (!this._realtime.socket) {
			this._on_state("disabled");
			return;
		}
		this._realtime.on(MONITOR_SNAPSHOT, this._receive);
		this._realtime.on("realtime_status", this._change_status);
		this._on_status(this._realtime.status);
	}

	/** End the watch: the sidecar then collects nothing for this page. */
	stop() {
		if (!this._is_active) return;
		this._is_active = false;
		this._request++;
		clearTimeout(this._timer);
		if (!this._realtime.socket) return;
		this._realtime.off(MONITOR_SNAPSHOT, this._receive);
		this._realtime.off("realtime_status", this._change_status);
		// Without a connection there is no watch to end, and Socket.IO's client would send this after the next connect.
		if (this._realtime.status === "connected") this._realtime.emit(MONITOR, { watch: false });
	}

	/**
	 * Ask the sidecars something.
	 *
	 * @param {object} payload with `kind`
	 * @returns {Promise<object>}
	 * @throws {MonitorError}
	 */
	async query(payload) {
		const answer = await this._realtime.emitWithAck(MONITOR_QUERY, payload);
		if (answer.error) throw new MonitorError(answer.error);
		return answer;
	}

	_on_status(status) {
		if (status === "connected") {
			this._ask();
			return;
		}
		this._request++;
		clearTimeout(this._timer);
		this._on_state("lost");
	}

	async _ask() {
		const request = ++this._request;
		clearTimeout(this._timer);
		this._on_state("asking");
		this._timer = setTimeout(() => this._on_state("silent"), SILENT_AFTER);
		let answer;
		try {
			answer = await this._realtime.emitWithAck(MONITOR, { watch: true });
		} catch {
			answer = null;
		}
		// The page was left or the connection lost meanwhile.
		if (request !== this._request) return;
		clearTimeout(this._timer);
		if (!answer) {
			this._on_state("silent");
		} else if (answer.error) {
			this._on_state("refused", new MonitorError(answer.error));
		} else {
			this._interval = answer.interval;
			this._on_history(answer.history);
			this._on_state("live");
		}
		this._ask_again_after(answer && !answer.error ? this._patience() : RETRY_AFTER);
	}

	_received(snapshot) {
		// A snapshot that was on its way when the watch ended, or that comes before the answer.
		if (!this._interval) return;
		this._on_state("live");
		this._on_snapshot(snapshot);
		this._ask_again_after(this._patience());
	}

	_patience() {
		return this._interval * 1000 * MISSING_SNAPSHOTS;
	}

	_ask_again_after(delay) {
		clearTimeout(this._timer);
		this._timer = setTimeout(() => this._ask(), delay);
	}
}
