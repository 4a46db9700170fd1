// A connection that is opened when it is needed for the first time, for frameworks.

import { io } from "socket.io-client";

import { Connection } from "./connection.js";
import { open, type ConnectOptions } from "./realtime.js";

/** Opens a connection on request; has no effect before, so that it may be made on a server that renders pages. */
export interface LazyConnection {
	/** Return the connection; the first call opens it, also after `close`. */
	get(): Connection;
	/** Return the connection, a closed one after `close`: for what a component sends when it goes, after the connection was closed. */
	latest(): Connection;
	/** Close the connection, if it was opened here. */
	close(): void;
}

/**
 * Make a connection that is opened when it is needed.
 *
 * @param options those of `connect`, or a connection that exists, which `close` leaves open
 */
export function lazy_connection(options: ConnectOptions | Connection = {}): LazyConnection {
	if (options instanceof Connection) {
		const given = options;
		return { get: () => given, latest: () => given, close() {} };
	}
	const { io: own = io, ...rest } = options;
	let connection: Connection | null = null;
	let is_closed = false;
	return {
		get() {
			if (is_closed) connection = null;
			is_closed = false;
			return (connection ??= open(own, rest));
		},
		latest() {
			return (connection ??= open(own, rest));
		},
		close() {
			connection?.close();
			is_closed = connection !== null;
		},
	};
}
