// Built by client/build_assets.mjs from client/core/src/calls.ts: change that file.

// Calls: events that the server acknowledges in any case, or says why nobody does.
// The event that carries another one, which the server answers in any case; and how this project's own events begin, which
// it answers always (frappe_realtime/contract.py).
export const CALL = "frappe_realtime:call";
const OWN_EVENTS = "frappe_realtime:";
// Milliseconds to wait for an acknowledgement.
export const ACK_TIMEOUT = 20_000;
/**
 * An event was not acknowledged.
 *
 * `code` is `no_handler`, `no_answer`, `bad_arguments`, `not_allowed`, `dropped` or `failed` if the server says so, otherwise
 * `timeout` or `disconnected`. In developer mode, a System User gets the `traceback` of a handler that has failed.
 *
 * @property {string} code
 * @property {string} traceback empty if there is none
 */
export class CallError extends Error {
	/** @param {{ code: string, message: string, traceback?: string }} error */
	constructor({ code, message, traceback = "" }) {
		super(message);
		this.name = "CallError";
		this.code = code;
		this.traceback = traceback;
	}
}
/** The events over one socket that ask for an acknowledgement: sent as calls if the server knows calls. */
export class Calls {
	constructor() {
		this._are_known = false;
		this._waiting = new Set();
	}
	/** Note what the answer to CONNECT says; make calls of the packets that wait. */
	on_answer(socket, are_known) {
		this._are_known = are_known;
		for (const packet of this._waiting) {
			// The socket may have sent its buffer already, if it was made before its answer was listened to.
			if (are_known && socket.sendBuffer.includes(packet))
				packet.data.unshift(CALL);
		}
		this._waiting.clear();
	}
	/** Ask the server of a socket whose answer to CONNECT has come before: only one that knows calls acknowledges this. */
	ask(socket) {
		socket.emit(CALL, "ping", () => (this._are_known = true));
	}
	/** Emit an event; return a promise of its acknowledgement, rejected with a `CallError`. */
	emit(socket, event, args) {
		const may_call = !event.startsWith(OWN_EVENTS);
		return new Promise((resolve, reject) => {
			const is_known = may_call && this._are_known && socket.connected;
			const values = is_known ? [CALL, event, ...args] : [event, ...args];
			let packet = null;
			const sent_before = socket.sendBuffer.length;
			socket.timeout(ACK_TIMEOUT).emit(...values, (error, ...answer) => {
				const is_call = is_known || packet?.data[0] === CALL;
				this._waiting.delete(packet);
				if (error) {
					const code = error.message.includes("timed out") ? "timeout" : "disconnected";
					reject(new CallError({ code, message: `"${event}" was not answered: ${error.message}` }));
				}
				else if (is_call && answer[0]) {
					reject(new CallError(answer[0]));
				}
				else {
					resolve(answer[is_call ? 1 : 0]);
				}
			});
			if (may_call && !is_known && socket.sendBuffer.length > sent_before) {
				packet = socket.sendBuffer[sent_before];
				this._waiting.add(packet);
			}
		});
	}
}
