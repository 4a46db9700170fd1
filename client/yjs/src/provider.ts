// Connects a Yjs document with the same document in other pages, through the sidecar.
//
// A change is sent to all that follow the document. Who joins, or comes back after a cut, sends the state vector of what it has, gets
// the rest from clients that may change the document, and sends them what they lack. This is repeated from time to time, so that a
// change that was lost on its way is not missing for long. If the sidecar keeps the state of the document, it takes the place of the
// other clients in this.

import type { Connection, Place } from "@frappe-realtime/core";
import { applyUpdate, encodeStateAsUpdate, encodeStateVector, mergeUpdates, type Doc } from "yjs";

import { Awareness } from "./awareness.js";
import { Emitter } from "./emitter.js";
import { ANSWER, bytes, END, has_more, JOIN, LEAVE, MAY_WRITE, READ_ONLY, SharedEditingError, SYNC, UPDATE } from "./protocol.js";
import type { Acknowledged, Joined, Refusal, State } from "./protocol.js";

// Milliseconds between two changes that are sent; those in between are sent together.
const SEND_INTERVAL = 50;
// Milliseconds until a change is sent again that exceeded the rate of the server, and until the server is asked again.
const RETRY_DELAY = 2000;
// Milliseconds in which another client answers; then others are asked.
const ANSWER_TIMEOUT = 3000;
// Milliseconds between two questions whether something is missing; the first one comes soon, because two clients that join at the same
// moment on two hosts do not see each other yet.
const FIRST_RESYNC = 2000;
const RESYNC_INTERVAL = 30_000;
// The same while the server does not keep the state, as without Redis: what is changed meanwhile is only in the pages.
const UNKEPT_RESYNC = 5000;

export type ProviderStatus = "connecting" | "connected" | "disconnected";

export interface ProviderOptions {
	/** Which of several Yjs documents of one document of Frappe; default: the only one. No colon. */
	field?: string;
	/** Whether to connect at once; default: true. */
	connect?: boolean;
}

export interface ProviderEvents {
	status(event: { status: ProviderStatus }): void;
	/** Whether this page has what the others have; false after a cut. */
	sync(is_synced: boolean): void;
	/** Whether the user may change the document. Without it, what this page changes stays in this page. */
	access(event: { write: boolean }): void;
	/** Something was refused. Without a listener it is written to the console. */
	error(error: SharedEditingError): void;
}

// One provider for each document and connection: the server would not tell two of them apart.
const in_use = /* @__PURE__ */ new WeakMap<Connection, Set<string>>();

/**
 * A Yjs document that is shared with all pages that have a provider of the same name.
 *
 * `new RealtimeProvider(connection, "Note", "N-1", doc)` follows the Note N-1 if the user may read it, and shares what this page
 * changes if the user may write it.
 */
export class RealtimeProvider extends Emitter<ProviderEvents> {
	readonly doc: Doc;
	readonly awareness: Awareness;
	status: ProviderStatus = "disconnected";
	/** Whether this page has what the others have. */
	synced = false;
	/** Whether the user may change the document; false until the server has said so, and as it was while the connection is lost. */
	write = false;
	private readonly _connection: Connection;
	private readonly _place: Place;
	private readonly _name: [string, string, string];
	private _is_wanted = false;
	// Grows with each connection, so that late answers of an earlier one are ignored.
	private _session = 0;
	private _is_joined = false;
	private _is_asking = false;
	private _is_sending = false;
	// Local changes that the server has not confirmed, perhaps none: the next exchange of state vectors sends them.
	private _is_unsent = false;
	// The server did not keep the state at the last exchange: it may lack changes that it has confirmed.
	private _is_unkept = false;
	private _queue: Uint8Array[] = [];
	private _last_sent = -Infinity;
	private _send_timer: ReturnType<typeof setTimeout> | undefined;
	private _sync_timer: ReturnType<typeof setTimeout> | undefined;

	/**
	 * @param connection the connection to the site
	 * @param doctype
	 * @param name
	 * @param doc the Yjs document; it may have content already
	 * @param options
	 */
	constructor(
		connection: Connection,
		doctype: string,
		name: string | number,
		doc: Doc,
		{ field = "", connect = true }: ProviderOptions = {},
	) {
		super();
		this.doc = doc;
		this.awareness = new Awareness(doc);
		this._connection = connection;
		// With an undefined name it would be the place of the DocType.
		this._place = { doctype, name: name ?? "" };
		this._name = [doctype, String(name), field];
		// First: it throws if the document has a provider already, or no name, and then nothing of this one must listen to `doc`.
		if (connect) this.connect();
		doc.on("update", this._on_local_update);
		doc.on("destroy", this._on_destroy);
	}

	/** Follow the document from now on, also after each reconnect. */
	connect(): void {
		if (this._is_wanted) return;
		const names = in_use.get(this._connection) ?? new Set<string>();
		const key = JSON.stringify(this._name);
		if (names.has(key)) throw new Error(`${this._name.join(" ")} has a provider on this connection already: share its document`);
		// First: it throws if there is no such place, and then nothing must listen.
		this.awareness.connect(this._connection, this._place, this._name[2] ? `yjs:${this._name[2]}` : "yjs");
		in_use.set(this._connection, names.add(key));
		this._is_wanted = true;
		const connection = this._connection;
		connection.keep_listening("connect", this._on_connect);
		connection.keep_listening("disconnect", this._on_disconnect);
		for (const [event, listener] of this._server_events) connection.keep_listening(event, listener);
		// Neither Node nor React Native has it.
		globalThis.addEventListener?.("pagehide", this._on_pagehide);
		if (connection.status === "connected") this._on_connect();
		else this._set_status("connecting");
	}

	/** Follow it no longer. */
	disconnect(): void {
		if (!this._is_wanted) return;
		this._is_wanted = false;
		const connection = this._connection;
		in_use.get(connection)?.delete(JSON.stringify(this._name));
		globalThis.removeEventListener?.("pagehide", this._on_pagehide);
		if (connection.status === "connected") {
			this._on_pagehide();
			// Also before the answer to the join: the server would go on to send changes, and would ask this page for what others lack.
			connection.emit(LEAVE, ...this._name);
		}
		this.awareness.disconnect();
		connection.off("connect", this._on_connect);
		connection.off("disconnect", this._on_disconnect);
		for (const [event, listener] of this._server_events) connection.off(event, listener);
		this._on_disconnect();
	}

	/** Follow it no longer, and leave the Yjs document alone. */
	destroy(): void {
		this.disconnect();
		this.doc.off("update", this._on_local_update);
		this.doc.off("destroy", this._on_destroy);
		this.awareness.destroy();
		this._remove_listeners();
	}

	private readonly _on_destroy = (): void => this.destroy();

	// The page goes: send what waits, also while an earlier change is not acknowledged.
	private readonly _on_pagehide = (): void => {
		this._is_sending = false;
		this._flush_now();
	};

	// -- the connection

	private readonly _on_connect = (): void => {
		this._on_disconnect();
		this._set_status("connecting");
		this._ask(JOIN);
	};

	private readonly _on_disconnect = (): void => {
		this._session += 1;
		this._is_joined = false;
		this._is_asking = false;
		this._drop_queue();
		this._is_sending = false;
		clearTimeout(this._send_timer);
		this._send_timer = undefined;
		clearTimeout(this._sync_timer);
		this._set_synced(false);
		this._set_status("disconnected");
	};

	// -- what this page lacks, and what the others lack

	// Join, or ask again.
	private _ask(event: string): void {
		const session = this._session;
		clearTimeout(this._sync_timer);
		this._is_asking = true;
		this._connection.emitWithAck<Joined>(event, ...this._name, encodeStateVector(this.doc)).then(
			(answer) => session === this._session && this._on_asked(event, answer),
			// The connection is lost, or the server does not answer.
			() => session === this._session && this._ask_in(RETRY_DELAY, event),
		);
	}

	private _ask_in(delay: number, event = SYNC): void {
		clearTimeout(this._sync_timer);
		this._sync_timer = setTimeout(() => this._ask(event), delay);
	}

	private _on_asked(event: string, { error, write, peers, members, kept, update, state_vector }: Joined): void {
		if (error) {
			if (error.code === "limit" || error.code === "unavailable") {
				this._report(error);
				this._ask_in(RETRY_DELAY, event);
			} else if (error.code === "not_member") {
				this._on_connect();
			} else {
				this._on_end(error);
			}
			return;
		}
		this._is_joined = true;
		this._set_write(write);
		this._set_status("connected");
		this.awareness.retry();
		if (update && state_vector) {
			// State vectors do not say which deletions it lacks.
			this._is_unsent ||= this._is_unkept;
			this._is_unkept = false;
			this._on_answer({ update, state_vector });
			return;
		}
		this._is_unkept = kept === false;
		if (peers > 0) {
			this._ask_in(ANSWER_TIMEOUT);
			return;
		}
		this._is_asking = false;
		// Those that follow without the permission to change could not say what they lack.
		if (write && members > 0) this._push(encodeStateAsUpdate(this.doc));
		if (write) this._is_unsent = false;
		this._set_synced(true);
		this._ask_in(event === JOIN ? FIRST_RESYNC : this._is_unkept ? UNKEPT_RESYNC : RESYNC_INTERVAL);
	}

	private _on_answer({ update, state_vector }: State): void {
		this._apply(update);
		if (!this._is_asking) return;
		this._is_asking = false;
		const theirs = bytes(state_vector);
		if (this.write && (this._is_unsent || has_more(this.doc, theirs))) {
			this._is_unsent = false;
			this._push(encodeStateAsUpdate(this.doc, theirs));
		}
		this._ask_in((this._is_unkept ? UNKEPT_RESYNC : RESYNC_INTERVAL) * (0.75 + Math.random() / 2));
		this._set_synced(true);
	}

	private _on_question({ from, state_vector }: { from: string; state_vector: ArrayBuffer }): void {
		if (!this._is_joined || !this.write) return;
		const update = encodeStateAsUpdate(this.doc, bytes(state_vector));
		this._connection.emitWithAck<Acknowledged>(ANSWER, ...this._name, from, update, encodeStateVector(this.doc)).then(
			({ error }) => error && error.code !== "bad_request" && this._report(error),
			// The other one asks again.
			() => {},
		);
	}

	private _apply(update: ArrayBuffer): void {
		try {
			applyUpdate(this.doc, bytes(update), this);
		} catch (error) {
			this._report({ code: "bad_request", message: `a change of another client cannot be read: ${error}` });
			return;
		}
		// A change came before one that it is based on: that one may be lost.
		if (this.doc.store.pendingStructs && !this._is_asking && this._is_joined) this._ask_in(FIRST_RESYNC);
	}

	private _on_may_write(): void {
		// While it joins, the answer says it.
		if (!this._is_joined || this.write) return;
		this._set_write(true);
		// What was written without the permission is sent now.
		this._ask(SYNC);
	}

	private _on_end({ code, message = `${this._name.join(" ")} is not followed any more` }: { code: string; message?: string }): void {
		this.disconnect();
		this._set_write(false);
		this._report({ code, message });
	}

	// -- changes of this page

	private readonly _on_local_update = (update: Uint8Array, origin: unknown): void => {
		if (origin === this) return;
		if (this._is_joined && this.write) this._push(update);
		else this._is_unsent = true;
	};

	private _push(update: Uint8Array): void {
		this._queue.push(update);
		if (this._is_sending || this._send_timer !== undefined) return;
		const delay = Math.max(0, this._last_sent + SEND_INTERVAL - performance.now());
		this._send_timer = setTimeout(() => this._flush_now(), delay);
	}

	private _flush_now(): void {
		clearTimeout(this._send_timer);
		this._send_timer = undefined;
		if (!this._is_joined || !this.write || this._is_sending || !this._queue.length) return;
		const session = this._session;
		const update = this._queue.length > 1 ? mergeUpdates(this._queue) : this._queue[0]!;
		this._queue = [];
		this._is_sending = true;
		this._last_sent = performance.now();
		this._connection.emitWithAck<Acknowledged>(UPDATE, ...this._name, update).then(
			({ error }) => {
				if (session !== this._session) return;
				this._is_sending = false;
				if (error) this._on_refused(error, update);
				else if (this._queue.length) this._push(this._queue.pop()!);
			},
			() => {
				if (session !== this._session) return;
				// It may have arrived: the exchange of state vectors says so.
				this._is_sending = false;
				this._is_unsent = true;
				this._ask(SYNC);
			},
		);
	}

	private _on_refused(error: Refusal, update: Uint8Array): void {
		if (error.code === "limit" || error.code === "unavailable") {
			this._queue.unshift(update);
			this._send_timer = setTimeout(() => this._flush_now(), RETRY_DELAY);
			return;
		}
		if (error.code === "not_member") {
			this._is_unsent = true;
			this._on_connect();
			return;
		}
		if (error.code === "read_only") {
			this._is_unsent = true;
			this._set_write(false);
		}
		this._report(error);
	}

	// What is not confirmed is sent by the next exchange of state vectors, once the page may write.
	private _drop_queue(): void {
		this._is_unsent ||= this._is_sending || this._queue.length > 0;
		this._queue = [];
	}

	// -- what the server sends

	private readonly _server_events: [string, (message: any) => void][] = (
		[
			[UPDATE, ({ update }) => this._apply(update)],
			[ANSWER, (message) => this._on_answer(message)],
			[SYNC, (message) => this._on_question(message)],
			[READ_ONLY, () => this._set_write(false)],
			[MAY_WRITE, () => this._on_may_write()],
			[END, (message) => this._on_end(message)],
		] as [string, (message: any) => void][]
	).map(([event, handle]) => [
		event,
		(message) => {
			const [doctype, name, field] = this._name;
			if (message.doctype === doctype && message.name === name && message.field === field) handle(message);
		},
	]);

	// -- state

	private _set_status(status: ProviderStatus): void {
		if (status === this.status) return;
		this.status = status;
		this._emit("status", { status });
	}

	private _set_synced(synced: boolean): void {
		if (synced === this.synced) return;
		this.synced = synced;
		this._emit("sync", synced);
	}

	private _set_write(write: boolean): void {
		if (write === this.write) return;
		this.write = write;
		if (!write) this._drop_queue();
		this._emit("access", { write });
	}

	private _report({ code, message }: Refusal): void {
		if (this._has_listeners("error")) this._emit("error", new SharedEditingError(code, message));
		else console.warn(`Realtime: ${message} (${code})`);
	}
}
