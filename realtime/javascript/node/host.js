"use strict";
// Runs the handlers.js files of apps for the sidecar: node host.js FD NOTE
//
// The sidecar owns the sockets. It tells this process of those whose site has such an app, and of their rooms, so that
// handlers read both at once; what handlers do goes back to it. FD is the open socket between the two, NOTE an open file in
// which the sidecar can read, should this process hang, which handler it has begun last.

const { Apps } = require("./apps");
const { Channel } = require("./channel");
const journal = require("./journal");
const { Namespace } = require("./namespace");
const { pack, put_back } = require("./payload");
const { Socket } = require("./socket");
const { Web } = require("./web");

class Host {
	constructor(fd) {
		this.channel = new Channel(
			fd,
			(operations, attachments) => this._receive(operations, attachments),
			() => this._pumping || this._pump(),
		);
		this.apps = new Apps(this.channel);
		this.web = null;
		this._namespaces = new Map();
		this._sockets = new Map();
		this._questions = new Map();
		this._last_token = 0;
		this._queue = [];
		this._done = 0;
		this._attachments = [];
		this._pumping = false;
	}

	next_token() {
		return ++this._last_token;
	}

	/** Settles when the user of `socket` may; otherwise, as under Frappe's server, never. */
	may(socket, doctype, name) {
		return new Promise((resolve) => {
			const token = this.next_token();
			this._questions.set(token, resolve);
			this.channel.send(["may", token, socket.id, String(doctype), String(name || "")]);
		});
	}

	/** A socket has left its namespace. */
	left(socket) {
		this._sockets.delete(socket.id);
		if (socket.nsp.sockets.size === 0) this._namespaces.delete(socket.nsp.name);
	}

	_receive(operations, attachments) {
		for (const operation of operations) {
			const count = operation[0] === "event" || operation[0] === "answer" ? operation[3] : 0;
			this._queue.push(operation);
			if (count) this._attachments.push(...attachments.splice(0, count));
		}
	}

	/** Do what is queued. After each event the loop turns, so that what its handlers have awaited goes before the next. */
	_pump() {
		this._pumping = true;
		while (this._done < this._queue.length) {
			const operation = this._queue[this._done++];
			try {
				this[operation[0]](...operation.slice(1));
			} catch (error) {
				journal.failed(error, `the operation ${operation[0]}`, null);
			}
			if (operation[0] === "event" || operation[0] === "set_up") break;
		}
		if (this._done === this._queue.length) {
			this._queue = [];
			this._done = 0;
			this._pumping = false;
		} else if (!this.channel.congested(() => this._pump())) {
			setImmediate(() => this._pump());
		}
	}

	// -- operations of the sidecar

	start(url) {
		this.web = new Web(url);
	}

	secret(value) {
		this.web.secret = value;
	}

	load(app, file) {
		this.apps.load(app, file);
	}

	add(name, id, about, rooms) {
		let nsp = this._namespaces.get(name);
		if (!nsp) this._namespaces.set(name, (nsp = new Namespace(name, this.channel)));
		const socket = new Socket(nsp, id, about, this);
		this._sockets.set(id, socket);
		nsp.sockets.set(id, socket);
		nsp.adapter.add(id, id);
		for (const room of rooms) nsp.adapter.add(id, room);
	}

	set_up(id, apps) {
		const socket = this._sockets.get(id);
		for (const app of apps) if (socket?.connected) this.apps.set_up(app, socket);
	}

	join(id, room) {
		this._sockets.get(id)?._moved(room, true);
	}

	leave(id, room) {
		this._sockets.get(id)?._moved(room, false);
	}

	moved(id, room, inside) {
		this._sockets.get(id)?._confirmed(room, inside);
	}

	gone(id, reason) {
		this._sockets.get(id)?._gone(reason);
	}

	event(id, token, count, values) {
		const attachments = this._attachments.splice(0, count);
		const socket = this._sockets.get(id);
		if (!socket) return;
		if (count) values = put_back(values, attachments);
		if (token !== null) values.push(this._acknowledge(id, token));
		socket._event(values);
	}

	answer(id, token, count, values) {
		const attachments = this._attachments.splice(0, count);
		this._sockets.get(id)?._answer(token, count ? put_back(values, attachments) : values);
	}

	may_answer(token, yes) {
		const resolve = this._questions.get(token);
		this._questions.delete(token);
		if (yes && resolve) resolve();
	}

	ready() {
		this.channel.send(["ready"]);
	}

	ping(number) {
		this.channel.send(["pong", number]);
	}

	_acknowledge(id, token) {
		let sent = false;
		return (...values) => {
			if (sent) return;
			sent = true;
			const { json, attachments } = pack(values);
			this.channel.send(["ack", id, token, json, attachments.length], attachments);
		};
	}
}

journal.install();
// A terminal's Ctrl-C and a process manager's signal reach the whole group; the sidecar decides, and this process ends with it.
process.on("SIGINT", () => {});
process.on("SIGTERM", () => {});
journal.note_in(Number(process.argv[3]));
module.exports = new Host(Number(process.argv[2]));
