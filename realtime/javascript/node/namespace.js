"use strict";
// A namespace of Socket.IO, as far as handlers use it: its sockets and rooms, and broadcasts to them.

const { EventEmitter } = require("node:events");

const { encode_arguments } = require("./binary");

const RESERVED = new Set([
	"connect",
	"connect_error",
	"disconnect",
	"disconnecting",
	"newListener",
	"removeListener",
]);

/** Throw for an event name that Socket.IO reserves, or does not have: a client that gets such an event closes its connection. */
function check_name(event) {
	if (RESERVED.has(event)) throw new Error(`"${String(event)}" is a reserved event name`);
	if (typeof event !== "string" && !Number.isFinite(event)) throw new TypeError("the name of an event is a string");
}

/** The adapter of Socket.IO: `rooms` (room → Set of socket ids) and `sids` (socket id → Set of rooms). */
class Adapter {
	constructor(nsp) {
		this.nsp = nsp;
		this.rooms = new Map();
		this.sids = new Map();
	}

	add(id, room) {
		const rooms = this.sids.get(id);
		if (rooms) rooms.add(room);
		else this.sids.set(id, new Set([room]));
		const members = this.rooms.get(room);
		if (members) members.add(id);
		else this.rooms.set(room, new Set([id]));
	}

	remove(id, room) {
		this.sids.get(id)?.delete(room);
		const members = this.rooms.get(room);
		if (members?.delete(id) && members.size === 0) this.rooms.delete(room);
	}

	remove_all(id) {
		for (const room of [...(this.sids.get(id) ?? [])]) this.remove(id, room);
		this.sids.delete(id);
	}

	socketRooms(id) {
		return this.sids.get(id);
	}
}

/** Emits to the sockets of some rooms, once to each; without rooms to all of the namespace. Immutable, as in Socket.IO. */
class BroadcastOperator {
	constructor(nsp, rooms = new Set(), excluded = new Set(), local = false) {
		this._nsp = nsp;
		this._rooms = rooms;
		this._excluded = excluded;
		this._local = local;
	}

	to(rooms) {
		return new BroadcastOperator(this._nsp, add_rooms(this._rooms, rooms), this._excluded, this._local);
	}

	in(rooms) {
		return this.to(rooms);
	}

	except(rooms) {
		return new BroadcastOperator(this._nsp, this._rooms, add_rooms(this._excluded, rooms), this._local);
	}

	get broadcast() {
		return this;
	}

	get volatile() {
		return this;
	}

	/** Emit only to sockets of this sidecar. */
	get local() {
		return new BroadcastOperator(this._nsp, this._rooms, this._excluded, true);
	}

	compress() {
		return this;
	}

	emit(event, ...values) {
		check_name(event);
		const { json, attachments } = encode_arguments([event, ...values]);
		const rooms = this._rooms.size ? [...this._rooms] : null;
		const excluded = [...this._excluded];
		const operation = ["broadcast", this._nsp.name, rooms, excluded, this._local, json, attachments.length];
		this._nsp._channel.send(operation, attachments);
		return true;
	}
}

/** Return `set` with one room or several rooms added. */
function add_rooms(set, rooms) {
	const all = new Set(set);
	for (const room of Array.isArray(rooms) ? rooms : [rooms]) all.add(String(room));
	return all;
}

/** A namespace. Its sockets and rooms are kept equal to those of all sidecars by `Runtime`. */
class Namespace extends EventEmitter {
	constructor(name, channel) {
		super();
		this.name = name;
		this.sockets = new Map();
		this.adapter = new Adapter(this);
		this._channel = channel;
	}

	to(rooms) {
		return new BroadcastOperator(this).to(rooms);
	}

	in(rooms) {
		return this.to(rooms);
	}

	except(rooms) {
		return new BroadcastOperator(this).except(rooms);
	}

	emit(event, ...values) {
		return new BroadcastOperator(this).emit(event, ...values);
	}

	get local() {
		return new BroadcastOperator(this).local;
	}

	get volatile() {
		return new BroadcastOperator(this);
	}
}

module.exports = { BroadcastOperator, Namespace, check_name };
