"use strict";
// A namespace as handlers see it: its sockets and rooms, kept equal to the sidecar's, and ways to emit to them.

const { EventEmitter } = require("node:events");

const { pack } = require("./payload");

const RESERVED = new Set([
	"connect",
	"connect_error",
	"disconnect",
	"disconnecting",
	"newListener",
	"removeListener",
]);

function check_name(event) {
	if (RESERVED.has(event)) throw new Error(`"${String(event)}" is a reserved event name`);
}

/** Who is in which room: `rooms` (room → Set of ids) and `sids` (id → Set of rooms). */
class Adapter {
	constructor(nsp) {
		this.nsp = nsp;
		this.rooms = new Map();
		this.sids = new Map();
	}

	add(id, room) {
		let rooms = this.sids.get(id);
		if (!rooms) this.sids.set(id, (rooms = new Set()));
		rooms.add(room);
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

/** Collects rooms, then emits to their sockets, each once; without rooms to all. Each step is an operator of its own. */
class BroadcastOperator {
	constructor(nsp, rooms = new Set(), excluded = new Set(), local = false) {
		this._nsp = nsp;
		this._rooms = rooms;
		this._excluded = excluded;
		this._local = local;
	}

	to(rooms) {
		return new BroadcastOperator(this._nsp, with_rooms(this._rooms, rooms), this._excluded, this._local);
	}

	in(rooms) {
		return this.to(rooms);
	}

	except(rooms) {
		return new BroadcastOperator(this._nsp, this._rooms, with_rooms(this._excluded, rooms), this._local);
	}

	get broadcast() {
		return this;
	}

	get volatile() {
		return this;
	}

	/** Only to sockets of this sidecar. */
	get local() {
		return new BroadcastOperator(this._nsp, this._rooms, this._excluded, true);
	}

	compress() {
		return this;
	}

	emit(event, ...values) {
		check_name(event);
		const { json, attachments } = pack([event, ...values]);
		const rooms = this._rooms.size ? [...this._rooms] : null;
		const excluded = [...this._excluded];
		const operation = ["to", this._nsp.name, rooms, excluded, this._local, json, attachments.length];
		this._nsp._channel.send(operation, attachments);
		return true;
	}
}

function with_rooms(set, rooms) {
	const all = new Set(set);
	for (const room of Array.isArray(rooms) ? rooms : [rooms]) all.add(String(room));
	return all;
}

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
