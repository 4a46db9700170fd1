// Presence: who is in a document, a DocType, the site or a room of a handler, with what state.
//
// `Connection.presence` makes the objects. Names of events and places are those of frappe_realtime/contract/presence.py.

// The hash is written by client/build_assets.mjs, because browsers keep the files of /assets.
import { OwnState } from "./presence_state.js?v=5b7b597d8662";

const JOIN = "frappe_realtime:presence_join";
const SET = "frappe_realtime:presence_set";
const LEAVE = "frappe_realtime:presence_leave";

// Milliseconds between two changes of the own state that are sent; the server tells the others as often.
const SEND_INTERVAL = 100;
// Milliseconds after which a join that was not answered, or a change that was refused, is sent again.
const RETRY_DELAY = 2000;

/** A place was not joined; `code` says why (`not_permitted`, `limit`, `bad_request`, `unavailable`, or `left` by the page itself). */
export class PresenceError extends Error {
	/**
	 * @param {string} code
	 * @param {string} message
	 */
	constructor(code, message) {
		super(message);
		this.name = "PresenceError";
		this.code = code;
	}
}

/**
 * @typedef {object} Member replaced by another object when it changes
 * @property {string} id one for each connection: a user with two tabs is two members
 * @property {string} user
 * @property {string} full_name
 * @property {number} joined_at seconds since 1970
 * @property {number} version grows with each change of the state
 * @property {object} state
 */

/** The members of one place, and this page as one of them after `join`. */
export class Presence {
	/**
	 * @param {import("./connection.js").Connection} connection
	 * @param {string} place
	 */
	constructor(connection, place) {
		this.place = place;
		/** How many members there are; `members` has the first ones only if there are many. @type {number} */
		this.count = 0;
		/** This page; null before `join` and after `leave`. @type {Member | null} */
		this.me = null;
		this._connection = connection;
		this._members = new Map();
		this._listeners = {};
		this._wanted = false;
		this._joining = null;
		// The newest join that is sent and not answered. Until then the server may not know this page, and would refuse a change.
		this._awaited_join = null;
		// A leave that the server has not acknowledged: what removes the state of before, and whether the answer is awaited.
		this._leaving = null;
		this._own = new OwnState();
		this._send_timer = null;
		this._last_sent = -Infinity;
	}

	/** Whether this page is a member, or waits to become one. @returns {boolean} */
	get wanted() {
		return this._wanted || this.me !== null;
	}

	/** The members, those who came first at the beginning. @returns {Member[]} */
	get members() {
		const all = [...this._members.values()];
		return all.sort((a, b) => a.joined_at - b.joined_at || (a.id < b.id ? -1 : 1));
	}

	/**
	 * The members by user, each with `user`, `full_name` and `members`.
	 *
	 * @returns {{ user: string, full_name: string, members: Member[] }[]}
	 */
	get users() {
		const users = new Map();
		for (const member of this.members) {
			const { user, full_name } = member;
			if (!users.has(user)) users.set(user, { user, full_name, members: [] });
			users.get(user).members.push(member);
		}
		return [...users.values()];
	}

	/**
	 * Be a member from now on, also after each reconnect.
	 *
	 * @param {object} [state] what the others see of this page
	 * @returns {Promise<Presence>} this object, when the server has confirmed it
	 * @throws {PresenceError} the server refuses it, or the page leaves before it is confirmed
	 * @throws {TypeError} at once: the state is no object, or JSON cannot hold it
	 */
	join(state = {}) {
		// The server may have the state of before still.
		if (this._leaving) this._change(this._leaving.removal, null);
		this._change(state, null);
		this._leaving = null;
		this._wanted = true;
		if (!this._joining) {
			this._joining = {};
			this._joining.promise = new Promise((resolve, reject) => Object.assign(this._joining, { resolve, reject }));
			this._send_join();
		} else if (this.me) this._schedule_send();
		return this._joining.promise;
	}

	/**
	 * Change the own state.
	 *
	 * Several changes within a tenth of a second are sent together.
	 *
	 * @param {object} state the keys to change; null removes a key
	 * @param {{ ttl?: number }} [options] `ttl`: seconds after which these keys are removed, unless they are set again
	 * @throws {TypeError} the state is no object, or JSON cannot hold it
	 */
	set(state, { ttl = null } = {}) {
		if (!this.wanted) throw new Error(`join ${this.place} before you set a state`);
		this._change(state, ttl);
		this._schedule_send();
	}

	/** Leave the place; without a connection, the event is sent after the next connect. */
	leave() {
		if (!this.wanted) return;
		const keys = [...this._own.keys, ...Object.keys(this.me?.state ?? {})];
		// The page itself leaves: that is no uncaught error where nobody waits for the join.
		this._joining?.promise.catch(() => {});
		this._end(new PresenceError("left", `${this.place} was left before it was joined`));
		this._leaving = { removal: Object.fromEntries(keys.map((key) => [key, null])), is_sent: false };
		this._send_leave();
	}

	/**
	 * Listen to an event.
	 *
	 * @param {"join" | "leave" | "update" | "sync" | "end"} event `join` and `leave` of others, with the member; `update` with the
	 *     member and the keys that have changed; `sync` with all members, after this page has joined, also again; `end` with
	 *     `{code}`, when this page was made to leave
	 * @param {Function} callback
	 * @returns {Presence} this object
	 */
	on(event, callback) {
		(this._listeners[event] ??= []).push(callback);
		return this;
	}

	/**
	 * Stop listening.
	 *
	 * @param {string} event
	 * @param {Function} [callback] the listener to remove; without it all listeners of the event
	 * @returns {Presence} this object
	 */
	off(event, callback) {
		this._listeners[event] = (this._listeners[event] ?? []).filter((one) => callback && one !== callback);
		return this;
	}

	_emit(event, ...args) {
		for (const callback of [...(this._listeners[event] ?? [])]) {
			try {
				callback(...args);
			} catch (error) {
				// As of a listener of the DOM: it is an uncaught error, and ends neither the join nor other listeners.
				queueMicrotask(() => {
					throw error;
				});
			}
		}
	}

	// -- the own state

	_change(state, ttl) {
		this._own.change(state, ttl);
		if (this.me) this._apply(this.me, state);
	}

	_schedule_send(interval = SEND_INTERVAL) {
		if (this._send_timer !== null || !this.me) return;
		const delay = Math.max(0, this._last_sent + interval - performance.now());
		this._send_timer = setTimeout(() => this._send(), delay);
	}

	_send() {
		this._send_timer = null;
		// What is set while the page joins is sent after the answer.
		if (!this.me || this._awaited_join || !this._own.has_unsent || !this._connection.socket.connected) return;
		this._last_sent = performance.now();
		for (const { ttl, changes, entries } of this._own.take_unsent()) {
			// Values whose time is over are removed.
			this._apply(this.me, changes);
			this._send_state(SET, changes, ttl).then(
				({ error }) => error && this._on_refusal(error, entries),
				// The connection is lost: the state is sent with the next join.
				() => {},
			);
		}
	}

	_on_refusal({ code, message }, entries) {
		console.warn(`Realtime: ${message}`);
		if (code !== "limit") return;
		this._own.refused(entries);
		clearTimeout(this._send_timer);
		this._send_timer = null;
		this._schedule_send(RETRY_DELAY);
	}

	// Join or set; return the answer.
	async _send_state(event, changes, ttl) {
		// An answer that comes after the page has left is not about what it has set since.
		const own = this._own;
		own.sent(changes);
		let is_done = false;
		try {
			const answer = await this._connection.emitWithAck(event, this.place, changes, ttl);
			is_done = !answer.error;
			return answer;
		} finally {
			own.answered(changes, is_done);
		}
	}

	// -- joining

	_send_join() {
		const { socket } = this._connection;
		// Otherwise the next connect sends it.
		if (!this._wanted || !socket?.connected) return;
		const state = this._own.take_lasting();
		const join = (this._awaited_join = {});
		this._send_state(JOIN, state, null).then(
			(answer) => join === this._awaited_join && this._on_answer(answer),
			() => this._retry(join),
		);
	}

	_retry(join) {
		setTimeout(() => join === this._awaited_join && this._send_join(), RETRY_DELAY);
	}

	_on_answer({ error, ...roster }) {
		if (!error) {
			// Of this join: a listener of `sync` may leave, and join again.
			const joining = this._joining;
			this._awaited_join = null;
			this._sync(roster);
			joining?.resolve(this);
			this._schedule_send();
			return;
		}
		if (error.code === "unavailable" && this.me) {
			// A member already: it stays one, and asks again.
			this._retry(this._awaited_join);
			return;
		}
		const was_member = this.me !== null;
		this._end(new PresenceError(error.code, error.message));
		if (was_member) this._emit("end", { code: error.code });
	}

	_send_leave() {
		const leaving = this._leaving;
		// Otherwise the next connect sends it.
		if (!this._connection.socket?.connected) return;
		leaving.is_sent = true;
		this._connection.emitWithAck(LEAVE, this.place).then(
			() => {
				if (this._leaving === leaving) this._leaving = null;
			},
			// It may have been lost.
			() => (leaving.is_sent = false),
		);
	}

	// `error` is for who waits for the join.
	_end(error) {
		this._joining?.reject(error);
		this._wanted = false;
		this._joining = null;
		this._awaited_join = null;
		this.me = null;
		this.count = 0;
		this._members.clear();
		this._own = new OwnState();
		clearTimeout(this._send_timer);
		this._send_timer = null;
	}

	// -- from the server

	/** Take over the members that the server sends after a reconnect, and when a handler has let this page join. */
	on_sync(roster) {
		// Of a place that is being joined, the answer says the same; of one that is being left, it says what was before.
		if (this.me || !(this._wanted || this._leaving?.is_sent)) this._sync(roster);
	}

	_sync({ me, members, count }) {
		const before = this._members;
		const own_id = this.me?.id;
		this._leaving = null;
		this._members = new Map();
		for (const member of [...members, me]) {
			const known = before.get(member.id);
			// A state never goes back to an earlier version.
			this._members.set(member.id, known && known.version > member.version ? known : member);
		}
		this.me = this._members.get(me.id);
		this.count = count;
		this._apply(this.me, this._own.newer());
		const events = [];
		if (own_id !== undefined) {
			for (const [id, member] of before) {
				// In a new session, this page is another member.
				if (id !== own_id && !this._members.has(id)) events.push(["leave", member]);
			}
			for (const [id, member] of this._members) {
				if (id === me.id) continue;
				if (!before.has(id)) events.push(["join", member]);
				else if (member.version > before.get(id).version) events.push(["update", member, member.state]);
			}
		}
		this._emit_all(events);
		if (this.me) this._emit("sync", this.members);
	}

	/** Note what has changed since the last message of the server. */
	on_changes({ count, joins = [], updates = [], leaves = [] }) {
		if (!this.me) return;
		this.count = count;
		const events = [];
		for (const id of leaves) {
			const member = this._members.get(id);
			if (!member || id === this.me.id) continue;
			this._members.delete(id);
			events.push(["leave", member]);
		}
		for (const member of joins) {
			if (this._members.has(member.id)) continue;
			this._members.set(member.id, member);
			events.push(["join", member]);
		}
		for (const { id, version, state } of updates) {
			const member = this._members.get(id);
			if (!member || version <= member.version) continue;
			const is_own = id === this.me.id;
			const changes = Object.entries(state).filter(([key]) => !is_own || !this._own.is_newer(key));
			if (is_own) for (const [key, value] of changes) if (value === null) this._own.removed(key);
			const replaced = this._apply(member, Object.fromEntries(changes), version);
			if (changes.length) events.push(["update", replaced, Object.fromEntries(changes)]);
		}
		this._emit_all(events);
	}

	// A listener may leave the place: then the rest is not about this page any more.
	_emit_all(events) {
		for (const event of events) if (this.me) this._emit(...event);
	}

	// The member is replaced: a framework that has kept the object sees by another one that it has changed.
	_apply(member, changes, version = member.version) {
		const entries = Object.entries({ ...member.state, ...changes });
		const state = Object.fromEntries(entries.filter(([, value]) => value !== null && value !== undefined));
		const replaced = { ...member, version, state };
		this._members.set(member.id, replaced);
		if (member === this.me) this.me = replaced;
		return replaced;
	}

	/** The page has a connection again: be in the place again, or out of it. */
	on_connect(recovered) {
		// A new session is in no place.
		if (!recovered) this._leaving = null;
		if (this._leaving) this._send_leave();
		// A handler has let this page join. After a reconnect with a new session, the handler has to do it again.
		else if (this.me && !this._wanted && !recovered) this.on_end({ code: "not_member" });
		else this._send_join();
	}

	/** The server has made this page leave. */
	on_end({ code }) {
		if (!this.wanted) return;
		this._end(new PresenceError(code, `${this.place} was ended: ${code}`));
		this._emit("end", { code });
	}
}
