// Live data without a framework: what follows a document or a list, and loads it again when it has changed.

import { ApiError, type ListQuery } from "./api.js";
import type { Connection } from "./connection.js";
import { call, MISSED_EVENT, STATUS_EVENT } from "./local_events.js";

/** A document, or all documents of a DocType. */
export interface Target {
	doctype: string;
	name?: string | number;
}

export interface FollowOptions {
	/** Milliseconds without another change before the data is loaded again; default 200. */
	debounce?: number;
	/** Most milliseconds between a change and loading, while changes go on; default 2000. */
	max_wait?: number;
}

/** What `Follower.state` and the hooks say about data. */
export interface LiveState {
	/** The data has changed on the server, or may have, and is not loaded again yet. */
	readonly stale: boolean;
	/** There is no connection: nobody says when the data changes. */
	readonly lost: boolean;
}

// Milliseconds before loading is tried again after a failure: doubled from the first to the maximum.
const FIRST_RETRY = 2000;
const MAX_RETRY = 60_000;
// The HTTP status of a rate limit, of Frappe or of a proxy.
const TOO_MANY_REQUESTS = 429;

/**
 * Follows a document or a list: calls `reload` when it has changed, and when changes may have been missed.
 *
 * Any number of followers of one connection may follow the same document: the last one that stops leaves its room.
 */
export class Follower {
	/** Replaced by another object when it changes. */
	state: LiveState;
	/** How many changes there were, so that it can be said what was loaded after which of them. */
	changes: number;
	private readonly _connection: Connection;
	private readonly _target: Target;
	private readonly _reload: () => unknown;
	private readonly _debounce: number;
	private readonly _max_wait: number;
	private readonly _listeners: Set<() => void>;
	private readonly _on_change: (message: { doctype?: string; name?: string | number; modified?: string }) => void;
	private readonly _on_missed: () => void;
	private readonly _on_status: () => void;
	private _known: string;
	private _timer: ReturnType<typeof setTimeout> | undefined;
	private _changed_at: number;
	private _failures: number;
	private _is_loading: boolean;
	private _is_running: boolean;

	/**
	 * @param connection the connection
	 * @param target what is followed
	 * @param reload loads the data again; if it returns a promise, the data is stale until it is resolved
	 * @param options see `FollowOptions`
	 */
	constructor(connection: Connection, target: Target, reload: () => unknown, options: FollowOptions = {}) {
		this._connection = connection;
		this._target = target;
		this._reload = reload;
		this._debounce = options.debounce ?? 200;
		this._max_wait = options.max_wait ?? 2000;
		this._listeners = new Set();
		this.changes = 0;
		this._known = "";
		this._changed_at = 0;
		this._failures = 0;
		this._is_loading = false;
		this._is_running = true;
		this.state = { stale: false, lost: is_lost(connection) };
		const is_document = target.name !== undefined;
		this._on_change = (message) => {
			if (message?.doctype !== target.doctype) return;
			if (is_document && String(message.name) !== String(target.name)) return;
			// What this page has loaded already, for instance after its own save.
			if (message.modified && message.modified === this._known) return;
			this.invalidate();
		};
		this._on_missed = () => this.invalidate();
		let is_first = connection.status !== "connected";
		this._on_status = () => {
			this._set({ ...this.state, lost: is_lost(connection) });
			if (connection.status !== "connected") return;
			// What was loaded before the first connection may have changed before the subscription.
			if (is_first) this.invalidate();
			else if (this.state.stale) this._schedule(0);
			is_first = false;
		};
		connection.keep_listening(is_document ? "doc_update" : "list_update", this._on_change);
		connection.keep_listening(MISSED_EVENT, this._on_missed);
		connection.keep_listening(STATUS_EVENT, this._on_status);
		enter(connection, target);
	}

	/** Call `listener` after each change of `state`; returns the function that ends this. */
	subscribe(listener: () => void): () => void {
		this._listeners.add(listener);
		return () => void this._listeners.delete(listener);
	}

	/**
	 * Note what the page has loaded itself.
	 *
	 * @param modified the version of a document, so that its own `doc_update` does not load it again
	 * @param changes what `changes` was when loading began: if there was none since, nothing is to be loaded any more
	 */
	loaded(modified: string | undefined, changes: number): void {
		this._known = modified ?? "";
		if (changes !== this.changes) return;
		clearTimeout(this._timer);
		this._changed_at = 0;
		this._failures = 0;
		this._set({ ...this.state, stale: false });
	}

	/** Say that the data has changed: it is stale, and is loaded again soon. */
	invalidate(): void {
		if (!this._is_running) return;
		this.changes += 1;
		const now = Date.now();
		if (!this.state.stale || !this._changed_at) this._changed_at = now;
		this._set({ ...this.state, stale: true });
		this._schedule(Math.max(0, Math.min(this._debounce, this._changed_at + this._max_wait - now)));
	}

	/** Stop to follow. */
	stop(): void {
		if (!this._is_running) return;
		this._is_running = false;
		clearTimeout(this._timer);
		const connection = this._connection;
		connection.off(this._target.name !== undefined ? "doc_update" : "list_update", this._on_change);
		connection.off(MISSED_EVENT, this._on_missed);
		connection.off(STATUS_EVENT, this._on_status);
		exit(connection, this._target);
		this._listeners.clear();
	}

	private _schedule(delay: number): void {
		clearTimeout(this._timer);
		this._timer = setTimeout(() => void this._load(), delay);
	}

	private async _load(): Promise<void> {
		// The one that is running is followed by another one, because its answer may be older than the change.
		if (this._is_loading || !this._is_running) return;
		this._is_loading = true;
		const started = this._changed_at;
		this._changed_at = 0;
		try {
			await this._reload();
			this._failures = 0;
			if (this._changed_at) this._schedule(this._debounce);
			else this._set({ ...this.state, stale: false });
		} catch (error) {
			const has_changed = this._changed_at !== 0;
			this._changed_at ||= started;
			if (!is_refusal(error)) this._schedule(Math.min(FIRST_RETRY * 2 ** this._failures++, MAX_RETRY));
			// The refusal is older than the change: what did not exist may exist now.
			else if (has_changed) this._schedule(this._debounce);
			else if (this._is_running) this._set({ ...this.state, stale: false });
		} finally {
			this._is_loading = false;
			if (!this._is_running) clearTimeout(this._timer);
		}
	}

	private _set(state: LiveState): void {
		if (state.stale === this.state.stale && state.lost === this.state.lost) return;
		this.state = state;
		for (const listener of [...this._listeners]) call(listener);
	}
}

/** Follow a document or a list; see `Follower`. */
export function follow(
	connection: Connection,
	target: Target,
	reload: () => unknown,
	options: FollowOptions = {},
): Follower {
	return new Follower(connection, target, reload, options);
}

/** What a live document or list is at one moment. */
export interface Snapshot<T> extends LiveState {
	/** Null until it is loaded for the first time. */
	readonly data: T | null;
	/** Why it could not be loaded the last time. */
	readonly error: Error | null;
	readonly loading: boolean;
}

/** Data that is loaded at once, and again when it has changed. */
export class Live<T> {
	/** Replaced by another object when it changes. */
	snapshot: Snapshot<T>;
	private readonly _follower: Follower;
	private readonly _fetch: (signal: AbortSignal) => Promise<T>;
	private readonly _listeners: Set<() => void>;
	private readonly _abort: AbortController;
	// The numbers of the newest request, and of the newest one that the server has answered.
	private _requested: number;
	private _answered: number;

	constructor(
		connection: Connection,
		target: Target,
		fetch: (signal: AbortSignal) => Promise<T>,
		options: FollowOptions = {},
	) {
		this._fetch = fetch;
		this._listeners = new Set();
		this._abort = new AbortController();
		this._requested = 0;
		this._answered = 0;
		this._follower = new Follower(connection, target, () => this.reload(), options);
		this.snapshot = { data: null, error: null, loading: false, ...this._follower.state };
		this._follower.subscribe(() => this._set(this._follower.state));
		this.reload().catch((error) => {
			if (!is_refusal(error)) this._follower.invalidate();
		});
	}

	/** Call `listener` after each change of `snapshot`; returns the function that ends this. */
	subscribe(listener: () => void): () => void {
		this._listeners.add(listener);
		return () => void this._listeners.delete(listener);
	}

	/** Load the data now. */
	async reload(): Promise<void> {
		const { signal } = this._abort;
		const number = ++this._requested;
		const { changes } = this._follower;
		// An older answer must not take the place of a newer one.
		const is_late = () => signal.aborted || number < this._answered;
		const still_loading = () => number < this._requested && this.snapshot.loading;
		this._set({ loading: true });
		try {
			const data = await this._fetch(signal);
			if (is_late()) return;
			this._answered = number;
			this._set({ data, error: null, loading: still_loading() });
			this._follower.loaded((data as { modified?: string }).modified, changes);
		} catch (error) {
			if (is_late()) return;
			if (is_refusal(error)) this._answered = number;
			this._set({ error: error as Error, loading: still_loading() });
			throw error;
		}
	}

	/** Stop to follow, and cancel what is being loaded. */
	stop(): void {
		this._follower.stop();
		this._abort.abort();
		this._listeners.clear();
	}

	private _set(changes: Partial<Snapshot<T>>): void {
		this.snapshot = { ...this.snapshot, ...changes };
		for (const listener of [...this._listeners]) call(listener);
	}
}

/** A document as it is now on the server. */
export function live_doc<T = Record<string, any>>(
	connection: Connection,
	doctype: string,
	name: string | number,
	options: FollowOptions = {},
): Live<T> {
	return new Live<T>(connection, { doctype, name }, (signal) => connection.api.doc<T>(doctype, name, signal), options);
}

/** The rows of a list as they are now on the server. */
export function live_list<T = Record<string, any>>(
	connection: Connection,
	doctype: string,
	query: ListQuery = {},
	options: FollowOptions = {},
): Live<T[]> {
	return new Live<T[]>(connection, { doctype }, (signal) => connection.api.list<T>(doctype, query, signal), options);
}

// A connection counts subscriptions: the last one that ends leaves the room.
function enter(connection: Connection, { doctype, name }: Target): void {
	if (name === undefined) void connection.doctype_subscribe(doctype);
	else void connection.doc_subscribe(doctype, name);
}

function exit(connection: Connection, { doctype, name }: Target): void {
	if (name === undefined) connection.doctype_unsubscribe(doctype);
	else connection.doc_unsubscribe(doctype, name);
}

// Whether the server has answered, and would say the same again.
function is_refusal(error: unknown): boolean {
	return error instanceof ApiError && error.status >= 400 && error.status < 500 && error.status !== TOO_MANY_REQUESTS;
}

function is_lost({ status }: Connection): boolean {
	return status === "lost" || status === "closed";
}
