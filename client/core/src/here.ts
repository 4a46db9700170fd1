// Presence without a framework: this page in one place, for as long as a part of the page wants it.

import type { Connection } from "./connection.js";
import { call } from "./local_events.js";
import type { Member, Presence } from "./presence.js";

/** A document, a DocType, a room of a handler, or with neither the site. */
export interface Place {
	doctype?: string;
	name?: string | number;
	room?: string;
}

/** A place that a page may not know yet: null or undefined, or with a name that is null, undefined or empty. The site is `{}`. */
export type MaybePlace = { [K in keyof Place]: Place[K] | null } | null | undefined;

/** Return a place; null for one that is not known yet. Without the name that is missing, it would be the DocType or the site. */
export function known_place(place: MaybePlace): Place | null {
	if (!place) return null;
	const { doctype, name, room } = place;
	if (room) return { room };
	if (!doctype) return Object.keys(place).length ? null : {};
	if (!("name" in place)) return { doctype };
	return name == null || name === "" ? null : { doctype, name };
}

/** Who is in a place at one moment. */
export interface HereSnapshot {
	/** The members, those who came first at the beginning; empty until the place is joined. */
	readonly members: readonly Member[];
	/** How many there are; `members` has the first ones only if there are many. */
	readonly count: number;
	/** This page; null until the place is joined. */
	readonly me: Member | null;
	/** Why the page is not in the place: `not_permitted`, `limit`, `bad_request`, `unavailable`, `left`; null if it is or will be. */
	readonly code: string | null;
}

// How many parts of the page are in a place.
const uses = /* @__PURE__ */ new WeakMap<Presence, number>();

/** This page in a place, until `stop`. Any number of parts of a page may be in one place: the last one leaves it. */
export class Here {
	/** Replaced by another object when it changes. */
	snapshot: HereSnapshot;
	private readonly _presence: Presence;
	private readonly _listeners: Set<() => void>;
	private readonly _on_change: () => void;
	private readonly _on_end: (reason: { code: string }) => void;
	private _is_running: boolean;

	constructor(connection: Connection, { doctype, name, room }: Place, state: object = {}) {
		this._presence = connection.presence(room === undefined ? doctype : { room }, name);
		// First: it throws if this is no state, and then this page does not count as one more that is there.
		const joined = this._presence.join(state);
		this._listeners = new Set();
		this._is_running = true;
		this._on_change = () => this._read(null);
		this._on_end = ({ code }) => this._read(code);
		this.snapshot = { members: [], count: 0, me: null, code: null };
		uses.set(this._presence, (uses.get(this._presence) ?? 0) + 1);
		for (const event of CHANGES) this._presence.on(event, this._on_change);
		this._presence.on("end", this._on_end);
		joined.then(this._on_change, (error) => this._read(error.code ?? "unavailable"));
	}

	/** Call `listener` after each change of `snapshot`; returns the function that ends this. */
	subscribe(listener: () => void): () => void {
		this._listeners.add(listener);
		return () => void this._listeners.delete(listener);
	}

	/** Change the own state; see `Presence.set`. Without effect after the page was made to leave. */
	set(state: object, options?: { ttl?: number | null }): void {
		if (!this._is_running || this.snapshot.code) return;
		this._presence.set(state, options);
		this._read(null);
	}

	/** Leave the place, unless another part of the page is in it. */
	stop(): void {
		if (!this._is_running) return;
		this._is_running = false;
		for (const event of CHANGES) this._presence.off(event, this._on_change);
		this._presence.off("end", this._on_end);
		this._listeners.clear();
		const count = uses.get(this._presence)! - 1;
		uses.set(this._presence, count);
		if (!count) this._presence.leave();
	}

	private _read(code: string | null): void {
		if (!this._is_running) return;
		const { members, count, me } = this._presence;
		this.snapshot = { members, count, me, code };
		for (const listener of [...this._listeners]) call(listener);
	}
}

const CHANGES = ["join", "leave", "update", "sync"] as const;

/** Be in a place; see `Here`. */
export function here(connection: Connection, place: Place, state: object = {}): Here {
	return new Here(connection, place, state);
}
