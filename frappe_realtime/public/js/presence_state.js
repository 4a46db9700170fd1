// The own state of a page in a place: what it has set, and what of that the server may not know yet.

// How often one value is refused before it is not sent again: a state that is too large is refused as often as it is sent.
const MAX_REFUSALS = 5;

/** The state of this page in one place, from when it joins until it leaves. */
export class OwnState {
	constructor() {
		// By key: the value, when it ends (performance.now), its time to live and how often it was refused. The value is null until the
		// server has removed the key.
		this._entries = new Map();
		this._unsent = new Set();
		// Keys that were sent and are not acknowledged yet, with how often.
		this._unconfirmed = new Map();
	}

	/** Whether there is something to send. */
	get has_unsent() {
		return this._unsent.size > 0;
	}

	/** All keys, with those that the server has to remove. */
	get keys() {
		return [...this._entries.keys()];
	}

	/**
	 * Change keys, and send them next.
	 *
	 * @param {object} changes null removes a key
	 * @param {number | null} ttl the seconds after which these keys are removed; null: never
	 * @throws {TypeError} the changes are no object, or JSON cannot hold them
	 */
	change(changes, ttl) {
		if (changes === null || typeof changes !== "object" || Array.isArray(changes)) {
			throw new TypeError("a state is an object");
		}
		if (ttl !== null && !(ttl > 0)) throw new TypeError("ttl is a number of seconds above 0");
		// Throws for what JSON cannot hold: nobody would be told when it fails each time that it is sent.
		JSON.stringify(changes);
		const ends = ttl === null ? Infinity : performance.now() + 1000 * ttl;
		for (const [key, value] of Object.entries(changes)) {
			this._entries.set(key, { value: value ?? null, ends, ttl, refusals: 0 });
			this._unsent.add(key);
		}
	}

	/** Whether this page has changed a key and the server may not know it yet. */
	is_newer(key) {
		return this._unsent.has(key) || this._unconfirmed.has(key);
	}

	/** Return the changes that the server may not know yet. */
	newer() {
		const newer = [...this._entries].filter(([key]) => this.is_newer(key));
		return Object.fromEntries(newer.map(([key, { value }]) => [key, value]));
	}

	/** Note that the server has removed a key. */
	removed(key) {
		this._entries.delete(key);
	}

	/** Take what a join sends: all but the values with a time to live, which are sent after it. */
	take_lasting() {
		const changes = {};
		for (const key of this._entries.keys()) {
			const { value, ttl } = this._entry(key);
			if (ttl !== null) this._unsent.add(key);
			else {
				this._unsent.delete(key);
				changes[key] = value;
			}
		}
		return changes;
	}

	/**
	 * Take what is to be sent.
	 *
	 * @returns {{ ttl: number | null, changes: object, entries: Map }[]} keys with the same time to live together; the entries
	 *     are for `refused`
	 */
	take_unsent() {
		const groups = new Map();
		for (const key of this._unsent) {
			const entry = this._entry(key);
			const { value, ttl } = entry;
			if (!groups.has(ttl)) groups.set(ttl, { ttl, changes: {}, entries: new Map() });
			const { changes, entries } = groups.get(ttl);
			changes[key] = value;
			entries.set(key, entry);
		}
		this._unsent.clear();
		return [...groups.values()];
	}

	/** Note that changes were sent: they are newer than what the server says, until `answered`. */
	sent(changes) {
		for (const key of Object.keys(changes)) this._unconfirmed.set(key, (this._unconfirmed.get(key) ?? 0) + 1);
	}

	/** Note that changes were answered, or will never be; `is_done` if the server has made them. */
	answered(changes, is_done) {
		for (const key of Object.keys(changes)) {
			const count = this._unconfirmed.get(key) - 1;
			if (count > 0) this._unconfirmed.set(key, count);
			else this._unconfirmed.delete(key);
			if (is_done && this._entries.get(key)?.value === null && !this.is_newer(key)) this._entries.delete(key);
		}
	}

	/** Note that a limit has refused what `take_unsent` has returned: it is sent again, unless that was often so. */
	refused(entries) {
		for (const [key, entry] of entries) {
			// A value that was set meanwhile is sent anyway.
			if (this._entries.get(key) === entry && ++entry.refusals < MAX_REFUSALS) this._unsent.add(key);
		}
	}

	// A value whose time is over is removed. The server may have an earlier one.
	_entry(key) {
		const is_over = this._entries.get(key).ends <= performance.now();
		if (is_over) this._entries.set(key, { value: null, ends: Infinity, ttl: null, refusals: 0 });
		return this._entries.get(key);
	}
}
