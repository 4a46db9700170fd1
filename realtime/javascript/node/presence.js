"use strict";
// Presence for handlers: who is in a place, and the handler's socket as one of them.

/** Return the name of a place: a document, a DocType, `{ room }`, or without arguments the site; throws a TypeError for anything else. */
function place_of(doctype, name) {
	if (doctype === undefined && name === undefined) return "site";
	if (is_name(doctype?.room) && name === undefined) return `room:${doctype.room}`;
	if (is_name(doctype) && name === undefined) return `doctype:${doctype}`;
	if (is_name(doctype) && is_name(name)) return `doc:${doctype}/${name}`;
	// `null` is no document, and would be one with this name.
	const given = `presence(${String(doctype)}, ${String(name)})`;
	throw new TypeError(`${given} names no place: pass a DocType and a document, a DocType, { room }, or nothing`);
}

function is_name(value) {
	return (typeof value === "string" && value !== "") || Number.isInteger(value);
}

/** A place, for one socket. The promises are rejected with an Error that has a `code`. */
class Presence {
	constructor(socket, place, runtime) {
		this.place = place;
		this._socket = socket;
		this._runtime = runtime;
	}

	/** Let the socket be a member, with this state; `ttl` is the number of seconds after which its keys are removed. */
	async join(state = {}, { ttl = null } = {}) {
		await this._change("join", state, ttl);
	}

	/** Change keys of the state of the socket; null removes a key. */
	async set(state, { ttl = null } = {}) {
		await this._change("set", state, ttl);
	}

	/** Let the socket be no member any more. */
	async leave() {
		await this._change("leave");
	}

	/** The members on all sidecars, those who came first at the beginning. */
	async members() {
		return (await this._ask("members"))[0];
	}

	/** The number of all members. */
	async count() {
		return (await this._ask("members"))[1];
	}

	async _change(action, state, ttl) {
		// Otherwise the socket of this id is the one of a client that has recovered its session.
		if (this._socket.connected) await this._ask(action, state, ttl);
	}

	_ask(action, state = null, ttl = null) {
		return this._runtime.ask_presence(this._socket, action, this.place, state, ttl);
	}
}

module.exports = { Presence, place_of };
