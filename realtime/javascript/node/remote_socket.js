"use strict";
// A socket that is connected to another worker or host: the class of this name in Socket.IO, as far as handlers use it.

const { BroadcastOperator } = require("./namespace");

class RemoteSocket {
	/**
	 * @param {Namespace} nsp
	 * @param {string} id
	 * @param {string} user
	 * @param {string} user_type
	 */
	constructor(nsp, id, user, user_type) {
		this.id = id;
		this.data = {};
		this.connected = true;
		this.site_name = nsp.name.slice(1);
		this.user = user;
		this.user_type = user_type;
		// Not enumerable, so that a handler can log or serialise the socket.
		Object.defineProperty(this, "nsp", { value: nsp });
		Object.defineProperty(this, "_properties", { value: [], writable: true });
	}

	/** Take over the properties that handlers have set in the process of the socket, instead of those before. */
	_set_properties({ data = {}, ...properties }) {
		for (const name of this._properties) delete this[name];
		// Neither those of this class nor those of every object, such as __proto__.
		this._properties = Object.keys(properties).filter((name) => !(name in this));
		for (const name of this._properties) this[name] = properties[name];
		this.data = data;
	}

	get rooms() {
		return this.nsp.adapter.socketRooms(this.id) ?? new Set();
	}

	emit(event, ...values) {
		if (typeof values[values.length - 1] === "function") {
			throw new Error("a socket of another process cannot acknowledge an event");
		}
		return new BroadcastOperator(this.nsp, new Set([this.id])).emit(event, ...values);
	}

	join(rooms) {
		this._command("join", rooms);
	}

	leave(rooms) {
		this._command("leave", rooms);
	}

	disconnect(close = false) {
		this._command(close ? "close" : "disconnect", "");
		return this;
	}

	_command(action, rooms) {
		for (const room of Array.isArray(rooms) ? rooms : [rooms]) {
			this.nsp._channel.send(["command", this.nsp.name, this.id, action, String(room)]);
		}
	}
}

module.exports = { RemoteSocket };
