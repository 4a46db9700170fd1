// The types of frappe_realtime/public/js/presence.js, which the build puts in the place of this module.

/** A place was not joined; `code` says why (`not_permitted`, `limit`, `bad_request`, `unavailable`, or `left` by the page itself). */
export class PresenceError extends Error {
	constructor(code: string, message: string);
	readonly code: string;
}

/** Replaced by another object when it changes. */
export interface Member {
	/** One for each connection: a user with two tabs is two members. */
	id: string;
	user: string;
	full_name: string;
	/** Seconds since 1970. */
	joined_at: number;
	/** Grows with each change of the state. */
	version: number;
	state: Record<string, any>;
}

/** The listeners of a place, by event. */
export interface PresenceEvents {
	join(member: Member): void;
	leave(member: Member): void;
	/** A state has changed: `changes` has the keys that have, null for one that was removed. */
	update(member: Member, changes: Record<string, any>): void;
	/** This page has joined, also again. */
	sync(members: Member[]): void;
	/** This page was made to leave. */
	end(reason: { code: string }): void;
}

/** The members of one place, and this page as one of them after `join`. */
export class Presence {
	readonly place: string;
	readonly count: number;
	readonly me: Member | null;
	readonly members: Member[];
	readonly users: { user: string; full_name: string; members: Member[] }[];
	join(state?: object): Promise<Presence>;
	set(state: object, options?: { ttl?: number | null }): void;
	leave(): void;
	on<E extends keyof PresenceEvents>(event: E, callback: PresenceEvents[E]): Presence;
	off<E extends keyof PresenceEvents>(event: E, callback?: PresenceEvents[E]): Presence;
}
