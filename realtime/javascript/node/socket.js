"use strict";
// A socket of Socket.IO, as far as handlers use it, with what Frappe's realtime server adds.

const { EventEmitter } = require("node:events");

const { get_app_of, run_in_app, set_app_of } = require("./app_context");
const { encode_arguments } = require("./binary");
const log = require("./log");
const { BroadcastOperator, check_name } = require("./namespace");
const { Presence, place_of } = require("./presence");
const { custom_properties } = require("./properties");

let own_names = null; // the names of the properties that a new socket has

class Socket extends EventEmitter {
	/**
	 * @param {Namespace} nsp
	 * @param {string} id
	 * @param {object} description made by `SocketReplica.description` in realtime/javascript/replication.py
	 * @param {Runtime} runtime
	 */
	constructor(nsp, id, description, runtime) {
		super();
		this.setMaxListeners(0);
		this.id = id;
		this.nsp = nsp;
		this.adapter = nsp.adapter;
		this.data = {};
		this.connected = true;
		this.recovered = false;
		this.request = { headers: description.headers, url: description.url, _query: description.query };
		this.conn = new Connection(this.request, description.address);
		this.client = { conn: this.conn, request: this.request };
		this.handshake = {
			headers: description.headers,
			time: new Date(description.connected_at).toString(),
			address: description.address,
			xdomain: description.headers.origin !== undefined,
			secure: description.secure,
			issued: description.connected_at,
			url: description.url,
			query: description.query,
			auth: description.auth,
		};
		this.site_name = description.site;
		this.sid = description.sid;
		this.authorization_header = description.authorization;
		this.user = description.user;
		this.user_type = description.user_type;
		this.installed_apps = description.installed_apps;
		// Own properties, as in Frappe's server, so that a handler can replace them.
		this.frappe_request = (path, args, options) => runtime.frappe.request(this, path, args, options);
		this.has_permission = (doctype, name) => runtime.has_permission(this, doctype, name);
		this.presence = (doctype, name) => new Presence(this, place_of(doctype, name), runtime);
		hide(this, "_runtime", runtime);
		// The properties that handlers have set, as JSON, as far as the sidecar knows them.
		hide(this, "_reported", "{}");
		own_names ??= new Set(Object.keys(this));
		hide(this, "_site", description.site);
		hide(this, "_credential", description.credential);
		hide(this, "_middleware", []);
		// token → callback
		hide(this, "_pending_acks", new Map());
		// room as text → the room, and the number of joins and leaves that the sidecar has not executed yet
		hide(this, "_pending_moves", new Map());
		// room as text → the number of calls of `rewind` that the sidecar has not answered yet
		hide(this, "_pending_rewinds", new Map());
	}

	// -- listeners

	on(event, listener) {
		set_app_of(listener);
		return super.on(event, listener);
	}

	addListener(event, listener) {
		return this.on(event, listener);
	}

	prependListener(event, listener) {
		set_app_of(listener);
		return super.prependListener(event, listener);
	}

	/** Call `middleware(packet, next)` with each event, `[name, ...arguments]`, before its listeners. */
	use(middleware) {
		set_app_of(middleware);
		this._middleware.push(middleware);
		return this;
	}

	// -- rooms

	get rooms() {
		return this.adapter.socketRooms(this.id) ?? new Set();
	}

	join(rooms) {
		for (const room of Array.isArray(rooms) ? rooms : [rooms]) {
			if (!this.connected || this.rooms.has(room)) continue;
			this.adapter.add(this.id, room);
			this._send_move("join", room);
		}
	}

	leave(room) {
		// Otherwise the socket of this id is the one of a client that has recovered its session.
		if (!this.connected) return;
		if (!this.rooms.has(room) && !this._pending_rewinds.has(String(room))) return;
		this.adapter.remove(this.id, room);
		this._send_move("leave", room);
	}

	/**
	 * Join a room, and send this client first what was published to the room before; not in Frappe's server.
	 *
	 * @param {string} room
	 * @param {"latest" | number} rewind the events of which only the newest ones are kept, or how many of the last events
	 * @returns {Promise<number>} how many were sent; rejected with an Error that has a `code`, the room is not joined then
	 */
	async rewind(room, rewind) {
		// As for `leave`; after the disconnect there is nothing to join.
		if (!this.connected) return 0;
		const key = String(room);
		this._pending_rewinds.set(key, (this._pending_rewinds.get(key) ?? 0) + 1);
		try {
			return await this._runtime.ask_rewind(this, key, rewind);
		} finally {
			const left = this._pending_rewinds.get(key) - 1;
			if (left) this._pending_rewinds.set(key, left);
			else this._pending_rewinds.delete(key);
		}
	}

	// -- sending

	emit(event, ...values) {
		check_name(event);
		const token = typeof values[values.length - 1] === "function" ? this._add_ack(values.pop()) : null;
		const { json, attachments } = encode_arguments([event, ...values]);
		this._runtime.channel.send(["emit", this.id, token, json, attachments.length], attachments);
		return true;
	}

	send(...values) {
		this.emit("message", ...values);
		return this;
	}

	to(rooms) {
		return this.broadcast.to(rooms);
	}

	in(rooms) {
		return this.broadcast.to(rooms);
	}

	except(rooms) {
		return this.broadcast.except(rooms);
	}

	get broadcast() {
		return new BroadcastOperator(this.nsp, new Set(), new Set([this.id]));
	}

	get local() {
		return this.broadcast.local;
	}

	get volatile() {
		return this;
	}

	compress() {
		return this;
	}

	disconnect(close = false) {
		if (this.connected) {
			this._runtime.channel.send(["disconnect", this.id, Boolean(close)]);
			this._on_disconnect("server namespace disconnect");
		}
		return this;
	}

	// -- operations of the sidecar

	/**
	 * Handle an event of the client: call the middleware one after the other, then all listeners.
	 *
	 * `on_unanswered(app, code, reason, stack)` is called if no listener can acknowledge the event any more.
	 */
	_on_event(values, on_unanswered) {
		const event = String(values[0]);
		const step = (index) => {
			if (index === this._middleware.length) {
				if (this.connected) this._dispatch_event(values[0], values.slice(1), on_unanswered);
				return;
			}
			const middleware = this._middleware[index];
			const app = get_app_of(middleware);
			let called = false;
			const next = (error) => {
				if (called) return;
				called = true;
				if (error) {
					on_unanswered(app, "not_allowed", "", "");
					this._dispatch("error", [error]);
				} else step(index + 1);
			};
			this._run(middleware, `middleware of ${event}`, [values, next], (failure) => {
				if (called || !failure) return;
				// As in Python, one that fails stops the event.
				called = true;
				on_unanswered(app, "failed", ...described(failure[0]));
			});
		};
		step(0);
	}

	/** Handle the acknowledgement of the client for an event that a handler has emitted. */
	_on_ack(token, values) {
		const callback = this._pending_acks.get(token);
		this._pending_acks.delete(token);
		if (callback) this._run(callback, "an acknowledgement", values);
	}

	/** Handle that the sidecar has moved the socket into `room`, or out of it. */
	_on_move(room, inside) {
		// A later move of a handler has not reached the sidecar yet.
		if (this._pending_moves.has(String(room))) return;
		if (inside) this.adapter.add(this.id, room);
		else this.adapter.remove(this.id, room);
	}

	/** Handle that the sidecar has executed a move of a handler. After the last one, the sidecar is right. */
	_on_move_done(room, inside) {
		const move = this._pending_moves.get(room);
		if (!move) return;
		move.count -= 1;
		if (move.count) return;
		this._pending_moves.delete(room);
		this._on_move(move.room, inside);
	}

	/** Let the sidecar know the properties that handlers have set, if other sidecars need them and they have changed. */
	_report_properties() {
		if (!this._runtime.replicating || !this.connected) return;
		const properties = custom_properties(this, own_names);
		const json = JSON.stringify(properties);
		if (json === this._reported) return;
		this._reported = json;
		this._runtime.channel.send(["properties", this.id, properties]);
	}

	/** Handle that the socket has left its namespace. */
	_on_disconnect(reason) {
		if (!this.connected) return;
		this.adapter.remove_all(this.id);
		this.nsp.sockets.delete(this.id);
		this._runtime.remove(this);
		this.connected = false;
		this._pending_acks.clear();
		this._pending_moves.clear();
		this._dispatch("disconnect", [reason]);
	}

	/** Call the listeners of a client's event. One that has not failed may still acknowledge it, at any time. */
	_dispatch_event(event, values, on_unanswered) {
		let left = this.listenerCount(event);
		if (!left) on_unanswered(null, "no_handler", "", "");
		this._dispatch(event, values, (app, error) => {
			left -= 1;
			if (!left) on_unanswered(app, "failed", ...described(error));
		});
	}

	_dispatch(event, values, on_failure = () => {}) {
		for (const listener of this.rawListeners(event)) {
			const started = performance.now();
			const app = get_app_of(listener);
			this._run(listener, event, values, (failure) => {
				const seconds = (performance.now() - started) / 1000;
				this._runtime.latencies.observe(app, seconds);
				this._runtime.calls.observe(this._site, app, String(event), seconds, failure);
				if (failure) on_failure(app, failure[0]);
			});
		}
	}

	/** Call `listener`, and `done` when it has returned or thrown, or when its promise has settled: with null or `[error]`. */
	_run(listener, event, values, done = () => {}) {
		const app = get_app_of(listener);
		const on_end = (failure) => {
			this._report_properties();
			done(failure);
		};
		const on_error = (error) => {
			log.failure(error, `the handler of ${JSON.stringify(event)} failed on ${this.site_name}`, app, this);
			on_end([error]);
		};
		try {
			const result = run_in_app(app, event, () => listener.apply(this, values));
			// Only one `then`: each starts the work of a lazy promise, as those of query builders are.
			if (typeof result?.then === "function") result.then(() => on_end(null), on_error);
			else on_end(null);
		} catch (error) {
			on_error(error);
		}
	}

	_send_move(name, room) {
		// First: a socket that is found in a room has the properties that it had when it joined.
		this._report_properties();
		const key = String(room);
		const move = this._pending_moves.get(key);
		if (move) move.count += 1;
		else this._pending_moves.set(key, { room, count: 1 });
		this._runtime.channel.send([name, this.id, key]);
	}

	_add_ack(callback) {
		set_app_of(callback);
		const token = this._runtime.next_token();
		if (this.connected) this._pending_acks.set(token, callback);
		return token;
	}
}

/** `socket.conn`; the transport itself is in the sidecar, so that `writeBuffer` is always empty. */
class Connection extends EventEmitter {
	constructor(request, address) {
		super();
		this.request = request;
		this.remoteAddress = address;
		this.protocol = 4;
		this.readyState = "open";
		this.writeBuffer = [];
		this.transport = { name: request._query.transport, writable: true };
	}
}

/** The text and the stack of what a handler has thrown, which may be any value. */
function described(error) {
	try {
		return [String(error), String(error?.stack ?? "")];
	} catch {
		return ["an error without a text", ""];
	}
}

/** Define a property that `Object.keys` does not list. */
function hide(object, name, value) {
	Object.defineProperty(object, name, { value, enumerable: false, writable: true, configurable: true });
}

module.exports = { Socket };
