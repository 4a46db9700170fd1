// A connection that is opened when it is needed for the first time, for frameworks.

import { io } from "socket.io-client";

import { Connection } from "./connection.js";
import { open, type ConnectOptions } from "./realtime.js";

/** Opens a connection on request; has no effect before, so that it may be made on a server that renders pages. */
export interface LazyConnection {
	/** Return the connection; the first call opens it, also after `close`. */
	get(): Connection;
	/** Close the connection, if it was opened here. */
	close(): void;
}

/**
 * Make a connection that is opened when it is needed.
 *
 * @param options those of `connect`, or a connection that exists, which `close` leaves open
 */
export function lazy_connection(options: ConnectOptions | Connection = {}): LazyConnection {
	let connection: Connection | null = null;
	return {
		get() {
			if (options instanceof Connection) return options;
			const { io: own = io, ...rest } = options;
			connection ??= open(own, rest);
			return connection;
		},
		close() {
			if (!(options instanceof Connection)) connection?.close();
			connection = null;
		},
	};
}
