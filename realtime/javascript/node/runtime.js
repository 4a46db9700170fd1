"use strict";
// Executes the operations of the sidecar: keeps sockets and rooms equal to its, and calls handlers with its events.
// The operations are described in realtime/javascript/ipc.py.

const { AppLoader } = require("./app_loader");
const { encode_arguments, reconstruct } = require("./binary");
const { Calls } = require("./calls");
const { Channel } = require("./channel");
const { FrappeClient } = require("./frappe_client");
const { Latencies } = require("./latencies");
const log = require("./log");
const { Namespace } = require("./namespace");
const { RemoteSocket } = require("./remote_socket");
const { Socket } = require("./socket");

// Operations with attachments; their number is the fourth value.
const WITH_ATTACHMENTS = new Set(["event", "ack"]);
// Operations that call handlers.
const CALLS_HANDLERS = new Set(["event", "call_handlers"]);

// Tokens of one process; with a million processes they are still exact numbers.
const TOKENS = 2 ** 32;

class Runtime {
	/** @param {number} fd the open socket to the sidecar
	 *  @param {string} web_url the address of Frappe's web process
	 *  @param {number[]} latency_bounds the upper bounds of the buckets of a latency, in seconds
	 *  @param {number} number the number of this process among those of the sidecar */
	constructor(fd, web_url, latency_bounds, number) {
		this.channel = new Channel(
			fd,
			(operations, attachments) => this._enqueue(operations, attachments),
			() => this._executing || this._execute(),
		);
		this.calls = new Calls(this.channel);
		this.latencies = new Latencies(this.channel, latency_bounds);
		this.frappe = new FrappeClient(web_url);
		this._apps = new AppLoader(this.channel);
		this._namespaces = new Map();
		this._sockets = new Map();
		// Whether there are other sidecars, whose handlers read the properties of sockets.
		this.replicating = false;
		this._permission_queries = new Map();
		// Questions about presence, and calls of `rewind`.
		this._questions = new Map();
		// What a process before has asked may be answered only now: its tokens are not used again.
		this._last_token = number * TOKENS;
		this._queue = [];
		this._executed = 0;
		this._attachments = [];
		this._executing = false;
	}

	next_token() {
		return ++this._last_token;
	}

	/** Resolve if the user of `socket` has the permission; otherwise never, as under Frappe's server. */
	has_permission(socket, doctype, name) {
		return new Promise((resolve) => {
			const token = this.next_token();
			this._permission_queries.set(token, resolve);
			this.channel.send(["has_permission", token, socket.id, String(doctype), String(name || "")]);
		});
	}

	/** Ask the sidecar for something about presence; resolves to what it answers. */
	ask_presence(socket, action, place, state, ttl) {
		return this._ask("presence", socket, [socket.nsp.name, action, place], [state, ttl]);
	}

	/** Let the sidecar join a room and send the earlier events of the room; resolves to the number of events. */
	ask_rewind(socket, room, rewind) {
		return this._ask("rewind", socket, [room], [rewind]);
	}

	/** `texts` are strings, `values` come from a handler: rejected if JSON cannot hold them. */
	_ask(name, socket, texts, values) {
		return new Promise((resolve, reject) => {
			const json = encode_values(values);
			const token = this.next_token();
			this._questions.set(token, { resolve, reject });
			this.channel.send([name, token, socket.id, ...texts, json]);
		});
	}

	/** Forget a socket that has left its namespace. */
	remove(socket) {
		this._sockets.delete(socket.id);
	}

	_namespace(name) {
		let nsp = this._namespaces.get(name);
		if (!nsp) this._namespaces.set(name, (nsp = new Namespace(name, this.channel)));
		return nsp;
	}

	_enqueue(operations, attachments) {
		for (const operation of operations) {
			const count = WITH_ATTACHMENTS.has(operation[0]) ? operation[3] : 0;
			this._queue.push(operation);
			if (count) this._attachments.push(...attachments.splice(0, count));
		}
	}

	/**
	 * Execute the queue. After a call of handlers the event loop turns, so that what they await precedes the next event. Nothing is read
	 * while operations wait, so that no more waits here than was read at once.
	 */
	_execute() {
		this._executing = true;
		let has_called = false;
		while (!has_called && this._executed < this._queue.length) {
			const [name, ...values] = this._queue[this._executed++];
			try {
				this[`on_${name}`](...values);
			} catch (error) {
				log.failure(error, `the operation ${name}`, null);
			}
			has_called = CALLS_HANDLERS.has(name);
		}
		if (!has_called) {
			this._queue = [];
			this._executed = 0;
			this._executing = false;
			this.channel.resume();
			return;
		}
		const is_congested = this.channel.is_congested(() => this._execute());
		if (is_congested || this._executed < this._queue.length) this.channel.pause();
		if (!is_congested) setImmediate(() => this._execute());
	}

	// -- operations of the sidecar

	on_secret(value) {
		this.frappe.set_secret(value);
	}

	on_load_app(app, file) {
		this._apps.load(app, file);
	}

	on_add_socket(name, id, description, rooms) {
		// Its client may have been connected to another sidecar before.
		this.on_remove_remote(name, id);
		const nsp = this._namespace(name);
		const socket = new Socket(nsp, id, description, this);
		this._sockets.set(id, socket);
		nsp.sockets.set(id, socket);
		nsp.adapter.add(id, id);
		for (const room of rooms) nsp.adapter.add(id, room);
	}

	on_call_handlers(id, apps) {
		const socket = this._sockets.get(id);
		for (const app of apps) if (socket?.connected) this._apps.call(app, socket);
	}

	on_join(id, room) {
		this._sockets.get(id)?._on_move(room, true);
	}

	on_leave(id, room) {
		this._sockets.get(id)?._on_move(room, false);
	}

	on_move_done(id, room, inside) {
		this._sockets.get(id)?._on_move_done(room, inside);
	}

	on_remove_socket(id, reason) {
		this._sockets.get(id)?._on_disconnect(reason);
	}

	on_remove_namespace(name) {
		// The object stays: handlers may have kept it, and its next sockets come into it.
		for (const id of [...(this._namespaces.get(name)?.sockets.keys() ?? [])]) this.on_remove_remote(name, id);
	}

	on_replicating(value) {
		this.replicating = value;
		for (const socket of this._sockets.values()) socket._report_properties();
	}

	on_add_remotes(name, descriptions) {
		const nsp = this._namespace(name);
		for (const [id, user, user_type, rooms, properties] of descriptions) {
			let socket = nsp.sockets.get(id);
			if (socket instanceof Socket) continue;
			if (!socket) {
				socket = new RemoteSocket(nsp, id, user, user_type);
				nsp.sockets.set(id, socket);
			}
			socket._set_properties(properties);
			for (const room of [id, ...rooms]) nsp.adapter.add(id, room);
		}
	}

	on_move_remote(name, id, room, inside) {
		const nsp = this._namespaces.get(name);
		if (!(nsp?.sockets.get(id) instanceof RemoteSocket)) return;
		if (inside) nsp.adapter.add(id, room);
		else nsp.adapter.remove(id, room);
	}

	on_remove_remote(name, id) {
		const nsp = this._namespaces.get(name);
		const socket = nsp?.sockets.get(id);
		if (!(socket instanceof RemoteSocket)) return;
		nsp.adapter.remove_all(id);
		nsp.sockets.delete(id);
		socket.connected = false;
	}

	on_event(id, token, count, values, is_call) {
		const attachments = this._attachments.splice(0, count);
		const socket = this._sockets.get(id);
		if (!socket) return;
		const packet = count ? reconstruct(values, attachments) : values;
		if (token !== null) packet.push(this._make_ack(id, token));
		socket._on_event(packet, is_call ? (...why) => this.channel.send(["call_ended", id, token, ...why]) : () => {});
	}

	on_ack(id, token, count, values) {
		const attachments = this._attachments.splice(0, count);
		this._sockets.get(id)?._on_ack(token, count ? reconstruct(values, attachments) : values);
	}

	on_permission(token, allowed) {
		const resolve = this._permission_queries.get(token);
		this._permission_queries.delete(token);
		if (allowed && resolve) resolve();
	}

	on_answer(token, error, value) {
		const question = this._questions.get(token);
		this._questions.delete(token);
		if (error) question?.reject(refusal(...error));
		else question?.resolve(value);
	}

	on_ready() {
		this.channel.send(["ready"]);
	}

	on_watch(sites) {
		this.calls.watch(sites);
	}

	on_ping(number) {
		this.channel.send(["pong", number]);
	}

	/** The function by which a handler acknowledges an event; only the first call counts. */
	_make_ack(id, token) {
		let sent = false;
		return (...values) => {
			if (sent) return;
			// Before it counts as sent: the handler may catch what this throws, and answer otherwise.
			const { json, attachments } = encode_arguments(values);
			sent = true;
			this.channel.send(["ack", id, token, json, attachments.length], attachments);
		};
	}
}

/** Encode the values of a question. Not with the frame: one that JSON cannot hold would keep all others from being sent. */
function encode_values(values) {
	try {
		return JSON.stringify(values);
	} catch (error) {
		throw refusal("bad_request", `the value is not JSON: ${error?.message}`);
	}
}

function refusal(code, message) {
	return Object.assign(new Error(message), { code });
}

module.exports = { Runtime };
