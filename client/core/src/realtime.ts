// The browser client: a connection to a Frappe site that reconnects and subscribes again.
//
// This file is the source of the package @frappe-realtime/core and of /assets/frappe_realtime/js/realtime.js, which pages
// without a build step import and on which the extension of the Desk (desk.js) is built. The two differ in load_io.ts only.
// After a change: node client/build_assets.mjs

import type { Socket } from "socket.io-client";

import { Api } from "./api.js";
import { diagnose, type Diagnosis } from "./diagnosis.js";
import type { Events } from "./events.js";
import { load_io } from "./load_io.js";
import { Presences, place_of, type Presence } from "./presence.js";
import { Credentials, type Token } from "./token.js";

type Listener = (this: any, ...args: any[]) => void;
type Packet = [string, ...any[]];

/** Emitted when `status` changes, with the new status. */
export const STATUS_EVENT = "realtime_status";

/** Emitted after a reconnect without recovery: events may have been missed. */
export const MISSED_EVENT = "realtime_missed";

/** The events that this client emits to its listeners itself. */
export const LOCAL_EVENTS: readonly string[] = [STATUS_EVENT, MISSED_EVENT];

/** The header that tells the server which page sends a request; its value is `page_id`. */
export const PAGE_HEADER = "X-Frappe-Realtime-Page";

/** The id of this page. It stays the same after a reload, and is different in each tab. */
export const page_id: string = /* @__PURE__ */ load_page_id();

// The events that end a subscription, and those that begin it.
const SUBSCRIBE_EVENTS: Record<string, string> = {
	doc_unsubscribe: "doc_subscribe",
	doc_close: "doc_open",
	doctype_unsubscribe: "doctype_subscribe",
	task_unsubscribe: "task_subscribe",
};
const SUBSCRIBING = Object.values(SUBSCRIBE_EVENTS);

// Subscriptions that parts of a page hold together: each ends with the last of them. `doc_open` is not one: a form emits it at each
// refresh, and `doc_close` once.
const COUNTED = ["doc_unsubscribe", "doctype_unsubscribe", "task_unsubscribe"];

// Asks for events of the rooms that every socket of the user is in; also in frappe_realtime/contract.py.
const REWIND_EVENT = "frappe_realtime:rewind";

const CONNECT_PACKET = 0;

// The event that carries another one, which the server answers in any case; and how this project's own events begin, which
// it answers always (frappe_realtime/contract.py).
const CALL = "frappe_realtime:call";
const OWN_EVENTS = "frappe_realtime:";

// Milliseconds between two attempts to connect: doubled from the first to the maximum, which is higher after a refusal.
const FIRST_DELAY = 1000;
const MAX_DELAY_LOST = 10_000;
const MAX_DELAY_REFUSED = 60_000;
const JITTER = 0.5;

// Milliseconds before a disconnect in which the connection may have been dead already. Events sent in this time may be
// lost, so subscriptions are sent again.
const UNCERTAIN_PERIOD = 60_000;

// Subscriptions that are remembered (the server allows as many rooms to a socket); how many of them are sent again at
// once, and the milliseconds before the next. The server would ignore events beyond its rate limit.
const MAX_SUBSCRIPTIONS = 1000;
const BATCH = 80;
const BATCH_PAUSE = 10_000;

// Milliseconds for which `emitWithAck` waits for the acknowledgement.
const ACK_TIMEOUT = 20_000;

/** The status of a connection; `closed` after a disconnect by this page. */
export type Status = "connecting" | "connected" | "lost" | "closed";

/** Socket.IO's `io`. */
export type Io = (url: string, options: any) => Socket;

export interface ConnectOptions {
	site?: string;
	url?: string;
	token?: Token;
	api?: string;
	io?: Io;
	[option: string]: any;
}

/**
 * @typedef {object} ConnectOptions
 * @property {string} [site] the name of the site; default: the name that Frappe puts into the page, or the host name
 * @property {string} [url] the origin of the realtime server; default: the origin of the page
 * @property {Token} [token] `api_key:api_secret`, `Bearer …`, or a function that returns it, also as a promise. The function
 *     is called before each connection, with `{ renew: true }` after the server has refused the last one
 * @property {string} [api] the origin of Frappe's web server, for what loads documents; default: `url`, or that of the page
 * @property {Function} [io] Socket.IO's `io`, version 4.6 or later; default: that of the package, or of /assets
 */

export interface RewindOptions {
	rewind?: "latest" | number;
}

/**
 * @typedef {object} RewindOptions
 * @property {"latest" | number} [rewind] the newest values of the room (published with `history="latest"`), or its last events.
 *     They come before the live events, to all listeners of the page
 */

/**
 * Connect to a site.
 *
 * @param {ConnectOptions & Record<string, any>} [options] other options are passed to Socket.IO's `io()`, for instance
 *     `transports: ["websocket"]`
 * @returns {Promise<Connection>} a connection that may still be connecting: see `status`
 * @throws {Error} Socket.IO's client cannot be loaded
 */
export async function connect(options: ConnectOptions = {}): Promise<Connection> {
	const { io = await load_io(), ...rest } = options;
	return open(io, rest);
}

/**
 * Connect to a site with a given `io`, without waiting for it.
 *
 * @param {Function} io Socket.IO's `io`
 * @param {ConnectOptions & Record<string, any>} [options] see `connect`
 * @returns {Connection}
 */
export function open(io: Io, options: ConnectOptions = {}): Connection {
	const { site = default_site(), url, api, token, autoConnect = true, ...rest } = options;
	const credentials = token === undefined ? null : new Credentials(token);
	if (credentials) rest.auth = credentials.auth(rest.auth);
	// Connect only after the Connection listens, so that it sees the first packet.
	const socket = io(`${url ?? default_url()}/${site}`, { withCredentials: !credentials, ...rest, autoConnect: false });
	const connection = new Connection(socket, credentials);
	connection.api = new Api(api ?? url ?? page_origin(), credentials);
	if (autoConnect) socket.connect();
	return connection;
}

/**
 * Use a socket that another part of the page has opened and goes on using, as the shell of a Desk does.
 *
 * That part counts its subscriptions itself and emits them over the socket; together they count as one more holder here. So neither
 * makes the other leave a room. The socket reconnects for as long as the page lives, and is in its rooms again then.
 *
 * @param {any} socket a socket of socket.io-client 4.6 or later, connected or not, for the namespace of the site
 * @param {{ api?: string }} [options] `api`: see `ConnectOptions`
 * @returns {Connection} its `close` closes the socket; leave that to the part that has opened it
 */
export function share(socket: any, { api }: { api?: string } = {}): Connection {
	const connection = new Connection(socket);
	if (api !== undefined) connection.api = new Api(api, null);
	const { emit } = socket;
	socket.emit = function (event: string, ...args: any[]) {
		return connection.is_sent(event, args) ? emit.call(this, event, ...args) : this;
	};
	return connection;
}

/**
 * An event was not acknowledged.
 *
 * `code` is `no_handler`, `no_answer`, `bad_arguments`, `not_allowed`, `dropped` or `failed` if the server says so, otherwise
 * `timeout` or `disconnected`. In developer mode, a System User gets the `traceback` of a handler that has failed.
 *
 * @property {string} code
 * @property {string} traceback empty if there is none
 */
export class CallError extends Error {
	readonly code: string;
	readonly traceback: string;

	/** @param {{ code: string, message: string, traceback?: string }} error */
	constructor({ code, message, traceback = "" }: { code: string; message: string; traceback?: string }) {
		super(message);
		this.name = "CallError";
		this.code = code;
		this.traceback = traceback;
	}
}

/**
 * A Socket.IO socket that reconnects, with the subscriptions of Frappe's rooms.
 *
 * @property {"connecting" | "connected" | "lost" | "closed"} status `closed` after a disconnect by this page
 * @property {any} socket the socket of socket.io-client
 * @property {Api} api loads from Frappe's web server with the credentials of the connection
 */
export class Connection {
	status: Status;
	socket: Socket;
	api: Api;
	private readonly _credentials: Credentials | null;
	private readonly _local_events: LocalEvents;
	private readonly _subscriptions: Subscriptions;
	private readonly _presences: Presences;
	private _has_offsets: boolean;
	private _has_calls: boolean;
	// The packets of calls that wait for the connection; only then it is known whether the server understands calls.
	private readonly _waiting_calls: Set<any>;
	private _refusals: number;
	private readonly _reported: Set<string>;
	private _retry: ReturnType<typeof setTimeout> | undefined;
	// Whether what is emitted at this moment comes from here, and not from another part of the page that has the socket too.
	private _is_emitting: boolean;
	private readonly _on_online: () => void;

	/**
	 * @param {any} [socket] a socket of socket.io-client; without one, call `attach` before anything else
	 * @param {any} [credentials] the token of the option `token`, if there is one
	 */
	constructor(socket?: any, credentials: Credentials | null = null) {
		this.status = "connecting";
		this.socket = null as unknown as Socket;
		this.api = new Api(page_origin(), credentials);
		this._credentials = credentials;
		this._local_events = new LocalEvents();
		this._is_emitting = false;
		this._subscriptions = new Subscriptions((packet) => this._emit(packet));
		this._presences = new Presences(this);
		this._has_offsets = false;
		this._has_calls = false;
		this._waiting_calls = new Set();
		this._refusals = 0;
		this._reported = new Set();
		this._on_online = () => this._retry_now();
		if (credentials) credentials.on_error = (error) => this._on_token_error(error);
		if (socket) this.attach(socket);
	}

	/**
	 * Use a socket from now on.
	 *
	 * @param {any} socket a socket of socket.io-client
	 */
	attach(socket: any): void {
		this.socket = socket;
		socket.io.on("packet", ({ type, nsp, data }: { type: number; nsp: string; data: any }) => {
			if (type !== CONNECT_PACKET || nsp !== socket.nsp) return;
			this._has_offsets = Boolean(data?.pid);
			this._has_calls = Boolean(data?.calls);
			for (const packet of this._waiting_calls) {
				// The socket may have sent its buffer already, if it was made before this listener.
				if (this._has_calls && socket.sendBuffer.includes(packet)) packet.data.unshift(CALL);
			}
			this._waiting_calls.clear();
		});
		socket.io.reconnectionAttempts(Infinity);
		socket.io.reconnectionDelay(FIRST_DELAY);
		socket.io.reconnectionDelayMax(MAX_DELAY_LOST);
		socket.io.randomizationFactor(JITTER);

		let had_connected = false;
		let lost_at = 0;
		const on_connect = () => {
			const missed = had_connected && !socket.recovered;
			if (missed) this._subscriptions.resend_all(lost_at);
			else if (had_connected) this._subscriptions.resend(lost_at - UNCERTAIN_PERIOD, lost_at);
			had_connected = true;
			this._refusals = 0;
			this._credentials?.accepted();
			clearTimeout(this._retry);
			this._set_status("connected");
			this._presences.on_connect(socket.recovered);
			if (missed) this._local_events.emit(MISSED_EVENT);
		};
		this._presences.attach();
		socket.on("connect", on_connect);
		socket.on("disconnect", (reason: string) => {
			lost_at = performance.now();
			this._subscriptions.pause();
			if (reason === "io client disconnect") {
				this._set_status("closed");
			} else {
				this._set_status("lost");
				this._retry_if_inactive();
			}
		});
		// A proxy may join the two ports of a development bench: then the realtime server is at the page's own origin.
		const { uri } = socket.io;
		const addresses =
			page().dev_server && new URL(uri).hostname === location.hostname ? [location.origin, uri] : [];
		socket.on("connect_error", (error: any) => {
			this._report(error);
			this._credentials?.refused(error.data?.code);
			if (!had_connected && socket.active && addresses.length) {
				socket.io.uri = addresses[0];
				addresses.reverse();
			}
			this._set_status("lost");
			this._retry_if_inactive();
		});
		socket.onAnyOutgoing((event: string, ...args: any[]) => this._subscriptions.record(event, args));
		// Neither Node nor React Native has it.
		globalThis.addEventListener?.("online", this._on_online);
		if (socket.connected) {
			// The answer to CONNECT, which says whether the server knows calls, has come before. A call is answered by those that do.
			socket.emit(CALL, "ping", () => (this._has_calls = true));
			on_connect();
		}
	}

	/**
	 * Listen to an event.
	 *
	 * @param {string} event
	 * @param {Function} callback gets the message, or the arguments that a handler has emitted
	 * @param {RewindOptions} [options] also get the events of this name that were published before to the user, to all users of the
	 *     Desk, or to the website; all listeners of the page get them
	 */
	on<E extends keyof Events>(event: E, callback: Events[E], options?: RewindOptions): void;
	on(event: string, callback: Listener, options?: RewindOptions): void;
	on(event: string, callback: Listener, options?: RewindOptions): void {
		this._emitter(event).on(event, this._listener(event, callback));
		if (options?.rewind) void this._subscriptions.rewind(REWIND_EVENT, [event], options);
	}

	/**
	 * Listen to the next `event` only.
	 *
	 * @param {string} event
	 * @param {Function} callback
	 */
	once<E extends keyof Events>(event: E, callback: Events[E]): void;
	once(event: string, callback: Listener): void;
	once(event: string, callback: Listener): void {
		const emitter = this._emitter(event);
		const listener = this._listener(event, function (this: any, ...args) {
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
	 * @param {[Function?]} callback the listener to remove; without it all listeners of the event
	 */
	off(event: string, ...callback: [Listener?]): void {
		this._emitter(event).off(event, ...callback);
	}

	/**
	 * Emit an event. Without a connection, it is sent after the next connect.
	 *
	 * An event that ends a subscription is sent when all parts of the page that have subscribed have ended it.
	 *
	 * @param {string} event
	 * @param {...any} args
	 */
	emit(event: string, ...args: any[]): void {
		if (this.count(event, args)) this._emit([event, ...args]);
	}

	/**
	 * Count a part of the page that subscribes or ends its subscription.
	 *
	 * @param {string} event
	 * @param {any[]} args
	 * @returns {boolean} whether the event is to be sent: false if others still hold the subscription
	 */
	count(event: string, args: any[]): boolean {
		return this._subscriptions.count(event, args);
	}

	/**
	 * Note an event that is emitted over the socket; see `share`.
	 *
	 * @param {string} event
	 * @param {any[]} args
	 * @returns {boolean} whether the event is to be sent: false if it would end a subscription that is held here
	 */
	is_sent(event: string, args: any[]): boolean {
		return this._is_emitting || this._subscriptions.note_other(event, args);
	}

	/**
	 * Emit an event and wait for its acknowledgement.
	 *
	 * @param {string} event
	 * @param {...any} args
	 * @returns {Promise<any>} rejected with a `CallError` at once if no handler answers the event, if its handler fails, or if
	 *     it is not allowed; and if there is no acknowledgement within 20 seconds, or the connection is lost
	 */
	emitWithAck<T = any>(event: string, ...args: any[]): Promise<T> {
		const socket: any = this.socket;
		const may_call = !event.startsWith(OWN_EVENTS);
		return new Promise((resolve, reject) => {
			const is_known = may_call && this._has_calls && socket.connected;
			const values = is_known ? [CALL, event, ...args] : [event, ...args];
			let packet: any = null;
			const sent_before = socket.sendBuffer.length;
			socket.timeout(ACK_TIMEOUT).emit(...values, (error: Error | null, ...answer: any[]) => {
				const is_call = is_known || packet?.data[0] === CALL;
				this._waiting_calls.delete(packet);
				if (error) {
					const code = error.message.includes("timed out") ? "timeout" : "disconnected";
					reject(new CallError({ code, message: `"${event}" was not answered: ${error.message}` }));
				} else if (is_call && answer[0]) {
					reject(new CallError(answer[0]));
				} else {
					resolve(answer[is_call ? 1 : 0]);
				}
			});
			if (may_call && !is_known && socket.sendBuffer.length > sent_before) {
				packet = socket.sendBuffer[sent_before];
				this._waiting_calls.add(packet);
			}
		});
	}

	/**
	 * Subscribe to the events of one document. Each call is ended by one `doc_unsubscribe`.
	 *
	 * @param {string} doctype
	 * @param {string | number} name
	 * @param {RewindOptions} [options] also get what was published to the document before
	 * @returns {Promise<number> | undefined} with `rewind`, how many events came; rejected if the server refuses or does not answer
	 */
	doc_subscribe(doctype: string, name: string | number, options?: RewindOptions): Promise<number> | undefined {
		return this._subscribe("doc_subscribe", [doctype, name], options);
	}

	doc_unsubscribe(doctype: string, name: string | number): void {
		this.emit("doc_unsubscribe", doctype, name);
	}

	/** Be listed as a viewer of a document, and receive `doc_viewers`. */
	doc_open(doctype: string, name: string | number): void {
		this.emit("doc_open", doctype, name);
	}

	doc_close(doctype: string, name: string | number): void {
		this.emit("doc_close", doctype, name);
	}

	/** Receive `list_update` of a DocType; arguments and result as for `doc_subscribe`. */
	doctype_subscribe(doctype: string, options?: RewindOptions): Promise<number> | undefined {
		return this._subscribe("doctype_subscribe", [doctype], options);
	}

	doctype_unsubscribe(doctype: string): void {
		this.emit("doctype_unsubscribe", doctype);
	}

	/** Subscribe to the progress of one background task; arguments and result as for `doc_subscribe`. */
	task_subscribe(task_id: string, options?: RewindOptions): Promise<number> | undefined {
		return this._subscribe("task_subscribe", [task_id], options);
	}

	task_unsubscribe(task_id: string): void {
		this.emit("task_unsubscribe", task_id);
	}

	/**
	 * Listen to the progress of work that this page has started (`frappe.publish_progress`).
	 *
	 * @param {(progress: Progress) => void} callback
	 */
	progress(callback: (progress: Progress) => void): void {
		const listener = this._listener("progress", (message) => {
			const progress = read_progress(message);
			if (progress?.is_here) callback(progress);
		});
		listener.fn = callback;
		this.socket.on("progress", listener);
	}

	/**
	 * The presence of a place: who is there, with what state. The same place is always the same object.
	 *
	 * @param {string | { room: string }} [doctype] a DocType; `{ room }` for a room that a handler has let this page into;
	 *     without it the site
	 * @param {string | number} [name] a document; without it the DocType as a whole
	 * @returns {import("./presence.js").Presence}
	 */
	presence(doctype?: string | { room: string }, name?: string | number): Presence {
		return this._presences.get(place_of(doctype, name));
	}

	/**
	 * Find out whether and why the connection fails: try polling, WebSocket and CONNECT, apart from this connection.
	 *
	 * @returns {Promise<import("./diagnosis.js").Diagnosis>}
	 */
	diagnose(): Promise<Diagnosis> {
		return diagnose(this.socket, this.status);
	}

	/** Disconnect, and do not reconnect. */
	close(): void {
		globalThis.removeEventListener?.("online", this._on_online);
		clearTimeout(this._retry);
		this.socket.disconnect();
		this._set_status("closed");
	}

	private _emit(packet: Packet): void {
		this._is_emitting = true;
		try {
			this.socket.emit(...packet);
		} finally {
			this._is_emitting = false;
		}
	}

	private _subscribe(event: string, args: any[], options?: RewindOptions): Promise<number> | undefined {
		if (!options?.rewind) {
			this.emit(event, ...args);
			return undefined;
		}
		this.count(event, args);
		return this._subscriptions.rewind(event, args, options);
	}

	private _emitter(event: string): any {
		return LOCAL_EVENTS.includes(event) ? this._local_events : this.socket;
	}

	// If the server can recover the session, each event ends with an offset, which socket.io-client passes to listeners
	// as an additional argument. This removes it.
	private _listener(event: string, callback: Listener): Listener & { fn: Listener } {
		const connection = this;
		const is_local = LOCAL_EVENTS.includes(event);
		const listener = function (this: any, ...args: any[]) {
			if (!is_local && connection._has_offsets && typeof args[args.length - 1] === "string") args.pop();
			callback.apply(this, args);
		} as Listener & { fn: Listener };
		// The property by which off() finds the listener of a callback.
		listener.fn = callback;
		return listener;
	}

	// Log each refusal of the server once.
	private _report({ message, data }: { message: string; data?: any }): void {
		if (!data?.code || this._reported.has(data.code)) return;
		this._reported.add(data.code);
		console.warn(`Realtime: ${message} (${data.code}): ${data.reason}. See the result of diagnose().`);
	}

	private _set_status(status: Status): void {
		if (status === this.status) return;
		this.status = status;
		this._local_events.emit(STATUS_EVENT, status);
	}

	// socket.io-client does not reconnect after the server has refused or disconnected it.
	private _retry_if_inactive(): void {
		if (this.socket.active) return;
		const delay = Math.min(FIRST_DELAY * 2 ** this._refusals++, MAX_DELAY_REFUSED);
		clearTimeout(this._retry);
		this._retry = setTimeout(() => this.socket.connect(), with_jitter(delay));
	}

	// Without a token there is nothing to send: try again as after a refusal.
	private _on_token_error(error: unknown): void {
		console.warn(`Realtime: the function \`token\` has failed: ${error instanceof Error ? error.message : error}`);
		if (this.status === "closed") return;
		this.socket.disconnect();
		this._set_status("lost");
		this._retry_if_inactive();
	}

	private _retry_now(): void {
		if (this.status !== "lost") return;
		clearTimeout(this._retry);
		// disconnect() cancels socket.io-client's own timer; connect() alone does not.
		this.socket.disconnect().connect();
	}
}

interface SentPacket {
	packet: Packet;
	at: number;
}

interface RewindRequest {
	rewind: "latest" | number;
	has_come: boolean;
	resolve(count: number): void;
	reject(error: Error): void;
}

// The subscriptions of a page, and those that it ended not long ago, to be sent again after a reconnect.
class Subscriptions {
	private readonly _emit: (packet: Packet) => void;
	private readonly _active: Map<string, SentPacket>;
	private readonly _ended: Map<string, SentPacket>;
	private readonly _holders: Map<string, number>;
	private readonly _others: Set<string>;
	private readonly _rewinds: Map<string, RewindRequest>;
	private _to_resend: string[];
	private _timer: ReturnType<typeof setTimeout> | undefined;

	constructor(emit: (packet: Packet) => void) {
		this._emit = emit;
		// By subscription: the packet that was sent and its time; the oldest first.
		this._active = new Map();
		this._ended = new Map();
		// By subscription: how many parts of the page hold it.
		this._holders = new Map();
		// Subscriptions that another part of the page holds, which counts them itself.
		this._others = new Set();
		// By subscription: what it asks for, until that has come; the latest values for as long as it exists.
		this._rewinds = new Map();
		this._to_resend = [];
	}

	/** Count a holder that comes or goes; return whether the event is to be sent. */
	count(event: string, args: any[]): boolean {
		const is_end = COUNTED.includes(event);
		if (!is_end && !COUNTED.some((end) => SUBSCRIBE_EVENTS[end] === event)) return true;
		const key = key_of(is_end ? SUBSCRIBE_EVENTS[event]! : event, args);
		const holders = (this._holders.get(key) ?? 0) + (is_end ? -1 : 1);
		this._holders.delete(key);
		if (holders > 0) this._holders.set(key, holders);
		delete_oldest(this._holders, () => this._holders.size > MAX_SUBSCRIPTIONS);
		return !is_end || (holders <= 0 && !this._others.has(key));
	}

	/** Note what another part of the page emits; return whether it is to be sent. */
	note_other(event: string, args: any[]): boolean {
		if (COUNTED.includes(event)) {
			const key = key_of(SUBSCRIBE_EVENTS[event]!, args);
			this._others.delete(key);
			return !this._holders.has(key);
		}
		if (COUNTED.some((end) => SUBSCRIBE_EVENTS[end] === event)) {
			const names = args.filter((arg) => typeof arg !== "object" && typeof arg !== "function");
			const [oldest] = this._others.add(key_of(event, names));
			if (this._others.size > MAX_SUBSCRIPTIONS) this._others.delete(oldest!);
		}
		return true;
	}

	/** Subscribe, and ask for what the room has; return a promise of the number of events. */
	rewind(event: string, args: any[], { rewind }: RewindOptions): Promise<number> {
		const key = key_of(event, args);
		const request = { rewind, has_come: false } as RewindRequest;
		const answered = new Promise<number>((resolve, reject) => Object.assign(request, { resolve, reject }));
		// A caller who does not wait for it need not handle it.
		answered.catch((error) => console.warn(`Realtime: ${event} ${args.join(" ")}: ${error.message}`));
		this._rewinds.set(key, request);
		delete_oldest(this._rewinds, () => this._rewinds.size > MAX_SUBSCRIPTIONS);
		this._emit_rewind(key, request, [event, ...args]);
		return answered;
	}

	record(event: string, args: any[]): void {
		if (event === CALL) [event, ...args] = args as Packet;
		const subscribe_event = SUBSCRIBE_EVENTS[event];
		if (!subscribe_event && !SUBSCRIBING.includes(event) && event !== REWIND_EVENT) return;
		const [last] = args.slice(-1);
		const names = event === REWIND_EVENT ? [last.event] : args.filter((arg) => typeof arg !== "object");
		const key = key_of(subscribe_event ?? event, names);
		const sent: SentPacket = { packet: [event, ...names], at: performance.now() };
		this._ended.delete(key);
		if (subscribe_event) {
			this._active.delete(key);
			this._rewinds.delete(key);
			this._ended.set(key, sent);
			delete_oldest(this._ended, ({ at }) => sent.at - at > UNCERTAIN_PERIOD);
		} else {
			this._active.set(key, sent);
			delete_oldest(this._active, () => this._active.size > MAX_SUBSCRIPTIONS);
		}
	}

	/** The server has a new session, in no room: send all active subscriptions made until then. */
	resend_all(until: number): void {
		this._ended.clear();
		for (const request of this._rewinds.values()) request.has_come = false;
		this.resend(-Infinity, until);
	}

	/** Send again what was sent between two times, and what still waits to be sent again. */
	resend(since: number, until: number): void {
		const sent = (map: Map<string, SentPacket>) => [...map].filter(([, { at }]) => since < at && at <= until).map(([key]) => key);
		// The newest first: these are of the documents that the page shows now.
		const keys = [...sent(this._ended), ...sent(this._active).reverse(), ...this._to_resend];
		this._to_resend = [...new Set(keys)];
		this._send_batch();
	}

	pause(): void {
		clearTimeout(this._timer);
	}

	private _send_batch(): void {
		this.pause();
		for (const key of this._to_resend.splice(0, BATCH)) {
			const packet = (this._active.get(key) ?? this._ended.get(key))?.packet;
			if (!packet) continue;
			const request = this._active.has(key) ? this._rewinds.get(key) : undefined;
			if (request && !request.has_come) this._emit_rewind(key, request, packet);
			else if (packet[0] !== REWIND_EVENT) this._emit(packet);
		}
		if (this._to_resend.length) this._timer = setTimeout(() => this._send_batch(), BATCH_PAUSE);
	}

	// Without a connection it waits for one, and it is sent again after a connection that was lost before the answer.
	private _emit_rewind(key: string, request: RewindRequest, [event, ...args]: Packet): void {
		const { rewind } = request;
		const too_late = setTimeout(() => request.reject(new Error("no answer to the request for earlier events")), ACK_TIMEOUT);
		const ack = ({ rewound, error }: { rewound: number; error?: { code: string; message: string } }) => {
			clearTimeout(too_late);
			request.has_come = true;
			// A page that has the last events does not get them again, as it does the newest values.
			if ((error || rewind !== "latest") && this._rewinds.get(key) === request) this._rewinds.delete(key);
			if (error) request.reject(new Error(`${error.message} (${error.code})`));
			else request.resolve(rewound);
		};
		this._emit(event === REWIND_EVENT ? [event, { event: args[0], rewind }, ack] : [event, ...args, { rewind }, ack]);
	}
}

function key_of(event: string, args: any[]): string {
	return JSON.stringify([event, ...args.map(String)]);
}

// The listeners of LOCAL_EVENTS, apart from those of events with the same names that the server might send.
class LocalEvents {
	private readonly _listeners: Record<string, (Listener & { fn?: Listener })[]>;

	constructor() {
		this._listeners = Object.fromEntries(LOCAL_EVENTS.map((event) => [event, []]));
	}

	on(event: string, listener: Listener): void {
		this._listeners[event]!.push(listener);
	}

	off(event: string, callback?: Listener): void {
		const listeners = this._listeners[event]!;
		this._listeners[event] = callback ? listeners.filter((one) => one !== callback && one.fn !== callback) : [];
	}

	emit(event: string, ...args: any[]): void {
		for (const listener of this._listeners[event]!) listener(...args);
	}
}

export interface Progress {
	percent: number;
	title?: string;
	description?: string;
	is_here: boolean;
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
 * The page that started the work shows it. If the message does not name that page, the visible page does.
 *
 * @param {object} message with `percent`, or with `progress: [done, total]`
 * @returns {Progress | null} null if the message has neither
 */
export function read_progress(message: any): Progress | null {
	const { percent, progress, page: page_of, title, description } = message ?? {};
	const share = progress ? (progress[1] > 0 ? (100 * progress[0]) / progress[1] : 100) : parseFloat(percent);
	if (!Number.isFinite(share)) return null;
	return {
		// Rounded, because a sum of many steps may end just below 100.
		percent: Math.min(Math.max(Math.round(share * 100) / 100, 0), 100),
		title,
		description,
		is_here: page_of ? page_of === page_id : globalThis.document?.visibilityState === "visible",
	};
}

// Delete the oldest entries of a map while the condition holds.
function delete_oldest<V>(map: Map<string, V>, condition: (value: V) => boolean): void {
	for (const [key, value] of map) {
		if (!condition(value)) return;
		map.delete(key);
	}
}

function with_jitter(delay: number): number {
	return delay * (1 - JITTER + 2 * JITTER * Math.random());
}

// What Frappe puts into a page; empty where there is no page.
function page(): any {
	return globalThis.window ?? {};
}

function load_page_id(): string {
	const window = page();
	// On a server that renders pages, there is no page yet.
	return globalThis.document ? (window.frappe_realtime_page ??= new_page_id()) : "";
}

// Only a reload keeps the id: a duplicated tab starts with a copy of the session storage of the other tab.
function new_page_id(): string {
	const key = "frappe_realtime_page";
	const fresh = [...crypto.getRandomValues(new Uint8Array(12))].map((byte) => byte.toString(16).padStart(2, "0"));
	try {
		const [navigation] = performance.getEntriesByType("navigation") as PerformanceNavigationTiming[];
		const kept = navigation?.type === "reload" && sessionStorage.getItem(key);
		if (kept) return kept;
		sessionStorage.setItem(key, fresh.join(""));
	} catch {
		// Storage may be forbidden; then a reload gets a new id.
	}
	return fresh.join("");
}

function default_site(): string {
	const window = page();
	const site = window.frappe?.boot?.sitename ?? window.site_name ?? globalThis.location?.hostname;
	if (!site) throw new Error("There is no page that names the site: pass the option `site`.");
	return site;
}

function page_origin(): string {
	return globalThis.location?.origin ?? "";
}

// A development bench has no proxy: the realtime server has its own port.
function default_url(): string {
	const window = page();
	if (!globalThis.location) throw new Error("There is no page that names the server: pass the option `url`.");
	if (!window.dev_server) return location.origin;
	const port = window.frappe?.boot?.socketio_port ?? window.socketio_port ?? 9000;
	return `${location.protocol}//${location.hostname}:${port}`;
}
