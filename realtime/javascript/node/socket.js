"use strict";
// One socket as handlers see it: Socket.IO's, with what Frappe's realtime server adds to it.

const { EventEmitter } = require("node:events");

const journal = require("./journal");
const { BroadcastOperator, check_name } = require("./namespace");
const { pack } = require("./payload");

class Socket extends EventEmitter {
	constructor(nsp, id, about, host) {
		super();
		this.setMaxListeners(0);
		this.id = id;
		this.nsp = nsp;
		this.adapter = nsp.adapter;
		this.data = {};
		this.connected = true;
		this.recovered = false;
		this.request = { headers: about.headers, url: about.url, _query: about.query };
		this.conn = new Connection(this.request, about.address);
		this.client = { conn: this.conn, request: this.request };
		this.handshake = {
			headers: about.headers,
			time: new Date(about.since).toString(),
			address: about.address,
			xdomain: about.headers.origin !== undefined,
			secure: about.secure,
			issued: about.since,
			url: about.url,
			query: about.query,
			auth: about.auth,
		};
		this.site_name = about.site;
		this.sid = about.sid;
		this.authorization_header = about.authorization;
		this.user = about.user;
		this.user_type = about.user_type;
		this.installed_apps = about.installed_apps;
		// Own properties as under Frappe's server, so that a handler may replace them.
		this.frappe_request = (path, args, options) => host.web.request(this, path, args, options);
		this.has_permission = (doctype, name) => host.may(this, doctype, name);
		hide(this, "_host", host);
		hide(this, "_credential", about.credential);
		hide(this, "_middleware", []);
		hide(this, "_answers", new Map());
		hide(this, "_unconfirmed", new Map());
	}

	// -- listeners

	on(event, listener) {
		journal.own(listener);
		return super.on(event, listener);
	}

	addListener(event, listener) {
		return this.on(event, listener);
	}

	prependListener(event, listener) {
		journal.own(listener);
		return super.prependListener(event, listener);
	}

	/** Let `middleware(packet, next)` see each event, `[name, ...arguments]`, before its listeners do. */
	use(middleware) {
		journal.own(middleware);
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
			this._tell("join", room);
		}
	}

	leave(room) {
		if (!this.rooms.has(room)) return;
		this.adapter.remove(this.id, room);
		this._tell("leave", room);
	}

	// -- out

	emit(event, ...values) {
		check_name(event);
		let token = null;
		if (typeof values[values.length - 1] === "function") token = this._await_answer(values.pop());
		const { json, attachments } = pack([event, ...values]);
		this._host.channel.send(["emit", this.id, token, json, attachments.length], attachments);
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
			this._host.channel.send(["disconnect", this.id, Boolean(close)]);
			this._gone("server namespace disconnect");
		}
		return this;
	}

	// -- what the sidecar tells

	/** An event of the client: the middleware in turn, then all its listeners, each by itself. */
	_event(values) {
		const event = String(values[0]);
		const step = (index) => {
			if (index === this._middleware.length) {
				if (this.connected) this._dispatch(values[0], values.slice(1));
				return;
			}
			const middleware = this._middleware[index];
			let called = false;
			const next = (error) => {
				if (called) return;
				called = true;
				if (error) this._dispatch("error", [error]);
				else step(index + 1);
			};
			this._run(middleware, `middleware of ${event}`, [values, next]);
		};
		step(0);
	}

	_answer(token, values) {
		const callback = this._answers.get(token);
		this._answers.delete(token);
		if (callback) this._run(callback, "an acknowledgement", values);
	}

	/** The sidecar has put the socket into `room`, or taken it out. */
	_moved(room, inside) {
		if (this._unconfirmed.has(String(room))) return; // it has yet to hear of a later move made here
		if (inside) this.adapter.add(this.id, room);
		else this.adapter.remove(this.id, room);
	}

	/** The sidecar has done what `_tell` told it; the last answer says where the socket is. */
	_confirmed(room, inside) {
		const move = this._unconfirmed.get(room);
		if (!move || --move.count) return;
		this._unconfirmed.delete(room);
		this._moved(move.room, inside);
	}

	_gone(reason) {
		if (!this.connected) return;
		this.adapter.remove_all(this.id);
		this.nsp.sockets.delete(this.id);
		this._host.left(this);
		this.connected = false;
		this._answers.clear();
		this._unconfirmed.clear();
		this._dispatch("disconnect", [reason]);
	}

	_dispatch(event, values) {
		for (const listener of this.rawListeners(event)) this._run(listener, event, values);
	}

	_run(listener, event, values) {
		const app = journal.owner_of(listener);
		const doing = () => `the handler of ${JSON.stringify(event)} failed on ${this.site_name}`;
		try {
			const result = journal.run_as(app, event, () => listener.apply(this, values));
			if (typeof result?.then === "function") result.then(undefined, (error) => journal.failed(error, doing(), app));
		} catch (error) {
			journal.failed(error, doing(), app);
		}
	}

	_tell(name, room) {
		const key = String(room);
		const move = this._unconfirmed.get(key);
		if (move) move.count += 1;
		else this._unconfirmed.set(key, { room, count: 1 });
		this._host.channel.send([name, this.id, key]);
	}

	_await_answer(callback) {
		journal.own(callback);
		const token = this._host.next_token();
		if (this.connected) this._answers.set(token, callback);
		return token;
	}
}

/** What is left of the transport, which the sidecar has: nothing is ever unwritten here. */
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

function hide(object, name, value) {
	Object.defineProperty(object, name, { value, enumerable: false, writable: true, configurable: true });
}

module.exports = { Socket };
