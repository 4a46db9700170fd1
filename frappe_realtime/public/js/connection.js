// Built by client/build_assets.mjs from client/core/src/connection.ts: change that file.

// The connection of a page to a Frappe site: what it listens to and subscribes to, and how it reconnects.
import { Api } from "./api.js?v=9546e278ec6a";
import { Calls } from "./calls.js?v=0792bfc0619b";
import { diagnose } from "./diagnosis.js?v=8af808afd344";
import { LOCAL_EVENTS, LocalEvents, MISSED_EVENT, STATUS_EVENT } from "./local_events.js?v=223b256908b5";
import { page_origin } from "./page.js?v=fccc9a93854c";
import { Presences, place_of } from "./presences.js?v=03c7ace30486";
import { read_progress } from "./progress_message.js?v=6f1f5d234835";
import { Reconnects } from "./reconnects.js?v=bce489fa2735";
import { REWIND_EVENT, Subscriptions } from "./subscriptions.js?v=2aa4bd5f6123";
const CONNECT_PACKET = 0;
/**
 * @typedef {object} RewindOptions
 * @property {"latest" | number} [rewind] the newest values of the room (published with `history="latest"`), or its last events.
 *     They come before the live events, to all listeners of the page
 */
/**
 * A Socket.IO socket that reconnects, with the subscriptions of Frappe's rooms.
 *
 * @property {"connecting" | "connected" | "lost" | "closed"} status `closed` after a disconnect by this page
 * @property {any} socket the socket of socket.io-client
 * @property {Api} api loads from Frappe's web server with the credentials of the connection
 */
export class Connection {
	/**
	 * @param {any} [socket] a socket of socket.io-client; without one, call `attach` before anything else
	 * @param {any} [credentials] the token of the option `token`, if there is one
	 */
	constructor(socket, credentials = null) {
		this.status = "connecting";
		this.socket = null;
		this._reconnects = null;
		this.api = new Api(page_origin(), credentials);
		this._credentials = credentials;
		this._local_events = new LocalEvents();
		this._is_emitting = false;
		this._subscriptions = new Subscriptions((packet) => this._emit(packet));
		this._presences = new Presences(this);
		this._has_offsets = false;
		this._calls = new Calls();
		this._on_online = () => {
			if (this.status === "lost")
				this._reconnects.retry_now();
		};
		if (credentials)
			credentials.on_error = (error) => this._on_token_error(error);
		if (socket)
			this.attach(socket);
	}
	/**
	 * Use a socket from now on.
	 *
	 * @param {any} socket a socket of socket.io-client
	 */
	attach(socket) {
		this.socket = socket;
		socket.io.on("packet", ({ type, nsp, data }) => {
			if (type !== CONNECT_PACKET || nsp !== socket.nsp)
				return;
			this._has_offsets = Boolean(data?.pid);
			this._calls.on_answer(socket, Boolean(data?.calls));
		});
		this._reconnects = new Reconnects(socket);
		const listen = (event, listener) => socket.on(event, Object.assign(listener, { is_own: true }));
		let had_connected = false;
		let lost_at = 0;
		const on_connect = () => {
			const missed = had_connected && !socket.recovered;
			if (missed)
				this._subscriptions.resend_all(lost_at);
			else if (had_connected)
				this._subscriptions.resend_recent(lost_at);
			had_connected = true;
			this._credentials?.accepted();
			this._reconnects.on_connect();
			this._set_status("connected");
			// A listener of the status may have closed it.
			if (!socket.connected)
				return;
			this._presences.on_connect(socket.recovered);
			if (missed)
				this._local_events.emit(MISSED_EVENT);
		};
		this._presences.attach();
		listen("connect", on_connect);
		listen("disconnect", (reason) => {
			lost_at = performance.now();
			this._subscriptions.pause();
			this._calls.on_disconnect(socket);
			if (reason === "io client disconnect") {
				this._set_status("closed");
			}
			else {
				// First: a listener of the status may close the connection.
				this._reconnects.retry_if_inactive();
				this._set_status("lost");
			}
		});
		listen("connect_error", (error) => {
			this._reconnects.on_error(error);
			this._credentials?.refused(error.data?.code);
			this._reconnects.retry_if_inactive();
			this._set_status("lost");
		});
		socket.onAnyOutgoing((event, ...args) => this._subscriptions.record(event, args));
		// Neither Node nor React Native has it.
		globalThis.addEventListener?.("online", this._on_online);
		if (socket.connected) {
			this._calls.ask(socket);
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
	on(event, callback, options) {
		this._emitter(event).on(event, this._listener(event, callback));
		if (options?.rewind)
			void this._subscriptions.rewind(REWIND_EVENT, [event], options.rewind);
	}
	/**
	 * Listen to the next `event` only.
	 *
	 * @param {string} event
	 * @param {Function} callback
	 */
	once(event, callback) {
		const emitter = this._emitter(event);
		const called = callback;
		const listener = this._listener(event, function (...args) {
			emitter.off(event, listener);
			called.apply(this, args);
		});
		listener.fn = called;
		emitter.on(event, listener);
	}
	/**
	 * Stop listening.
	 *
	 * @param {string} event
	 * @param {Function} [callback] the listener to remove; without it all that the page has added here
	 */
	off(event, callback) {
		const removed = callback ? [callback] : this.listeners(event).filter(({ is_own }) => is_own === false);
		for (const listener of removed)
			this._emitter(event).off(event, listener);
	}
	/**
	 * Listen to an event for a part of this client, until `off` with this callback: without one, it leaves the listener alone.
	 *
	 * @param {string} event
	 * @param {Function} callback
	 */
	keep_listening(event, callback) {
		this._emitter(event).on(event, Object.assign(this._listener(event, callback), { is_own: true }));
	}
	/**
	 * Return what listens to an event, the oldest first, without this client itself.
	 *
	 * @param {string} event
	 * @returns {Function[]}
	 */
	listeners(event) {
		const listeners = this._emitter(event)?.listeners(event) ?? [];
		return listeners.filter(({ is_own }) => !is_own);
	}
	/**
	 * Emit an event. Without a connection, it is sent after the next connect.
	 *
	 * An event that ends a subscription is sent when all parts of the page that have subscribed have ended it.
	 *
	 * @param {string} event
	 * @param {...any} args
	 */
	emit(event, ...args) {
		if (this.count(event, args))
			this._emit([event, ...args]);
	}
	/**
	 * Count a part of the page that subscribes or ends its subscription.
	 *
	 * @param {string} event
	 * @param {any[]} args
	 * @returns {boolean} whether the event is to be sent: false if others still hold the subscription
	 */
	count(event, args) {
		return this._subscriptions.count(event, args);
	}
	/**
	 * Note an event that is emitted over the socket; see `share`.
	 *
	 * @param {string} event
	 * @param {any[]} args
	 * @returns {boolean} whether the event is to be sent: false if it would end a subscription that is held here
	 */
	is_sent(event, args) {
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
	emitWithAck(event, ...args) {
		return this._calls.emit(this.socket, event, args);
	}
	/**
	 * Subscribe to the events of one document. Each call is ended by one `doc_unsubscribe`.
	 *
	 * @param {string} doctype
	 * @param {string | number} name
	 * @param {RewindOptions} [options] also get what was published to the document before
	 * @returns {Promise<number> | undefined} with `rewind`, how many events came; rejected if the server refuses or does not answer
	 */
	doc_subscribe(doctype, name, options) {
		return this._subscribe("doc_subscribe", [doctype, name], options);
	}
	doc_unsubscribe(doctype, name) {
		this.emit("doc_unsubscribe", doctype, name);
	}
	/** Be listed as a viewer of a document, and receive `doc_viewers`. */
	doc_open(doctype, name) {
		this.emit("doc_open", doctype, name);
	}
	doc_close(doctype, name) {
		this.emit("doc_close", doctype, name);
	}
	/** Receive `list_update` of a DocType; arguments and result as for `doc_subscribe`. */
	doctype_subscribe(doctype, options) {
		return this._subscribe("doctype_subscribe", [doctype], options);
	}
	doctype_unsubscribe(doctype) {
		this.emit("doctype_unsubscribe", doctype);
	}
	/** Subscribe to the progress of one background task; arguments and result as for `doc_subscribe`. */
	task_subscribe(task_id, options) {
		return this._subscribe("task_subscribe", [task_id], options);
	}
	task_unsubscribe(task_id) {
		this.emit("task_unsubscribe", task_id);
	}
	/**
	 * Listen to the progress of work that this page has started (`frappe.publish_progress`).
	 *
	 * @param {(progress: Progress) => void} callback
	 */
	progress(callback) {
		const listener = this._listener("progress", (message) => {
			const progress = read_progress(message);
			if (progress?.is_here)
				callback(progress);
		});
		listener.fn = callback;
		this.socket.on("progress", listener);
	}
	/**
	 * Return the presence of a place: its members and their states. Two calls for one place return the same object.
	 *
	 * @param {string | { room: string }} [doctype] a DocType; `{ room }` for a room that a handler has let this page into;
	 *     without it the site
	 * @param {string | number} [name] a document; without it the DocType as a whole
	 * @returns {import("./presence.js").Presence}
	 * @throws {TypeError} there is no such place, as `presence("Task", null)`
	 */
	presence(doctype, name) {
		return this._presences.get(place_of(doctype, name));
	}
	/**
	 * Find out whether and why the connection fails: try polling, WebSocket and CONNECT, apart from this connection.
	 *
	 * @returns {Promise<import("./diagnosis.js").Diagnosis>}
	 */
	diagnose() {
		return diagnose(this.socket, this.status);
	}
	/** Disconnect, and do not reconnect. */
	close() {
		globalThis.removeEventListener?.("online", this._on_online);
		this._presences.close();
		this._reconnects.stop();
		this.socket.disconnect();
		this._set_status("closed");
	}
	_emit(packet) {
		this._is_emitting = true;
		try {
			this.socket.emit(...packet);
		}
		finally {
			this._is_emitting = false;
		}
	}
	_subscribe(event, args, options) {
		if (!options?.rewind) {
			this.emit(event, ...args);
			return undefined;
		}
		this.count(event, args);
		return this._subscriptions.rewind(event, args, options.rewind);
	}
	_emitter(event) {
		return LOCAL_EVENTS.includes(event) ? this._local_events : this.socket;
	}
	// If the server can recover the session, each event ends with an offset, which socket.io-client passes to listeners
	// as an additional argument. This removes it.
	_listener(event, callback) {
		const connection = this;
		const is_local = LOCAL_EVENTS.includes(event);
		const listener = function (...args) {
			if (!is_local && connection._has_offsets && typeof args[args.length - 1] === "string")
				args.pop();
			callback.apply(this, args);
		};
		// The property by which off() finds the listener of a callback.
		listener.fn = callback;
		listener.is_own = false;
		return listener;
	}
	_set_status(status) {
		if (status === this.status)
			return;
		this.status = status;
		this._local_events.emit(STATUS_EVENT, status);
	}
	// Without a token there is nothing to send: try again as after a refusal.
	_on_token_error(error) {
		console.warn(`Realtime: the function \`token\` has failed: ${error instanceof Error ? error.message : error}`);
		// A connection that works needs no token: `diagnose` has asked for it.
		if (this.status === "closed" || this.socket.connected)
			return;
		this.socket.disconnect();
		this._reconnects.retry_if_inactive();
		this._set_status("lost");
	}
}
