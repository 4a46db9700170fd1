// Socket.IO's client, as a dependency of the package.

import { io } from "socket.io-client";

import type { Io } from "./io.js";

export async function load_io(): Promise<Io> {
	return io;
}
