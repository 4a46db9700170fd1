import { getEventListeners } from "node:events";

import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";

import { here, known_place, type Connection, type Presence } from "@frappe-realtime/core";
import { make, type FakeSocket } from "./fake_socket.js";

const JOIN = "frappe_realtime:presence_join";
const SET = "frappe_realtime:presence_set";
const LEAVE = "frappe_realtime:presence_leave";
const CHANGES = "frappe_realtime:presence";
const SYNC = "frappe_realtime:presence_sync";

const PLACE = "doc:ToDo/T-1";

beforeEach(() => void vi.useFakeTimers());
afterEach(() => {
	vi.useRealTimers();
	vi.unstubAllGlobals();
});

/** The sidecar as far as it concerns one page: its places, with its states there. */
class Sidecar {
	readonly states = new Map<string, Record<string, any>>();
	private readonly socket: FakeSocket;
	private handled = 0;
	private version = 0;
	private sessions = 1;
	/** Whether changes of a state are more than the limit allows. */
	is_limited = false;

	constructor(socket: FakeSocket) {
		this.socket = socket;
	}

	/** Handle what the page has sent, also what it sends within the next moment. */
	async receive(): Promise<void> {
		await vi.advanceTimersByTimeAsync(200);
		for (const packet of this.unhandled()) this.handle(packet);
		await vi.advanceTimersByTimeAsync(0);
	}

	/** The connection is lost, and with it what the page has sent. */
	async lose(): Promise<void> {
		await vi.advanceTimersByTimeAsync(200);
		this.unhandled();
		this.socket.lose();
		await vi.advanceTimersByTimeAsync(0);
	}

	/** The page has a connection again, with its session; return what it sends then. */
	async recover(): Promise<any[][]> {
		const sent = this.socket.sent.length;
		this.socket.recovered = true;
		this.socket.accept();
		for (const place of this.states.keys()) this.sync(place);
		await this.receive();
		return this.socket.sent.slice(sent);
	}

	/** The page has a connection again, with a new session, which is in no place. */
	readmit(): void {
		this.states.clear();
		this.sessions += 1;
		this.socket.recovered = false;
		this.socket.accept();
	}

	/** Let the page join a place, as a handler does. */
	let_join(place: string, state: Record<string, any>): void {
		this.states.set(place, state);
		this.sync(place);
	}

	private sync(place: string): void {
		this.socket.fire(SYNC, { place, ...this.answer(place) });
	}

	private unhandled(): any[][] {
		const packets = this.socket.sent.slice(this.handled);
		this.handled = this.socket.sent.length;
		return packets;
	}

	private handle(packet: any[]): void {
		const [event, place, changes] = packet;
		const ack = packet.at(-1);
		if (event === LEAVE) {
			this.states.delete(place);
			if (typeof ack === "function") ack(null, {});
		} else if (event === SET && (this.is_limited || !this.states.has(place))) {
			ack(null, { error: { code: this.is_limited ? "limit" : "not_member", message: "the state is not changed" } });
		} else if (event === JOIN || event === SET) {
			const merged = Object.entries({ ...this.states.get(place), ...changes });
			this.states.set(place, Object.fromEntries(merged.filter(([, value]) => value !== null)));
			ack(null, this.answer(place));
		}
	}

	private answer(place: string): object {
		const version = ++this.version;
		const me = { id: `${this.sessions}`, user: "ann", full_name: "Ann", joined_at: 1, version, state: { ...this.states.get(place) } };
		return { me, members: [me], count: 1, version };
	}
}

interface Page {
	connection: Connection;
	socket: FakeSocket;
	sidecar: Sidecar;
	place: Presence;
}

/** Open a page that is a member of PLACE. */
async function open(state: object = {}): Promise<Page> {
	const { connection, socket } = make();
	const sidecar = new Sidecar(socket);
	const place = connection.presence("ToDo", "T-1");
	void place.join(state);
	await sidecar.receive();
	return { connection, socket, sidecar, place };
}

it.each<[unknown[]]>([
	[["ToDo", null]],
	[["ToDo", ""]],
	[["ToDo", NaN]],
	[[undefined, "T-1"]],
	[[null]],
	[[""]],
	[[{}]],
	[[{ room: null }]],
	[[{ room: "chat:1" }, "T-1"]],
])("is no place: %o", (names) => {
	const { connection, socket } = make();
	expect(() => (connection as any).presence(...names)).toThrow(TypeError);
	expect(() => (connection as any).presence(...names)).toThrow("names no place");
	expect(socket.sent).toEqual([]);
});

it.each<[object | null, object | null]>([
	[{}, {}],
	[{ doctype: "ToDo" }, { doctype: "ToDo" }],
	[{ doctype: "ToDo", name: 0 }, { doctype: "ToDo", name: 0 }],
	[{ doctype: "ToDo", name: "T-1", room: undefined }, { doctype: "ToDo", name: "T-1" }],
	[{ room: "chat:1", doctype: undefined, name: undefined }, { room: "chat:1" }],
	[null, null],
	[{ doctype: "ToDo", name: undefined }, null],
	[{ doctype: null, name: "T-1" }, null],
	[{ doctype: undefined }, null],
	[{ room: undefined }, null],
	[{ room: "" }, null],
])("is known, or not yet: %o is %o", (place, known) => {
	expect(known_place(place)).toEqual(known);
});

it("has a document with a number as its name", () => {
	expect(make().connection.presence("ToDo", 0).place).toBe("doc:ToDo/0");
});

describe("the own state", () => {
	it.each([[{}], [{ typing: "slowly" }]])("loses a key whose time ends without a connection, after %o", async (state) => {
		const { sidecar, place } = await open(state);
		await sidecar.lose();
		place.set({ typing: true }, { ttl: 5 });
		await vi.advanceTimersByTimeAsync(6000);
		await sidecar.recover();
		expect(place.me!.state).toEqual({});
		place.set({ field: "due" });
		await sidecar.receive();
		expect(place.me!.state).toEqual({ field: "due" });
		expect(sidecar.states.get(PLACE)).toEqual({ field: "due" });
	});

	it("loses a removed key even if two messages about it are lost", async () => {
		const { sidecar, place, socket } = await open({ field: "due", page: 1 });
		const states: object[] = [];
		place.on("sync", ([me]) => states.push(me!.state));
		place.set({ field: null });
		await sidecar.lose();
		// The join is lost too.
		socket.recovered = true;
		socket.accept();
		await sidecar.lose();
		await sidecar.recover();
		expect(sidecar.states.get(PLACE)).toEqual({ page: 1 });
		expect(place.me!.state).toEqual({ page: 1 });
		expect(states).toEqual([{ page: 1 }, { page: 1 }]);
	});

	it("loses a key whose time has ended even if the join that removes it is lost", async () => {
		const { sidecar, place, socket } = await open({ typing: "slowly" });
		await sidecar.lose();
		place.set({ typing: true }, { ttl: 5 });
		await vi.advanceTimersByTimeAsync(6000);
		socket.recovered = true;
		socket.accept();
		await sidecar.lose();
		await sidecar.recover();
		expect(sidecar.states.get(PLACE)).toEqual({});
	});

	it("loses a removed key once: what a handler sets later stays", async () => {
		const { sidecar, place } = await open({ field: "due", page: 1 });
		place.set({ field: null });
		await sidecar.receive();
		await sidecar.lose();
		place.set({ page: null });
		await sidecar.recover();
		expect(sidecar.states.get(PLACE)).toEqual({});
		sidecar.states.set(PLACE, { field: "subject", page: 2 });
		await sidecar.lose();
		await sidecar.recover();
		expect(sidecar.states.get(PLACE)).toEqual({ field: "subject", page: 2 });
	});

	it("keeps a key that an earlier join has removed", async () => {
		const { sidecar, place, socket } = await open();
		place.leave();
		void place.join({ field: null });
		place.leave();
		void place.join({ field: "due" });
		await sidecar.receive();
		await sidecar.lose();
		sidecar.states.clear();
		socket.accept();
		await sidecar.receive();
		expect(sidecar.states.get(PLACE)).toEqual({ field: "due" });
	});
});

describe("what is set", () => {
	it("while the page joins again in a new session is sent after the answer", async () => {
		const { sidecar, place, socket } = await open({ field: "subject" });
		await sidecar.lose();
		sidecar.readmit();
		const sent = socket.sent.length;
		place.set({ field: "due" });
		place.set({ typing: true }, { ttl: 5 });
		await vi.advanceTimersByTimeAsync(1000);
		expect(socket.sent.slice(sent)).toEqual([]);
		await sidecar.receive();
		await sidecar.receive();
		expect(sidecar.states.get(PLACE)).toEqual({ field: "due", typing: true });
		expect(place.me!.state).toEqual({ field: "due", typing: true });
	});

	it("is sent again after a limit has refused it, with what was set meanwhile", async () => {
		vi.spyOn(console, "warn").mockImplementation(() => {});
		const { sidecar, place } = await open();
		sidecar.is_limited = true;
		place.set({ field: "subject", page: 1 });
		place.set({ typing: true }, { ttl: 1 });
		await sidecar.receive();
		sidecar.is_limited = false;
		place.set({ field: "due" });
		await vi.advanceTimersByTimeAsync(2000);
		await sidecar.receive();
		expect(sidecar.states.get(PLACE)).toEqual({ field: "due", page: 1 });
		expect(place.me!.state).toEqual({ field: "due", page: 1 });
	});

	it("is given up when it is refused again and again, as a state that is too large", async () => {
		vi.spyOn(console, "warn").mockImplementation(() => {});
		const { sidecar, place, socket } = await open();
		sidecar.is_limited = true;
		place.set({ text: "long" });
		for (let time = 0; time < 10; time++) {
			await sidecar.receive();
			await vi.advanceTimersByTimeAsync(2000);
		}
		expect(socket.sent.filter(([event]) => event === SET)).toHaveLength(5);
		sidecar.is_limited = false;
		place.set({ page: 1 });
		await sidecar.receive();
		expect(sidecar.states.get(PLACE)).toEqual({ page: 1 });
	});
});

describe("a join", () => {
	// How the server does not hear of it, or cannot say.
	const UNANSWERED: [string, any[]][] = [
		["is not answered", [new Error("operation has timed out")]],
		["is answered later", [null, { error: { code: "unavailable", message: "ask later" } }]],
	];

	it.each(UNANSWERED)("in a new session that %s is repeated until it is, or the place is left", async (_, answer) => {
		const { sidecar, place, socket } = await open({ page: 1 });
		await sidecar.lose();
		sidecar.readmit();
		const joins = () => socket.sent.filter(([event]) => event === JOIN);
		for (let time = 0; time < 3; time++) {
			joins().at(-1)!.at(-1)(...answer);
			await vi.advanceTimersByTimeAsync(2000);
		}
		expect(joins()).toHaveLength(5);
		await sidecar.receive();
		expect(sidecar.states.get(PLACE)).toEqual({ page: 1 });
		expect(place.me!.id).toBe("2");
		await sidecar.lose();
		sidecar.readmit();
		joins().at(-1)!.at(-1)(...answer);
		place.leave();
		await vi.advanceTimersByTimeAsync(60_000);
		expect(joins()).toHaveLength(6);
	});

	it("is not repeated for one that was sent after a reconnect", async () => {
		const { sidecar, place, socket } = await open();
		await sidecar.lose();
		sidecar.readmit();
		socket.lose();
		sidecar.readmit();
		const sent = socket.sent.length;
		await vi.advanceTimersByTimeAsync(60_000);
		expect(socket.sent.slice(sent)).toEqual([]);
		await sidecar.receive();
		expect(place.me!.id).toBe("3");
	});

	it("is refused at once with a state that JSON cannot hold, as set() is", async () => {
		const { connection, socket } = make();
		const place = connection.presence("ToDo", "T-1");
		const circle: Record<string, unknown> = {};
		circle.itself = circle;
		for (const state of [circle, { big: 1n }]) expect(() => place.join(state)).toThrow(TypeError);
		expect(socket.sent).toEqual([]);
		const { place: joined, sidecar } = await open({ page: 1 });
		expect(() => joined.set({ page: 2, circle })).toThrow(TypeError);
		await sidecar.receive();
		expect(sidecar.states.get(PLACE)).toEqual({ page: 1 });
		expect(joined.me!.state).toEqual({ page: 1 });
	});

	it("is rejected when the place is left before the answer", async () => {
		const place = make().connection.presence("ToDo", "T-1");
		// Nobody waits for this one: it is no unhandled rejection.
		void place.join();
		place.leave();
		const joined = place.join();
		place.leave();
		await expect(joined).rejects.toMatchObject({ name: "PresenceError", code: "left" });
	});

	it("is rejected when the server ends it before the answer", async () => {
		const { connection, socket } = make();
		const joined = connection.presence("ToDo", "T-1").join();
		socket.fire("frappe_realtime:presence_end", { place: PLACE, code: "not_permitted" });
		await expect(joined).rejects.toMatchObject({ name: "PresenceError", code: "not_permitted" });
	});

	it("of a listener that has left the place is not confirmed by the answer before", async () => {
		const { connection, socket } = make();
		const sidecar = new Sidecar(socket);
		const place = connection.presence("ToDo", "T-1");
		const confirmed = vi.fn();
		const on_sync = () => {
			place.off("sync", on_sync).leave();
			void place.join({ page: 2 }).then(confirmed);
		};
		place.on("sync", on_sync);
		void place.join({ page: 1 });
		await sidecar.receive();
		expect(confirmed).not.toHaveBeenCalled();
		await sidecar.receive();
		expect(confirmed).toHaveBeenCalledTimes(1);
		expect(place.me!.state).toEqual({ page: 2 });
	});

	it("before the page left says nothing of what it has removed since", async () => {
		const { connection, socket } = make();
		const sidecar = new Sidecar(socket);
		const place = connection.presence("ToDo", "T-1");
		void place.join({ field: "due" });
		const answer = socket.sent.at(-1)!.at(-1);
		place.leave();
		void place.join();
		// The server has got the first one only.
		sidecar.states.set(PLACE, { field: "due" });
		const me = { id: "1", user: "ann", full_name: "Ann", joined_at: 1, version: 1, state: { field: "due" } };
		answer(null, { me, members: [me], count: 1 });
		await sidecar.lose();
		await sidecar.recover();
		expect(sidecar.states.get(PLACE)).toEqual({});
		expect(place.me!.state).toEqual({});
	});

	it("is not confirmed by the answer to one before the place was left", async () => {
		const { connection, socket } = make();
		const sidecar = new Sidecar(socket);
		const place = connection.presence("ToDo", "T-1");
		void place.join({ page: 1 });
		const me = { id: "1", user: "ann", full_name: "Ann", joined_at: 1, version: 1, state: { page: 1 } };
		const answer = socket.sent.at(-1)!.at(-1);
		place.leave();
		void place.join({ page: 2 });
		answer(null, { me, members: [me], count: 1 });
		await vi.advanceTimersByTimeAsync(0);
		expect(place.me).toBeNull();
		await sidecar.receive();
		expect(place.me!.state).toEqual({ page: 2 });
	});
});

it("does not say of this page's member in the session before that it has left", async () => {
	const { sidecar, place } = await open();
	const heard: string[] = [];
	for (const event of ["join", "leave"] as const) place.on(event, ({ id }) => heard.push(`${event} ${id}`));
	await sidecar.lose();
	sidecar.readmit();
	await sidecar.receive();
	expect(place.members.map(({ id }) => id)).toEqual(["2"]);
	expect(heard).toEqual([]);
});

it("replaces a member that has changed by another object", async () => {
	const { place, socket } = await open({ field: "due" });
	const ben = { id: "9", user: "ben", full_name: "Ben", joined_at: 2, version: 1, state: {} };
	socket.fire(CHANGES, { place: PLACE, count: 2, joins: [ben] });
	const before = place.members;
	place.set({ field: "subject" });
	socket.fire(CHANGES, { place: PLACE, count: 2, updates: [{ id: "9", version: 2, state: { page: 1 } }] });
	expect(before.map(({ state }) => state)).toEqual([{ field: "due" }, {}]);
	expect(place.members.map(({ state }) => state)).toEqual([{ field: "subject" }, { page: 1 }]);
	expect(place.members[0]).toBe(place.me);
});

it("hears nothing more of a place that a listener has left", async () => {
	const { place, socket } = await open();
	const heard: string[] = [];
	place.on("join", ({ id }) => {
		heard.push(id);
		place.leave();
	});
	const others = ["2", "3"].map((id) => ({ id, user: id, full_name: id, joined_at: 2, version: 1, state: {} }));
	const updates = [{ id: "3", version: 2, state: { page: 1 } }];
	socket.fire(CHANGES, { place: PLACE, count: 3, joins: others, updates });
	expect(heard).toEqual(["2"]);
	expect(place.members).toEqual([]);
});

it("goes on when a listener fails", async () => {
	const { connection, socket } = make();
	const sidecar = new Sidecar(socket);
	const report = vi.fn();
	vi.stubGlobal("queueMicrotask", report);
	const place = connection.presence("ToDo", "T-1");
	const heard: string[] = [];
	for (const event of ["sync", "join", "leave"] as const) {
		place.on(event, () => {
			throw new TypeError(`no element for ${event}`);
		});
		place.on(event, () => void heard.push(event));
	}
	const joined = place.join();
	place.set({ typing: true }, { ttl: 5 });
	await sidecar.receive();
	await expect(joined).resolves.toBe(place);
	await sidecar.receive();
	expect(sidecar.states.get(PLACE)).toEqual({ typing: true });
	const others = ["2", "3"].map((id) => ({ id, user: id, full_name: id, joined_at: 2, version: 1, state: {} }));
	socket.fire(CHANGES, { place: PLACE, count: 3, joins: others });
	socket.fire(CHANGES, { place: PLACE, count: 1, leaves: ["2", "3"] });
	expect(place.members.map(({ id }) => id)).toEqual(["1"]);
	expect(heard).toEqual(["sync", "join", "join", "leave", "leave"]);
	expect(report).toHaveBeenCalledTimes(heard.length);
	heard.forEach((event, index) => expect(report.mock.calls[index]![0]).toThrow(`no element for ${event}`));
});

describe("a leave", () => {
	// How the server does not get it.
	const LOST: [string, (page: Page) => Promise<void>][] = [
		["without a connection", (page) => page.sidecar.lose().then(() => page.place.leave())],
		["over a dead connection", (page) => (page.place.leave(), page.sidecar.lose())],
	];

	it.each(LOST)("%s is sent again when the session is recovered", async (_, leave) => {
		const page = await open();
		const { sidecar, place } = page;
		const sync = vi.fn();
		place.on("sync", sync);
		await leave(page);
		await sidecar.recover();
		expect(sidecar.states.size).toBe(0);
		expect(place.me).toBeNull();
		expect(sync).not.toHaveBeenCalled();
		// Now the server knows.
		sidecar.let_join(PLACE, { seat: 1 });
		expect(place.me!.state).toEqual({ seat: 1 });
		await sidecar.lose();
		await sidecar.recover();
		expect(place.me!.state).toEqual({ seat: 1 });
	});

	it.each(LOST)("%s is not sent again when the place is wanted again, with the new state only", async (_, leave) => {
		const page = await open({ field: "due", page: 1 });
		const { sidecar, place } = page;
		await leave(page);
		void place.join({ page: 2 });
		const sent = await sidecar.recover();
		expect(sent.map(([event]) => event)).toEqual([JOIN]);
		expect(sidecar.states.get(PLACE)).toEqual({ page: 2 });
		expect(place.me!.state).toEqual({ page: 2 });
	});

	it("is not sent again after it was acknowledged", async () => {
		const { sidecar, place } = await open();
		place.leave();
		await sidecar.receive();
		await sidecar.lose();
		expect(await sidecar.recover()).toEqual([]);
	});

	it("that is acknowledged late does not confirm a later one", async () => {
		const { sidecar, place, socket } = await open();
		place.leave();
		const ack = socket.sent.at(-1)!.at(-1);
		void place.join();
		place.leave();
		ack(null, {});
		await sidecar.lose();
		await sidecar.recover();
		expect(sidecar.states.size).toBe(0);
		expect(place.me).toBeNull();
	});

	it("is not sent to a new session, in which a handler may have let the page join", async () => {
		const { sidecar, place, socket } = await open();
		await sidecar.lose();
		place.leave();
		socket.accept();
		sidecar.let_join(PLACE, { seat: 1 });
		await sidecar.receive();
		expect(place.me!.state).toEqual({ seat: 1 });
	});

	it("that nobody answers does not keep the page out of the place", async () => {
		const { sidecar, place, socket } = await open();
		place.leave();
		socket.sent.at(-1)!.at(-1)(new Error("operation has timed out"));
		await vi.advanceTimersByTimeAsync(0);
		sidecar.let_join(PLACE, { seat: 1 });
		expect(place.me!.state).toEqual({ seat: 1 });
	});
});

describe("the window of the page", () => {
	/** Let the page have a window; return what fires an event of it. */
	function make_window(): { window: EventTarget; fire: (event: string) => void } {
		const window = new EventTarget();
		vi.stubGlobal("addEventListener", window.addEventListener.bind(window));
		vi.stubGlobal("removeEventListener", window.removeEventListener.bind(window));
		return { window, fire: (event) => window.dispatchEvent(Object.assign(new Event(event), { persisted: true })) };
	}

	it("has no listener of a connection that is closed", async () => {
		const { window } = make_window();
		const count = () => ["online", "pagehide", "pageshow"].map((event) => getEventListeners(window, event).length);
		const { connection, sidecar } = await open();
		await sidecar.lose();
		await sidecar.recover();
		expect(count()).toEqual([1, 1, 1]);
		connection.close();
		expect(count()).toEqual([0, 0, 0]);
	});

	it("has no listener of a connection that a listener of the status has closed", () => {
		const { window } = make_window();
		const { connection, socket } = make({}, false);
		connection.on("realtime_status", (status) => status === "connected" && connection.close());
		socket.accept();
		for (const event of ["online", "pagehide", "pageshow"]) expect(getEventListeners(window, event)).toEqual([]);
	});

	it("makes the page leave and come back, also after the connection was closed", async () => {
		const { fire } = make_window();
		const { connection, socket, sidecar, place } = await open({ page: 1 });
		connection.close();
		sidecar.states.clear();
		socket.accept();
		await sidecar.receive();
		fire("pagehide");
		await sidecar.receive();
		expect(sidecar.states.size).toBe(0);
		fire("pageshow");
		await sidecar.receive();
		expect(sidecar.states.get(PLACE)).toEqual({ page: 1 });
		expect(place.me!.state).toEqual({ page: 1 });
	});

	it("does not make the page forget that a leave was lost", async () => {
		const { fire } = make_window();
		const { sidecar, place } = await open();
		await sidecar.lose();
		place.leave();
		fire("pagehide");
		fire("pageshow");
		await sidecar.recover();
		expect(sidecar.states.size).toBe(0);
		expect(place.me).toBeNull();
	});
});

it("is left with the last part of the page that is there, also after one whose state was refused", async () => {
	const { connection, socket } = make();
	const sidecar = new Sidecar(socket);
	const one = here(connection, { doctype: "ToDo", name: "T-1" });
	expect(() => here(connection, { doctype: "ToDo", name: "T-1" }, null as any)).toThrow("a state is an object");
	await sidecar.receive();
	expect(one.snapshot.count).toBe(1);
	one.stop();
	await sidecar.receive();
	expect(sidecar.states.size).toBe(0);
});
