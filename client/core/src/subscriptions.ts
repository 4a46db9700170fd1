// The subscriptions of a page: counted by the parts of the page that hold them, and sent again after a reconnect.

import { ACK_TIMEOUT, CALL } from "./calls.js";

/** The name of an event, and its arguments. */
export type Packet = [string, ...any[]];

/** What a subscription asks for: the newest values of its room, or its last events. */
export type Rewind = "latest" | number;

// The events that end a subscription, and those that begin it.
const SUBSCRIBE_EVENTS: Record<string, string> = {
	doc_unsubscribe: "doc_subscribe",
	doc_close: "doc_open",
	doctype_unsubscribe: "doctype_subscribe",
	task_unsubscribe: "task_subscribe",
};
const SUBSCRIBING = Object.values(SUBSCRIBE_EVENTS);

// Subscriptions that parts of a page hold together: each ends with the last of them. `doc_open` is not one: a form emits it at each
// refresh, and `doc_close` once.
const COUNTED = ["doc_unsubscribe", "doctype_unsubscribe", "task_unsubscribe"];

// Asks for events of the rooms that every socket of the user is in; also in frappe_realtime/contract/events.py.
export const REWIND_EVENT = "frappe_realtime:rewind";

// Milliseconds before a disconnect in which the connection may have been dead already. Events sent in this time may be
// lost, so subscriptions are sent again.
const UNCERTAIN_PERIOD = 60_000;

// Subscriptions that are remembered (the server allows as many rooms to a socket); how many of them are sent again at
// once, and the milliseconds before the next. The server would ignore events beyond its rate limit.
const MAX_SUBSCRIPTIONS = 1000;
const BATCH = 80;
const BATCH_PAUSE = 10_000;

interface SentPacket {
	packet: Packet;
	at: number;
	// Whether the page is subscribed also if the server refuses earlier events: it has subscribed without them, or got them before.
	is_kept: boolean;
}

interface RewindRequest {
	rewind: Rewind;
	has_come: boolean;
	resolve(count: number): void;
	reject(error: Error): void;
}

/** The subscriptions of a page, and those that it ended not long ago, to be sent again after a reconnect. */
export class Subscriptions {
	private readonly _emit: (packet: Packet) => void;
	private readonly _active: Map<string, SentPacket>;
	private readonly _ended: Map<string, SentPacket>;
	private readonly _holders: Map<string, number>;
	private readonly _others: Set<string>;
	private readonly _rewinds: Map<string, RewindRequest>;
	private _to_resend: string[];
	private _is_resending: boolean;
	private _timer: ReturnType<typeof setTimeout> | undefined;

	constructor(emit: (packet: Packet) => void) {
		this._emit = emit;
		// By subscription: the packet that was sent and its time; the oldest first.
		this._active = new Map();
		this._ended = new Map();
		// By subscription: how many parts of the page hold it.
		this._holders = new Map();
		// Subscriptions that another part of the page holds, which counts them itself.
		this._others = new Set();
		// By subscription: what it asks for, until that has come; the latest values for as long as it exists.
		this._rewinds = new Map();
		this._to_resend = [];
		this._is_resending = false;
	}

	/** Count a holder that comes or goes; return whether the event is to be sent. */
	count(event: string, args: any[]): boolean {
		const is_end = COUNTED.includes(event);
		if (!is_end && !COUNTED.some((end) => SUBSCRIBE_EVENTS[end] === event)) return true;
		const key = key_of(is_end ? SUBSCRIBE_EVENTS[event]! : event, args);
		const holders = (this._holders.get(key) ?? 0) + (is_end ? -1 : 1);
		this._holders.delete(key);
		if (holders > 0) this._holders.set(key, holders);
		delete_oldest(this._holders, () => this._holders.size > MAX_SUBSCRIPTIONS);
		return !is_end || (holders <= 0 && !this._others.has(key));
	}

	/** Note what another part of the page emits; return whether it is to be sent. */
	note_other(event: string, args: any[]): boolean {
		if (COUNTED.includes(event)) {
			const key = key_of(SUBSCRIBE_EVENTS[event]!, args);
			this._others.delete(key);
			return !this._holders.has(key);
		}
		if (COUNTED.some((end) => SUBSCRIBE_EVENTS[end] === event)) {
			const names = args.filter((arg) => typeof arg !== "object" && typeof arg !== "function");
			const key = key_of(event, names);
			// What is set or added again would stay in its old place.
			this._others.delete(key);
			const [oldest] = this._others.add(key);
			if (this._others.size > MAX_SUBSCRIPTIONS) this._others.delete(oldest!);
		}
		return true;
	}

	/** Subscribe, and ask for earlier events of the room; return a promise of the number of events. */
	rewind(event: string, args: any[], rewind: Rewind): Promise<number> {
		const key = key_of(event, args);
		const request = { rewind, has_come: false } as RewindRequest;
		const answered = new Promise<number>((resolve, reject) => Object.assign(request, { resolve, reject }));
		// A caller who does not wait for it need not handle it.
		answered.catch((error) => console.warn(`Realtime: ${event} ${args.join(" ")}: ${error.message}`));
		this._rewinds.delete(key);
		this._rewinds.set(key, request);
		delete_oldest(this._rewinds, () => this._rewinds.size > MAX_SUBSCRIPTIONS);
		this._emit_rewind(key, request, [event, ...args]);
		return answered;
	}

	/** Remember an event that was sent, if it begins or ends a subscription. */
	record(event: string, args: any[]): void {
		if (event === CALL) [event, ...args] = args as Packet;
		const subscribe_event = SUBSCRIBE_EVENTS[event];
		if (!subscribe_event && !SUBSCRIBING.includes(event) && event !== REWIND_EVENT) return;
		const [last] = args.slice(-1);
		const names = event === REWIND_EVENT ? [last.event] : args.filter((arg) => typeof arg !== "object");
		const key = key_of(subscribe_event ?? event, names);
		const is_kept = last?.rewind === undefined || Boolean(this._active.get(key)?.is_kept);
		const sent: SentPacket = { packet: [event, ...names], at: performance.now(), is_kept };
		this._ended.delete(key);
		if (subscribe_event) {
			this._active.delete(key);
			this._rewinds.delete(key);
			this._ended.set(key, sent);
			delete_oldest(this._ended, ({ at }) => sent.at - at > UNCERTAIN_PERIOD);
		} else {
			// A document that is opened again is the newest; what is sent again after a reconnect is not.
			if (!this._is_resending) this._active.delete(key);
			this._active.set(key, sent);
			delete_oldest(this._active, () => this._active.size > MAX_SUBSCRIPTIONS);
		}
	}

	/** The server has a new session, in no room: send all active subscriptions made until then. */
	resend_all(until: number): void {
		this._ended.clear();
		for (const request of this._rewinds.values()) request.has_come = false;
		this._resend(-Infinity, until);
	}

	/** The server has the session still: send what was sent shortly before the connection was lost. */
	resend_recent(lost_at: number): void {
		this._resend(lost_at - UNCERTAIN_PERIOD, lost_at);
	}

	/** Send again what was sent between two times, and what still waits to be sent again. */
	private _resend(since: number, until: number): void {
		const sent = (map: Map<string, SentPacket>) => [...map].filter(([, { at }]) => since < at && at <= until).map(([key]) => key);
		// The newest first: these are of the documents that the page shows now.
		const keys = [...sent(this._ended), ...sent(this._active).reverse(), ...this._to_resend];
		this._to_resend = [...new Set(keys)];
		this._send_batch();
	}

	/** Send nothing again until the next connection. */
	pause(): void {
		clearTimeout(this._timer);
	}

	private _send_batch(): void {
		this.pause();
		this._is_resending = true;
		for (const key of this._to_resend.splice(0, BATCH)) {
			const packet = (this._active.get(key) ?? this._ended.get(key))?.packet;
			if (!packet) continue;
			const request = this._active.has(key) ? this._rewinds.get(key) : undefined;
			if (request && !request.has_come) this._emit_rewind(key, request, packet);
			else if (packet[0] !== REWIND_EVENT) this._emit(packet);
		}
		this._is_resending = false;
		if (this._to_resend.length) this._timer = setTimeout(() => this._send_batch(), BATCH_PAUSE);
	}

	// Without a connection it waits for one, and it is sent again after a connection that was lost before the answer.
	private _emit_rewind(key: string, request: RewindRequest, [event, ...args]: Packet): void {
		const { rewind } = request;
		const too_late = setTimeout(() => request.reject(new Error("no answer to the request for earlier events")), ACK_TIMEOUT);
		const ack = ({ rewound, error }: { rewound: number; error?: { code: string; message: string } }) => {
			clearTimeout(too_late);
			request.has_come = true;
			// A page that has the last events does not get them again, as it does the newest values.
			if ((error || rewind !== "latest") && this._rewinds.get(key) === request) this._rewinds.delete(key);
			const active = this._active.get(key);
			if (error) {
				request.reject(new Error(`${error.message} (${error.code})`));
				// A new session of the server was sent nothing else for this room.
				if (active?.is_kept && event !== REWIND_EVENT) this._emit(active.packet);
			} else {
				if (active) active.is_kept = true;
				request.resolve(rewound);
			}
		};
		this._emit(event === REWIND_EVENT ? [event, { event: args[0], rewind }, ack] : [event, ...args, { rewind }, ack]);
	}
}

function key_of(event: string, args: any[]): string {
	return JSON.stringify([event, ...args.map(String)]);
}

// Delete the oldest entries of a map while the condition holds.
function delete_oldest<V>(map: Map<string, V>, condition: (value: V) => boolean): void {
	for (const [key, value] of map) {
		if (!condition(value)) return;
		map.delete(key);
	}
}
