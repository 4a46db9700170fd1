// A socket of socket.io-client without a network, and a connection over it.

import { Connection, open, type ConnectOptions } from "@frappe-realtime/core";

type Listener = ((...args: any[]) => void) & { fn?: Listener };

class Emitter {
	private readonly listeners_of: Record<string, Listener[]> = {};

	on(event: string, listener: Listener): this {
		(this.listeners_of[event] ??= []).push(listener);
		return this;
	}

	off(event: string, callback?: Listener): this {
		const listeners = this.listeners_of[event] ?? [];
		// As socket.io-client: one of them.
		const removed = listeners.find((one) => one === callback || one.fn === callback);
		this.listeners_of[event] = callback ? listeners.filter((one) => one !== removed) : [];
		return this;
	}

	fire(event: string, ...args: any[]): void {
		for (const listener of [...(this.listeners_of[event] ?? [])]) listener(...args);
	}

	listeners(event: string): Listener[] {
		return this.listeners_of[event] ?? [];
	}
}

class Manager extends Emitter {
	uri = "http://a.site";
	opts = {};
	reconnectionAttempts(): void {}
	reconnectionDelay(): void {}
	reconnectionDelayMax(): void {}
	randomizationFactor(): void {}
}

export class FakeSocket extends Emitter {
	connected = false;
	recovered = false;
	active = true;
	connects = 0;
	nsp = "/a.site";
	io = new Manager();
	sendBuffer: any[] = [];
	/** What was emitted, in order. */
	sent: any[][] = [];
	private outgoing: Listener[] = [];
	private has_timeout = false;
	// The callbacks of emits with a timeout: they are called with an error when the connection is lost.
	private awaited: Listener[] = [];

	constructor(
		readonly url: string,
		readonly options: any,
	) {
		super();
	}

	connect(): this {
		this.connects += 1;
		this.active = true;
		return this;
	}

	disconnect(): this {
		this.active = false;
		this.lose("io client disconnect");
		return this;
	}

	onAnyOutgoing(listener: Listener): void {
		this.outgoing.push(listener);
	}

	timeout(): this {
		this.has_timeout = true;
		return this;
	}

	emit(...packet: any[]): this {
		this.sent.push(packet);
		if (this.has_timeout) this.awaited.push(packet.at(-1));
		this.has_timeout = false;
		if (!this.connected) this.sendBuffer.push({ data: packet });
		const has_ack = typeof packet.at(-1) === "function";
		for (const listener of this.outgoing) listener(...(has_ack ? packet.slice(0, -1) : packet));
		return this;
	}

	/** The server has admitted the client. */
	accept(data: object = {}): void {
		this.connected = true;
		this.io.fire("packet", { type: 0, nsp: this.nsp, data });
		this.sendBuffer = [];
		this.fire("connect");
	}

	/** The connection is lost. */
	lose(reason = "transport close"): void {
		if (!this.connected) return;
		this.connected = false;
		this.fire("disconnect", reason);
		// As socket.io-client: what waits to be sent keeps its acknowledgement.
		const waiting = new Set(this.sendBuffer.map(({ data }) => data.at(-1)));
		const lost = this.awaited.filter((ack) => !waiting.has(ack));
		this.awaited = this.awaited.filter((ack) => waiting.has(ack));
		for (const ack of lost) ack(new Error("socket has been disconnected"));
	}

	/** The server has refused the client. */
	refuse(code: string): void {
		this.active = false;
		this.fire("connect_error", Object.assign(new Error("refused"), { data: { code, reason: "a reason" } }));
	}

	/** The payload of the next CONNECT packet. */
	auth(): Promise<any> {
		return new Promise((resolve) => this.options.auth(resolve));
	}
}

export interface Setting {
	connection: Connection;
	socket: FakeSocket;
}

/** Make a connection; `accept` lets the server admit it. */
export function make(options: ConnectOptions = {}, accept = true): Setting {
	let socket!: FakeSocket;
	const io: any = (url: string, more: any) => (socket = new FakeSocket(url, more));
	const connection = open(io, { site: "a.site", url: "http://a.site", ...options });
	if (accept) socket.accept();
	return { connection, socket };
}
