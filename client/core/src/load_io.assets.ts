// Socket.IO's client, loaded from /assets at run time.

import type { Io } from "./io.js";

const SOCKETIO_CLIENT_PATHS = [
	"../node_modules/socket.io-client/dist/socket.io.esm.min.js",
	"/assets/frappe/node_modules/socket.io-client/dist/socket.io.esm.min.js",
];

export async function load_io(): Promise<Io> {
	const errors: string[] = [];
	for (const path of SOCKETIO_CLIENT_PATHS) {
		try {
			return (await import(/* @vite-ignore */ path)).io;
		} catch (error) {
			errors.push(`${path} (${error instanceof Error ? error.message : error})`);
		}
	}
	throw new Error(
		`Socket.IO's client could not be loaded; tried ${errors.join(", ")}. ` +
			"Run `bench setup requirements --node` and `bench build --app frappe_realtime`, or pass the option `io`.",
	);
}
