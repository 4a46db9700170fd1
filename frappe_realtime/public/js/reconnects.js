// Built by client/build_assets.mjs from client/core/src/reconnects.ts: change that file.

// How a connection reconnects for as long as the page lives: by socket.io-client, and where that gives up.
import { page } from "./page.js?v=fccc9a93854c";
// Milliseconds between two attempts to connect: doubled from the first to the maximum, which is higher after a refusal.
const FIRST_DELAY = 1000;
const MAX_DELAY_LOST = 10_000;
const MAX_DELAY_REFUSED = 60_000;
const JITTER = 0.5;
/** The attempts of one socket to connect. */
export class Reconnects {
	constructor(socket) {
		this._socket = socket;
		this._reported = new Set();
		this._refusals = 0;
		const { io: manager } = socket;
		manager.reconnectionAttempts(Infinity);
		manager.reconnectionDelay(FIRST_DELAY);
		manager.reconnectionDelayMax(MAX_DELAY_LOST);
		manager.randomizationFactor(JITTER);
		// A proxy may join the two ports of a development bench: then the realtime server is at the page's own origin.
		const { uri } = manager;
		const has_two = page().dev_server && new URL(uri).hostname === location.hostname;
		this._addresses = has_two ? [location.origin, uri] : [];
	}
	/** The server has admitted the client. */
	on_connect() {
		this._addresses = [];
		this._refusals = 0;
		this.stop();
	}
	/** The server cannot be reached, or has refused the client, which is logged once for each reason. */
	on_error({ message, data }) {
		if (data?.code && !this._reported.has(data.code)) {
			this._reported.add(data.code);
			console.warn(`Realtime: ${message} (${data.code}): ${data.reason}. See the result of diagnose().`);
		}
		const [next] = this._addresses;
		if (!next || !this._socket.active)
			return;
		this._socket.io.uri = next;
		this._addresses.reverse();
	}
	/** Try again after a pause if socket.io-client does not, as after the server has refused or disconnected the client. */
	retry_if_inactive() {
		if (this._socket.active)
			return;
		const delay = Math.min(FIRST_DELAY * 2 ** this._refusals++, MAX_DELAY_REFUSED);
		this.stop();
		this._timer = setTimeout(() => this._socket.connect(), with_jitter(delay));
	}
	/** Try again at once. */
	retry_now() {
		this.stop();
		// disconnect() cancels socket.io-client's own timer; connect() alone does not.
		this._socket.disconnect().connect();
	}
	/** Do not try again, unless socket.io-client does. */
	stop() {
		clearTimeout(this._timer);
	}
}
function with_jitter(delay) {
	return delay * (1 - JITTER + 2 * JITTER * Math.random());
}
