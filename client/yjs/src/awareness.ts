// Cursors, names and selections: the states of the clients of a document, with the methods of Awareness of y-protocols, by which
// bindings of editors read and set them. They travel as presence of the document, so a state ends when its client goes.

import { here, type Connection, type Here, type Place } from "@frappe-realtime/core";
import type { Doc } from "yjs";

import { Emitter } from "./emitter.js";

/** The state of one client: an object that becomes JSON. */
export type AwarenessState = Record<string, any>;

/** The clients whose states have come, changed or gone. */
export interface AwarenessChange {
	added: number[];
	updated: number[];
	removed: number[];
}

export interface AwarenessEvents {
	/** States have changed; `origin` is "local" or the provider's connection. */
	change(change: AwarenessChange, origin: unknown): void;
	/** The same, also when a state was set again without a change. */
	update(change: AwarenessChange, origin: unknown): void;
	destroy(): void;
}

/** The states of the clients that edit a document. */
export class Awareness extends Emitter<AwarenessEvents> {
	readonly doc: Doc;
	readonly clientID: number;
	/** The states by client; this page's own one is among them unless it is null. */
	readonly states: Map<number, AwarenessState>;
	private _here: Here | null = null;
	private _connect_again: (() => void) | null = null;
	private _unsubscribe: (() => void) | null = null;
	private _key = "";
	// The own state as it was sent last.
	private _sent: AwarenessState | null = null;

	constructor(doc: Doc) {
		super();
		this.doc = doc;
		this.clientID = doc.clientID;
		this.states = new Map([[this.clientID, {}]]);
	}

	getStates(): Map<number, AwarenessState> {
		return this.states;
	}

	getLocalState(): AwarenessState | null {
		return this.states.get(this.clientID) ?? null;
	}

	/** Replace the own state; null: this page has none. */
	setLocalState(state: AwarenessState | null): void {
		const before = this.getLocalState();
		if (state) this.states.set(this.clientID, state);
		else this.states.delete(this.clientID);
		this._send();
		const change: AwarenessChange = { added: [], updated: [], removed: [] };
		if (state) change[before ? "updated" : "added"].push(this.clientID);
		else if (before) change.removed.push(this.clientID);
		else return;
		if (!is_equal(before, state)) this._emit("change", change, "local");
		this._emit("update", change, "local");
	}

	/** Change one key of the own state; nothing if there is none. */
	setLocalStateField(field: string, value: any): void {
		const state = this.getLocalState();
		if (state) this.setLocalState({ ...state, [field]: value });
	}

	destroy(): void {
		this._emit("destroy");
		this.disconnect();
		this.setLocalState(null);
		this._remove_listeners();
	}

	/**
	 * Show the own state to the others in a place, and theirs here.
	 *
	 * @param connection the connection to the site
	 * @param place the document
	 * @param key the key of the member's state under which it is found
	 */
	connect(connection: Connection, place: Place, key: string): void {
		this.disconnect();
		this._key = key;
		this._connect_again = () => this.connect(connection, place, key);
		const one = (this._here = here(connection, place, this._own()));
		this._sent = this.getLocalState();
		const read = () => this._read(connection);
		this._unsubscribe = one.subscribe(read);
		read();
	}

	/** Try to be in the place again, if this page was refused for a reason that may be over. */
	retry(): void {
		const code = this._here?.snapshot.code;
		if (code === "unavailable" || code === "limit") this._connect_again?.();
	}

	/** Show it no longer, and forget the states of the others. */
	disconnect(): void {
		this._unsubscribe?.();
		this._unsubscribe = null;
		// Others of the page may stay in the place.
		if (this._here?.snapshot.me) this._here.set({ [this._key]: null });
		this._here?.stop();
		this._here = this._connect_again = null;
		this._read(null);
	}

	// Send the own state, unless this page is not in the place yet: then it is sent when it is.
	private _send(): void {
		const state = this.getLocalState();
		if (state === this._sent || !this._here?.snapshot.me) return;
		this._sent = state;
		this._here.set(this._own());
	}

	private _own(): AwarenessState {
		const state = this.getLocalState();
		return { [this._key]: state && { client: this.clientID, state } };
	}

	private _read(origin: unknown): void {
		this._send();
		const found = new Map<number, AwarenessState>();
		for (const member of this._here?.snapshot.members ?? []) {
			const { client, state } = member.state[this._key] ?? {};
			if (typeof client === "number" && state && client !== this.clientID) found.set(client, state);
		}
		const change: AwarenessChange = { added: [], updated: [], removed: [] };
		for (const client of [...this.states.keys()]) {
			if (client === this.clientID || found.has(client)) continue;
			this.states.delete(client);
			change.removed.push(client);
		}
		for (const [client, state] of found) {
			const before = this.states.get(client);
			if (before && is_equal(before, state)) continue;
			this.states.set(client, state);
			change[before ? "updated" : "added"].push(client);
		}
		if (!change.added.length && !change.updated.length && !change.removed.length) return;
		this._emit("change", change, origin);
		this._emit("update", change, origin);
	}
}

function is_equal(one: unknown, other: unknown): boolean {
	return JSON.stringify(one) === JSON.stringify(other);
}
