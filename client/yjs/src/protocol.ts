// What a provider and the server say to each other.

import { decodeStateVector, encodeStateVector, type Doc } from "yjs";

// Names of frappe_realtime/contract/shared_editing.py.
export const JOIN = "frappe_realtime:shared_join";
export const SYNC = "frappe_realtime:shared_sync";
export const ANSWER = "frappe_realtime:shared_answer";
export const UPDATE = "frappe_realtime:shared_update";
export const LEAVE = "frappe_realtime:shared_leave";
export const READ_ONLY = "frappe_realtime:shared_read_only";
export const MAY_WRITE = "frappe_realtime:shared_may_write";
export const END = "frappe_realtime:shared_end";

/** Why the server has refused something. */
export interface Refusal {
	code: string;
	message: string;
}

/** What the server, or another client, has that this one lacks, and its state vector. */
export interface State {
	update: ArrayBuffer;
	state_vector: ArrayBuffer;
}

/** The acknowledgement of `JOIN` and `SYNC`; the state is in it if the server keeps that. */
export interface Joined extends Partial<State> {
	error?: Refusal;
	write: boolean;
	/** Other clients that are asked for what this one lacks. */
	peers: number;
	members: number;
	/** False if the server keeps states, and cannot keep this one now. */
	kept?: boolean;
}

/** The acknowledgement of `ANSWER` and `UPDATE`. */
export interface Acknowledged {
	error?: Refusal;
}

/** An error of shared editing; `code` says what happened. */
export class SharedEditingError extends Error {
	/** `not_permitted`, `read_only`, `too_large`, `limit`, `bad_request`, `not_member` or `unavailable`. */
	readonly code: string;

	constructor(code: string, message: string) {
		super(message);
		this.name = "SharedEditingError";
		this.code = code;
	}
}

/** Return what Socket.IO has received as Yjs takes it: a Buffer in Node, an ArrayBuffer in a browser. */
export function bytes(value: ArrayBuffer | Uint8Array): Uint8Array {
	return ArrayBuffer.isView(value) ? new Uint8Array(value.buffer, value.byteOffset, value.byteLength) : new Uint8Array(value);
}

/** Whether a document has an insertion that a client with this state vector lacks. Deletions are not part of state vectors. */
export function has_more(doc: Doc, state_vector: Uint8Array): boolean {
	const theirs = decodeStateVector(state_vector);
	for (const [client, clock] of decodeStateVector(encodeStateVector(doc))) if (clock > (theirs.get(client) ?? 0)) return true;
	return false;
}
