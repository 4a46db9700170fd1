// Built by client/build_assets.mjs from client/core/src/local_events.ts: change that file.

// The events that the client emits to its listeners itself.
/** Emitted when `status` changes, with the new status. */
export const STATUS_EVENT = "realtime_status";
/** Emitted after a reconnect without recovery: events may have been missed. */
export const MISSED_EVENT = "realtime_missed";
/** The events that this client emits to its listeners itself. */
export const LOCAL_EVENTS = [STATUS_EVENT, MISSED_EVENT];
// Call a listener of the page. What it throws is an uncaught error, as that of a listener of the DOM: it ends neither the client's work
// nor other listeners.
export function call(listener, ...args) {
	try {
		listener(...args);
	}
	catch (error) {
		queueMicrotask(() => {
			throw error;
		});
	}
}
/** The listeners of `LOCAL_EVENTS`, apart from those of events with the same names that the server might send. */
export class LocalEvents {
	constructor() {
		this._listeners = Object.fromEntries(LOCAL_EVENTS.map((event) => [event, []]));
		this._emitted = {};
	}
	on(event, listener) {
		this._listeners[event].push(listener);
	}
	off(event, callback) {
		// As socket.io-client: the oldest one of those that were added with this callback.
		const removed = this._listeners[event].find((one) => one === callback || one.fn === callback);
		this._listeners[event] = this._listeners[event].filter((one) => one !== removed);
	}
	/** Return the listeners of an event, the oldest first. */
	listeners(event) {
		return this._listeners[event];
	}
	emit(event, ...args) {
		const number = (this._emitted[event] = (this._emitted[event] ?? 0) + 1);
		// Not those that a listener adds meanwhile, as socket.io-client.
		for (const listener of [...this._listeners[event]]) {
			// A listener has caused the event anew, and all have heard that: what came before must not be heard after it.
			if (this._emitted[event] === number)
				call(listener, ...args);
		}
	}
}
