// The places of a page: their names, and one object for each.

// The hash is written by client/build_assets.mjs, because browsers keep the files of /assets.
import { Presence } from "./presence.js?v=fa031222fad1";

// Names of frappe_realtime/contract/presence.py.
const LEAVE = "frappe_realtime:presence_leave";
const CHANGES = "frappe_realtime:presence";
const SYNC = "frappe_realtime:presence_sync";
const END = "frappe_realtime:presence_end";

/** The places of one connection. */
export class Presences {
	/** @param {import("./connection.js").Connection} connection */
	constructor(connection) {
		this._connection = connection;
		this._places = new Map();
		this._on_pagehide = () => {
			// The server would keep the members of a lost connection for some seconds.
			for (const one of this._places.values()) if (one.me) connection.socket.emit(LEAVE, one.place);
		};
		this._on_pageshow = ({ persisted }) => {
			if (!persisted) return;
			for (const one of this._places.values()) if (one.me) one.on_connect(false);
		};
	}

	/** Return the object of a place, always the same one. */
	get(place) {
		let presence = this._places.get(place);
		if (!presence) this._places.set(place, (presence = new Presence(this._connection, place)));
		return presence;
	}

	/** Listen to the events of the server; called when the connection has a socket. */
	attach() {
		const connection = this._connection;
		connection.keep_listening(CHANGES, (message) => this._places.get(message.place)?.on_changes(message));
		connection.keep_listening(SYNC, (message) => this.get(message.place).on_sync(message));
		connection.keep_listening(END, (message) => this._places.get(message.place)?.on_end(message));
	}

	/** Join all places again: the server may have a new session, or may have lost what was sent before. */
	on_connect(recovered) {
		// Neither Node nor React Native has it. A listener that is there already is not added again.
		globalThis.addEventListener?.("pagehide", this._on_pagehide);
		globalThis.addEventListener?.("pageshow", this._on_pageshow);
		for (const presence of this._places.values()) presence.on_connect(recovered);
	}

	/** Do not listen to the window any more, until the next connect. */
	close() {
		globalThis.removeEventListener?.("pagehide", this._on_pagehide);
		globalThis.removeEventListener?.("pageshow", this._on_pageshow);
	}
}

/**
 * Return the name of a place.
 *
 * @param {string | { room: string }} [doctype] a DocType, or a room that a handler has let this page into; without it, the site
 * @param {string | number} [name] a document; without it, the DocType
 * @returns {string}
 * @throws {TypeError} there is no such place
 */
export function place_of(doctype, name) {
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
