// The type of Socket.IO's `io`.

import type { Socket } from "socket.io-client";

/** Socket.IO's `io`. */
export type Io = (url: string, options: any) => Socket;
