// The browser client: a connection to a Frappe site that stays alive and knows what it was subscribed to.
//
// Free of the Desk, of jQuery and of any build step. A portal page or a single-page app imports it from
// /assets/frappe_realtime/js/realtime.js; the Desk's binding (desk.js) is built on the same `Connection`.
// It is one file on purpose: a page names its version in the address (`?v=1`), which its own imports would not have.

/** Raised when `status` changes, with the new status. */
export const STATUS_EVENT = "realtime_status";

/** Raised after a reconnect that could not be recovered: events may have been missed. */
export const MISSED_EVENT = "realtime_missed";

/** The events that come from this client, never from the server. */
export const OWN_EVENTS = [STATUS_EVENT, MISSED_EVENT];

/** The header by which a request tells the server which page it comes from; its value is `page_id`. */
export const PAGE_HEADER = "X-Frappe-Realtime-Page";

/** The name of this page. It outlives a reload, and no other tab has it. */
export const page_id = (window.frappe_realtime_page ??= remember_page());

// What begins a subscription, by what ends it.
const SUBSCRIPTIONS = {
	doc_unsubscribe: "doc_subscribe",
	doc_close: "doc_open",
	doctype_unsubscribe: "doctype_subscribe",
	task_unsubscribe: "task_subscribe",
};
const BEGINNINGS = Object.values(SUBSCRIPTIONS);

const CONNECT_PACKET = 0;

const CLIENT_PLACES = [
	"../node_modules/socket.io-client/dist/socket.io.esm.min.js",
	"/assets/frappe/node_modules/socket.io-client/dist/socket.io.esm.min.js",
];

// Milliseconds. A connection that broke is tried again more eagerly than one that the server refused.
const FIRST_DELAY = 1000;
const LONGEST_DELAY_BROKEN = 10_000;
const LONGEST_DELAY_REFUSED = 60_000;
const JITTER = 0.5;

// Milliseconds before a disconnect in which the connection may have been dead already: what was sent then may be lost.
const DOUBTFUL = 60_000;

// How many subscriptions are remembered (the server allows a socket as many rooms), and how many of them are sent
// again at once, and after what pause the next: what is more than the server's limits allow would be ignored.
const MOST_SUBSCRIPTIONS = 1000;
const BATCH = 80;
const BATCH_PAUSE = 10_000;

/** How long `emitWithAck` waits for its answer, in milliseconds. */
const ACK_TIMEOUT = 20_000;

/**
 * @typedef {object} OwnOptions
 * @property {string} [site] the site's name; default: what Frappe has put into the page, else the host's name
 * @property {string} [url] where the realtime server is; default: the page's own origin
 * @property {Function} [io] Socket.IO's `io`, version 4.6 or later; default: loaded from /assets
 */

/**
 * Connect to a site.
 *
 * @param {OwnOptions & Record<string, any>} [options] what is not ours goes to Socket.IO's `io()` as it is, such as
 *     `auth: { token }` or `transports: ["websocket"]`
 * @returns {Promise<Connection>} at once, not only when it is connected: see `status`
 * @throws {Error} when Socket.IO's client cannot be loaded
 */
export async function connect({ site = default_site(), url = default_url(), io, ...options } = {}) {
	const open = io ?? (await load_io());
	// It connects when the Connection listens, which otherwise would not see the first packet.
	const socket = open(`${url}/${site}`, { withCredentials: true, ...options, autoConnect: false });
	const connection = new Connection(socket);
	if (options.autoConnect !== false) socket.connect();
	return connection;
}

/** A Socket.IO socket that is kept alive, with the subscriptions of Frappe's rooms. */
export class Connection {
	/** @param {any} [socket] of socket.io-client; may be given later, to `attach` */
	constructor(socket) {
		/** @type {"connecting" | "connected" | "lost" | "closed"} */
		this.status = "connecting";
		this.socket = null;
		this._own_events = new OwnEvents();
		this._subscriptions = new Subscriptions((packet) => this.socket.emit(...packet));
		this._has_offsets = false;
		this._refusals = 0;
		this._retry = null;
		this._on_online = () => this._retry_now();
		if (socket) this.attach(socket);
	}

	/**
	 * Take care of a socket from now on.
	 *
	 * @param {any} socket of socket.io-client
	 */
	attach(socket) {
		this.socket = socket;
		socket.io.on("packet", ({ type, nsp, data }) => {
			if (type === CONNECT_PACKET && nsp === socket.nsp) this._has_offsets = Boolean(data?.pid);
		});
		socket.io.reconnectionAttempts(Infinity);
		socket.io.reconnectionDelay(FIRST_DELAY);
		socket.io.reconnectionDelayMax(LONGEST_DELAY_BROKEN);
		socket.io.randomizationFactor(JITTER);

		let had_connected = false;
		let lost_at = 0;
		const on_connect = () => {
			const missed = had_connected && !socket.recovered;
			if (missed) this._subscriptions.begin_again(lost_at);
			else if (had_connected) this._subscriptions.repeat(lost_at - DOUBTFUL, lost_at);
			had_connected = true;
			this._refusals = 0;
			clearTimeout(this._retry);
			this._set_status("connected");
			if (missed) this._own_events.raise(MISSED_EVENT);
		};
		socket.on("connect", on_connect);
		socket.on("disconnect", (reason) => {
			lost_at = performance.now();
			this._subscriptions.pause();
			if (reason === "io client disconnect") {
				this._set_status("closed");
			} else {
				this._set_status("lost");
				this._retry_if_given_up();
			}
		});
		// Where a proxy joins the two ports of a development bench, the page's own address is the right one.
		const { uri } = socket.io;
		const addresses =
			window.dev_server && new URL(uri).hostname === location.hostname ? [location.origin, uri] : [];
		socket.on("connect_error", () => {
			if (!had_connected && socket.active && addresses.length) {
				socket.io.uri = addresses[0];
				addresses.reverse();
			}
			this._set_status("lost");
			this._retry_if_given_up();
		});
		socket.onAnyOutgoing((event, ...args) => this._subscriptions.remember(event, args));
		window.addEventListener("online", this._on_online);
		if (socket.connected) on_connect();
	}

	/**
	 * Listen to an event.
	 *
	 * @param {string} event
	 * @param {Function} callback gets the message, or whatever arguments a handler has emitted
	 */
	on(event, callback) {
		this._emitter(event).on(event, this._listener(event, callback));
	}

	/**
	 * Listen to the next event of that name only.
	 *
	 * @param {string} event
	 * @param {Function} callback
	 */
	once(event, callback) {
		const emitter = this._emitter(event);
		const listener = this._listener(event, function (...args) {
			emitter.off(event, listener);
			callback.apply(this, args);
		});
		listener.fn = callback;
		emitter.on(event, listener);
	}

	/**
	 * Stop listening.
	 *
	 * @param {string} event
	 * @param {[Function?]} callback the one to take away; without it all of the event
	 */
	off(event, ...callback) {
		this._emitter(event).off(event, ...callback);
	}

	/**
	 * Send an event. While there is no connection, it waits for the next one.
	 *
	 * @param {string} event
	 * @param {...any} args
	 */
	emit(event, ...args) {
		this.socket.emit(event, ...args);
	}

	/**
	 * Send an event and wait for what its handler answers.
	 *
	 * @param {string} event
	 * @param {...any} args
	 * @returns {Promise<any>} rejected when no answer comes within 20 seconds, or the connection breaks
	 */
	emitWithAck(event, ...args) {
		return new Promise((resolve, reject) => {
			this.socket.timeout(ACK_TIMEOUT).emit(event, ...args, (error, answer) => {
				if (error) reject(new Error(`"${event}" was not answered: ${error.message}`));
				else resolve(answer);
			});
		});
	}

	/** Receive what concerns one document. */
	doc_subscribe(doctype, name) {
		this.emit("doc_subscribe", doctype, name);
	}

	doc_unsubscribe(doctype, name) {
		this.emit("doc_unsubscribe", doctype, name);
	}

	/** Be seen as a viewer of a document, and receive `doc_viewers`. */
	doc_open(doctype, name) {
		this.emit("doc_open", doctype, name);
	}

	doc_close(doctype, name) {
		this.emit("doc_close", doctype, name);
	}

	/** Receive `list_update` of a DocType. */
	doctype_subscribe(doctype) {
		this.emit("doctype_subscribe", doctype);
	}

	doctype_unsubscribe(doctype) {
		this.emit("doctype_unsubscribe", doctype);
	}

	/** Receive the progress of one background job. */
	task_subscribe(task_id) {
		this.emit("task_subscribe", task_id);
	}

	task_unsubscribe(task_id) {
		this.emit("task_unsubscribe", task_id);
	}

	/**
	 * Follow `frappe.publish_progress`, as far as it is meant for this page.
	 *
	 * @param {(progress: Progress) => void} callback
	 */
	progress(callback) {
		const listener = this._listener("progress", (message) => {
			const progress = read_progress(message);
			if (progress?.is_here) callback(progress);
		});
		listener.fn = callback;
		this.socket.on("progress", listener);
	}

	/** Disconnect for good. */
	close() {
		window.removeEventListener("online", this._on_online);
		clearTimeout(this._retry);
		this.socket.disconnect();
		this._set_status("closed");
	}

	_emitter(event) {
		return OWN_EVENTS.includes(event) ? this._own_events : this.socket;
	}

	// Where the server recovers sessions, each event ends with an offset, which socket.io-client hands to listeners
	// as one more argument. They do not expect it.
	_listener(event, callback) {
		const connection = this;
		const is_own = OWN_EVENTS.includes(event);
		const listener = function (...args) {
			if (!is_own && connection._has_offsets && typeof args[args.length - 1] === "string") args.pop();
			callback.apply(this, args);
		};
		// By this property off() finds a listener by the callback that it stands for.
		listener.fn = callback;
		return listener;
	}

	_set_status(status) {
		if (status === this.status) return;
		this.status = status;
		this._own_events.raise(STATUS_EVENT, status);
	}

	// socket.io-client gives up when the server has refused it, or has sent it away.
	_retry_if_given_up() {
		if (this.socket.active) return;
		const growing = Math.min(FIRST_DELAY * 2 ** this._refusals++, LONGEST_DELAY_REFUSED);
		clearTimeout(this._retry);
		this._retry = setTimeout(() => this.socket.connect(), jittered(growing));
	}

	_retry_now() {
		if (this.status !== "lost") return;
		clearTimeout(this._retry);
		// Disconnecting ends socket.io-client's own waiting, which connect() alone does not.
		this.socket.disconnect().connect();
	}
}

// What a page has subscribed to, and has ended not long ago, to be said again after a reconnect.
class Subscriptions {
	constructor(emit) {
		this._emit = emit;
		// What was sent and when, by what it is about; the oldest first.
		this._begun = new Map();
		this._ended = new Map();
		this._to_repeat = [];
		this._timer = null;
	}

	remember(event, args) {
		const ended = SUBSCRIPTIONS[event];
		if (!ended && !BEGINNINGS.includes(event)) return;
		const key = JSON.stringify([ended ?? event, ...args.map(String)]);
		const sent = { packet: [event, ...args], at: performance.now() };
		this._ended.delete(key);
		if (ended) {
			this._begun.delete(key);
			this._ended.set(key, sent);
			forget_oldest(this._ended, ({ at }) => sent.at - at > DOUBTFUL);
		} else {
			this._begun.set(key, sent);
			forget_oldest(this._begun, () => this._begun.size > MOST_SUBSCRIPTIONS);
		}
	}

	/** The server has a new session, in no room: send all that was begun until then. */
	begin_again(until) {
		this._ended.clear();
		this.repeat(-Infinity, until);
	}

	/** Send again what was sent between two times, and what was about to be sent again already. */
	repeat(since, until) {
		const sent = (map) => [...map].filter(([, { at }]) => since < at && at <= until).map(([key]) => key);
		// The newest first: they are what the page shows now.
		const keys = [...sent(this._ended), ...sent(this._begun).reverse(), ...this._to_repeat];
		this._to_repeat = [...new Set(keys)];
		this._send_some();
	}

	pause() {
		clearTimeout(this._timer);
	}

	_send_some() {
		this.pause();
		for (const key of this._to_repeat.splice(0, BATCH)) {
			const { packet } = this._begun.get(key) ?? this._ended.get(key) ?? {};
			if (packet) this._emit(packet);
		}
		if (this._to_repeat.length) this._timer = setTimeout(() => this._send_some(), BATCH_PAUSE);
	}
}

// The events that the server knows nothing of, kept apart from those of the same name that it might send.
class OwnEvents {
	constructor() {
		this._listeners = Object.fromEntries(OWN_EVENTS.map((event) => [event, []]));
	}

	on(event, listener) {
		this._listeners[event].push(listener);
	}

	off(event, callback) {
		const listeners = this._listeners[event];
		this._listeners[event] = callback ? listeners.filter((one) => one !== callback && one.fn !== callback) : [];
	}

	raise(event, ...args) {
		for (const listener of this._listeners[event]) listener(...args);
	}
}

/**
 * @typedef {object} Progress
 * @property {number} percent 0 to 100
 * @property {string} [title]
 * @property {string} [description]
 * @property {boolean} is_here whether this is the page that should show it
 */

/**
 * Read a message of the event `progress`.
 *
 * The page that has started the work shows it. Where the server cannot tell which one that was, it is whichever
 * page is visible.
 *
 * @param {object} message with `percent`, or with `progress: [done, of]`
 * @returns {Progress | null} null when the message does not say how far it is
 */
export function read_progress(message) {
	const { percent, progress, page, title, description } = message ?? {};
	const share = progress ? (progress[1] > 0 ? (100 * progress[0]) / progress[1] : 100) : parseFloat(percent);
	if (!Number.isFinite(share)) return null;
	return {
		// A sum of many steps may end a hair before 100.
		percent: Math.min(Math.max(Math.round(share * 100) / 100, 0), 100),
		title,
		description,
		is_here: page ? page === page_id : document.visibilityState === "visible",
	};
}

// Of a map in the order in which its entries were added.
function forget_oldest(map, is_too_old) {
	for (const [key, value] of map) {
		if (!is_too_old(value)) return;
		map.delete(key);
	}
}

function jittered(delay) {
	return delay * (1 - JITTER + 2 * JITTER * Math.random());
}

// A new tab that was duplicated from another has a copy of its storage: only a reload keeps the name.
function remember_page() {
	const key = "frappe_realtime_page";
	const fresh = [...crypto.getRandomValues(new Uint8Array(12))].map((byte) => byte.toString(16).padStart(2, "0"));
	try {
		const [navigation] = performance.getEntriesByType("navigation");
		const kept = navigation?.type === "reload" && sessionStorage.getItem(key);
		if (kept) return kept;
		sessionStorage.setItem(key, fresh.join(""));
	} catch {
		// Storage may be forbidden; then a reload is a new page.
	}
	return fresh.join("");
}

function default_site() {
	return window.frappe?.boot?.sitename ?? window.site_name ?? location.hostname;
}

// On a development bench no proxy joins the two ports.
function default_url() {
	if (!window.dev_server) return location.origin;
	const port = window.frappe?.boot?.socketio_port ?? window.socketio_port ?? 9000;
	return `${location.protocol}//${location.hostname}:${port}`;
}

async function load_io() {
	const errors = [];
	for (const place of CLIENT_PLACES) {
		try {
			return (await import(/* @vite-ignore */ place)).io;
		} catch (error) {
			errors.push(`${place} (${error.message})`);
		}
	}
	throw new Error(
		`Socket.IO's client could not be loaded; tried ${errors.join(", ")}. ` +
			"Run `bench setup requirements --node` and `bench build --app frappe_realtime`, or pass the option `io`."
	);
}
