// Calls: events that the server acknowledges in any case, or says why nobody does.

// The event that carries another one, which the server answers in any case; and how this project's own events begin, which
// it answers always (frappe_realtime/contract/calls.py).
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
	readonly code: string;
	readonly traceback: string;

	/** @param {{ code: string, message: string, traceback?: string }} error */
	constructor({ code, message, traceback = "" }: { code: string; message: string; traceback?: string }) {
		super(message);
		this.name = "CallError";
		this.code = code;
		this.traceback = traceback;
	}
}

// An event that is not acknowledged yet.
interface Open {
	// If it waits for the connection; only then it is known whether the server knows calls.
	packet: any;
	may_become_call: boolean;
	end(error: Error | null, ...answer: any[]): void;
}

/** The events over one socket that ask for an acknowledgement: sent as calls if the server knows calls. */
export class Calls {
	private _are_known: boolean;
	private readonly _open: Set<Open>;

	constructor() {
		this._are_known = false;
		this._open = new Set();
	}

	/** Note what the answer to CONNECT says; make calls of the packets that wait. */
	on_answer(socket: any, are_known: boolean): void {
		this._are_known = are_known;
		for (const { packet, may_become_call } of this._open) {
			// The socket may have sent its buffer already, if it was made before its answer was listened to.
			if (are_known && may_become_call && socket.sendBuffer.includes(packet)) packet.data.unshift(CALL);
		}
	}

	/** Reject what was sent: socket.io-client rejects it itself from 4.7.5 on, but the Desk has 4.7.2. */
	on_disconnect(socket: any): void {
		for (const { packet, end } of this._open) {
			// What waits is sent after the next connect.
			if (!socket.sendBuffer.includes(packet)) end(new Error("socket has been disconnected"));
		}
	}

	/** Ask the server of a socket whose answer to CONNECT has come before: only one that knows calls acknowledges this. */
	ask(socket: any): void {
		socket.emit(CALL, "ping", () => (this._are_known = true));
	}

	/** Emit an event; return a promise of its acknowledgement, rejected with a `CallError`. */
	emit(socket: any, event: string, args: any[]): Promise<any> {
		const may_call = !event.startsWith(OWN_EVENTS);
		return new Promise((resolve, reject) => {
			const is_known = may_call && this._are_known && socket.connected;
			const values = is_known ? [CALL, event, ...args] : [event, ...args];
			const open: Open = {
				packet: null,
				may_become_call: may_call && !is_known,
				end: (error, ...answer) => {
					const is_call = is_known || (may_call && open.packet?.data[0] === CALL);
					this._open.delete(open);
					if (error) {
						const code = error.message.includes("timed out") ? "timeout" : "disconnected";
						reject(new CallError({ code, message: `"${event}" was not answered: ${error.message}` }));
					} else if (is_call && answer[0]) {
						reject(new CallError(answer[0]));
					} else {
						resolve(answer[is_call ? 1 : 0]);
					}
				},
			};
			const waited_before = socket.sendBuffer.length;
			socket.timeout(ACK_TIMEOUT).emit(...values, open.end);
			open.packet = socket.sendBuffer[waited_before];
			this._open.add(open);
		});
	}
}
