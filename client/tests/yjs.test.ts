import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import * as Y from "yjs";

import { RealtimeProvider, type ProviderOptions, type SharedEditingError } from "@frappe-realtime/yjs";
import { make, type FakeSocket, type Setting } from "./fake_socket.js";

const PREFIX = "frappe_realtime:shared_";
const NAME = { doctype: "Note", name: "N-1", field: "" };

beforeEach(() => void vi.useFakeTimers());
afterEach(() => {
	vi.useRealTimers();
	vi.unstubAllGlobals();
});

interface Page extends Setting {
	doc: Y.Doc;
	provider: RealtimeProvider;
	errors: string[];
}

function open(options?: ProviderOptions, setting = make()): Page {
	const doc = new Y.Doc();
	const provider = new RealtimeProvider(setting.connection, "Note", "N-1", doc, options);
	const errors: string[] = [];
	provider.on("error", ({ code }: SharedEditingError) => errors.push(code));
	return { ...setting, doc, provider, errors };
}

// What was sent of one event, the acknowledgement last.
function sent(socket: FakeSocket, event: string): any[][] {
	return socket.sent.filter(([name]) => name === PREFIX + event).map(([, ...args]) => args);
}

async function answer(socket: FakeSocket, event: string, value: object): Promise<void> {
	sent(socket, event).at(-1)!.at(-1)(null, value);
	await vi.advanceTimersByTimeAsync(0);
}

async function join(page: Page, value: object = {}): Promise<void> {
	await answer(page.socket, "join", { write: true, peers: 0, members: 0, ...value });
}

function update_of(text: string): { update: ArrayBuffer; state_vector: ArrayBuffer } {
	const doc = new Y.Doc();
	doc.getText("text").insert(0, text);
	// As in a browser: an ArrayBuffer.
	return { update: buffer(Y.encodeStateAsUpdate(doc)), state_vector: buffer(Y.encodeStateVector(doc)) };
}

function buffer(bytes: Uint8Array): ArrayBuffer {
	return new Uint8Array(bytes).buffer;
}

it("says what it has, and is synced when nobody else is there", async () => {
	const page = open();
	const states: unknown[] = [];
	page.provider.on("status", ({ status }) => states.push(status));
	page.provider.on("sync", (synced) => states.push(synced));
	const [doctype, name, field, vector] = sent(page.socket, "join")[0]!;
	expect([doctype, name, field]).toEqual(["Note", "N-1", ""]);
	expect(vector).toEqual(Y.encodeStateVector(page.doc));
	await join(page);
	expect(states).toEqual(["connected", true]);
	expect(page.provider.write).toBe(true);
});

it("waits for an answer, takes it and sends what the other one lacks", async () => {
	const page = open();
	page.doc.getText("text").insert(0, "mine");
	await join(page, { peers: 2, members: 2 });
	expect(page.provider.synced).toBe(false);
	page.socket.fire(`${PREFIX}answer`, { ...NAME, ...update_of("theirs") });
	expect(page.provider.synced).toBe(true);
	expect(page.doc.getText("text").length).toBe(10);
	await vi.advanceTimersByTimeAsync(100);
	const [[, , , update]] = sent(page.socket, "update") as [any[]];
	const other = new Y.Doc();
	Y.applyUpdate(other, update);
	expect(other.getText("text").toString()).toBe("mine");
	// The second answer is taken, and not answered again.
	await answer(page.socket, "update", {});
	page.socket.fire(`${PREFIX}answer`, { ...NAME, ...update_of("late") });
	await vi.advanceTimersByTimeAsync(100);
	expect(sent(page.socket, "update")).toHaveLength(1);
	expect(page.doc.getText("text").length).toBe(14);
});

it("asks others when nobody answers", async () => {
	const page = open();
	await join(page, { peers: 1, members: 1 });
	await vi.advanceTimersByTimeAsync(3000);
	expect(sent(page.socket, "sync")).toHaveLength(1);
	await answer(page.socket, "sync", { write: true, peers: 0, members: 0 });
	expect(page.provider.synced).toBe(true);
});

it("sends changes together while one is not acknowledged", async () => {
	const page = open();
	await join(page);
	const text = page.doc.getText("text");
	for (const letter of "abc") text.insert(0, letter);
	await vi.advanceTimersByTimeAsync(100);
	text.insert(0, "d");
	text.insert(0, "e");
	await vi.advanceTimersByTimeAsync(1000);
	expect(sent(page.socket, "update")).toHaveLength(1);
	await answer(page.socket, "update", {});
	await vi.advanceTimersByTimeAsync(100);
	const other = new Y.Doc();
	for (const args of sent(page.socket, "update")) Y.applyUpdate(other, args[3]);
	expect(sent(page.socket, "update")).toHaveLength(2);
	expect(other.getText("text").toString()).toBe("edcba");
});

it("sends a change beyond the rate later, and reports one that is too large", async () => {
	const page = open();
	await join(page);
	page.doc.getText("text").insert(0, "a");
	await vi.advanceTimersByTimeAsync(100);
	await answer(page.socket, "update", { error: { code: "limit", message: "too many" } });
	page.doc.getText("text").insert(0, "b");
	await vi.advanceTimersByTimeAsync(2000);
	expect(sent(page.socket, "update")).toHaveLength(2);
	expect(page.errors).toEqual([]);
	await answer(page.socket, "update", { error: { code: "too_large", message: "too large" } });
	expect(page.errors).toEqual(["too_large"]);
});

it("sends again what the server has confirmed while it did not keep the state", async () => {
	const page = open();
	page.doc.getText("text").insert(0, "text");
	const theirs = { update: buffer(Y.encodeStateAsUpdate(page.doc)), state_vector: buffer(Y.encodeStateVector(page.doc)) };
	await join(page, { kept: false });
	page.doc.getText("text").delete(0, 2);
	await vi.advanceTimersByTimeAsync(100);
	await answer(page.socket, "update", {});
	await vi.advanceTimersByTimeAsync(2000);
	await answer(page.socket, "sync", { write: true, peers: 0, members: 0, kept: false });
	await vi.advanceTimersByTimeAsync(5000);
	expect(sent(page.socket, "sync")).toHaveLength(2);
	await answer(page.socket, "sync", { write: true, peers: 0, members: 0, ...theirs });
	await vi.advanceTimersByTimeAsync(100);
	const server = new Y.Doc();
	Y.applyUpdate(server, new Uint8Array(theirs.update));
	Y.applyUpdate(server, sent(page.socket, "update").at(-1)![3]);
	expect(server.getText("text").toString()).toBe("xt");
	// Once: it is kept now.
	await answer(page.socket, "update", {});
	await vi.advanceTimersByTimeAsync(40_000);
	await answer(page.socket, "sync", { write: true, peers: 0, members: 0, ...theirs });
	await vi.advanceTimersByTimeAsync(100);
	expect(sent(page.socket, "update")).toHaveLength(2);
});

it("goes on after a cut, with what was written meanwhile", async () => {
	const page = open();
	await join(page);
	page.doc.getText("text").insert(0, "lost");
	await vi.advanceTimersByTimeAsync(100);
	page.socket.lose();
	expect(page.provider.status).toBe("disconnected");
	expect(page.provider.synced).toBe(false);
	expect(page.provider.write).toBe(true);
	page.doc.getText("text").delete(0, 2);
	page.socket.accept();
	await join(page, { peers: 1, members: 1 });
	page.socket.fire(`${PREFIX}answer`, { ...NAME, ...update_of("theirs ") });
	await vi.advanceTimersByTimeAsync(100);
	const other = new Y.Doc();
	Y.applyUpdate(other, sent(page.socket, "update").at(-1)![3]);
	expect(other.getText("text").toString()).toBe("st");
});

it("joins again after a cut when the page listens to the connection no longer", async () => {
	const page = open();
	await join(page);
	for (const event of ["connect", "disconnect"]) page.connection.off(event);
	page.socket.lose();
	expect(page.provider.status).toBe("disconnected");
	page.socket.accept();
	expect(sent(page.socket, "join")).toHaveLength(2);
});

it("sends nothing of a reader, and asks nobody to take it", async () => {
	const page = open();
	page.doc.getText("text").insert(0, "mine");
	await join(page, { write: false, peers: 1, members: 1 });
	page.doc.getText("text").insert(0, "more");
	page.socket.fire(`${PREFIX}answer`, { ...NAME, ...update_of("theirs") });
	page.socket.fire(`${PREFIX}sync`, { ...NAME, from: "other", state_vector: new ArrayBuffer(1) });
	await vi.advanceTimersByTimeAsync(5000);
	expect(sent(page.socket, "update")).toEqual([]);
	expect(sent(page.socket, "answer")).toEqual([]);
	expect(page.provider.write).toBe(false);
});

it("answers a question with what the other one lacks", async () => {
	const page = open();
	await join(page);
	page.doc.getText("text").insert(0, "all of it");
	page.socket.fire(`${PREFIX}sync`, { ...NAME, from: "other", state_vector: buffer(Y.encodeStateVector(new Y.Doc())) });
	const [[, , , to, update, vector]] = sent(page.socket, "answer") as [any[]];
	const other = new Y.Doc();
	Y.applyUpdate(other, update);
	expect([to, other.getText("text").toString()]).toEqual(["other", "all of it"]);
	expect(vector).toEqual(Y.encodeStateVector(page.doc));
});

it("takes only what is about its document", async () => {
	const page = open({ field: "body" });
	await join(page);
	page.socket.fire(`${PREFIX}update`, { ...NAME, update: update_of("other field").update });
	expect(page.doc.getText("text").toString()).toBe("");
	page.socket.fire(`${PREFIX}update`, { ...NAME, field: "body", update: update_of("this one").update });
	expect(page.doc.getText("text").toString()).toBe("this one");
	page.socket.fire(`${PREFIX}update`, { ...NAME, field: "body", update: new Uint8Array([255, 255, 255]).buffer });
	expect(page.errors).toEqual(["bad_request"]);
});

it("asks again soon when a change came before one that it is based on", async () => {
	const page = open();
	await join(page);
	await vi.advanceTimersByTimeAsync(2000);
	await answer(page.socket, "sync", { write: true, peers: 1, members: 1 });
	page.socket.fire(`${PREFIX}answer`, { ...NAME, ...update_of("") });
	const before = sent(page.socket, "sync").length;
	const other = new Y.Doc();
	other.getText("text").insert(0, "first");
	const vector = Y.encodeStateVector(other);
	other.getText("text").insert(5, " second");
	page.socket.fire(`${PREFIX}update`, { ...NAME, update: buffer(Y.encodeStateAsUpdate(other, vector)) });
	expect(page.doc.getText("text").toString()).toBe("");
	await vi.advanceTimersByTimeAsync(2000);
	expect(sent(page.socket, "sync")).toHaveLength(before + 1);
});

it("ends when the server ends it, and says why", async () => {
	const page = open();
	await join(page);
	page.socket.fire(`${PREFIX}read_only`, NAME);
	expect(page.provider.write).toBe(false);
	page.socket.fire(`${PREFIX}end`, { ...NAME, code: "not_permitted" });
	expect(page.errors).toEqual(["not_permitted"]);
	expect(page.provider.status).toBe("disconnected");
	page.socket.lose();
	page.socket.accept();
	expect(sent(page.socket, "join")).toHaveLength(1);
});

it("joins again when the server does not know it any more, and later when it cannot ask", async () => {
	const page = open();
	await join(page);
	page.doc.getText("text").insert(0, "a");
	await vi.advanceTimersByTimeAsync(100);
	await answer(page.socket, "update", { error: { code: "not_member", message: "" } });
	expect(sent(page.socket, "join")).toHaveLength(2);
	await answer(page.socket, "join", { error: { code: "unavailable", message: "" } });
	expect(page.errors).toEqual(["unavailable"]);
	await vi.advanceTimersByTimeAsync(2000);
	expect(sent(page.socket, "join")).toHaveLength(3);
	await join(page, { members: 1 });
	await vi.advanceTimersByTimeAsync(100);
	// Nobody could be asked: the others get all of it.
	const other = new Y.Doc();
	Y.applyUpdate(other, sent(page.socket, "update").at(-1)![3]);
	expect(other.getText("text").toString()).toBe("a");
});

it("lets one document have one provider of a connection", () => {
	const page = open();
	expect(() => open({}, page)).toThrow("has a provider on this connection already");
	const doc = new Y.Doc();
	const listen = vi.spyOn(doc, "on");
	expect(() => new RealtimeProvider(page.connection, "Note", "N-1", doc)).toThrow("share its document");
	expect(listen).not.toHaveBeenCalled();
	page.provider.destroy();
	page.doc.getText("text").insert(0, "alone");
	expect(open({}, page).provider.status).toBe("connecting");
	expect(sent(page.socket, "update")).toEqual([]);
});

it("listens to nothing for a document without a name", () => {
	const { connection, socket } = make();
	const listen = vi.spyOn(connection, "keep_listening");
	for (const name of [undefined, null, ""] as string[]) {
		expect(() => new RealtimeProvider(connection, "Note", name, new Y.Doc())).toThrow("names no place");
	}
	expect(listen).not.toHaveBeenCalled();
	expect(socket.sent).toEqual([]);
});

it("sends what waits when the page goes", async () => {
	const page = open();
	await join(page);
	page.doc.getText("text").insert(0, "a");
	await vi.advanceTimersByTimeAsync(100);
	page.doc.getText("text").insert(1, "b");
	page.provider.destroy();
	const events = page.socket.sent.map(([event]) => event).filter((event) => event.startsWith(PREFIX));
	expect(events).toEqual(["join", "update", "update", "leave"].map((event) => PREFIX + event));
});

it("goes on when a listener of the page fails", async () => {
	const report = vi.fn();
	vi.stubGlobal("queueMicrotask", report);
	const page = open();
	const heard: string[] = [];
	for (const event of ["access", "status", "sync"] as "sync"[]) {
		page.provider.on(event, () => {
			throw new TypeError(`no element for ${event}`);
		});
		page.provider.on(event, () => void heard.push(event));
	}
	await join(page);
	expect(heard).toEqual(["access", "status", "sync"]);
	expect(report).toHaveBeenCalledTimes(heard.length);
	heard.forEach((event, index) => expect(report.mock.calls[index]![0]).toThrow(`no element for ${event}`));
	await vi.advanceTimersByTimeAsync(2000);
	expect(sent(page.socket, "sync")).toHaveLength(1);
});

it("leaves a document also before it has joined", async () => {
	const page = open();
	page.provider.destroy();
	const events = page.socket.sent.map(([event]) => event).filter((event) => event.startsWith(PREFIX));
	expect(events).toEqual(["join", "leave"].map((event) => PREFIX + event));
	// Without a connection, the server has nothing to end.
	const lost = open({}, make({}, false));
	lost.provider.destroy();
	expect(sent(lost.socket, "leave")).toEqual([]);
});

it("takes what the server keeps, and sends what it lacks", async () => {
	const page = open();
	page.doc.getText("text").insert(0, "mine");
	await join(page, { members: 3, ...update_of("kept") });
	expect(page.provider.synced).toBe(true);
	expect(page.doc.getText("text").length).toBe(8);
	await vi.advanceTimersByTimeAsync(100);
	expect(sent(page.socket, "update")).toHaveLength(1);
});

it("shows the states of the others while they are there", async () => {
	const page = open();
	const { awareness } = page.provider;
	const changes: any[] = [];
	awareness.on("change", (change, origin) => changes.push([change, origin === "local"]));
	awareness.setLocalStateField("user", { name: "Ann" });
	const me = { id: "1", user: "ann", full_name: "Ann", joined_at: 1, version: 1, state: {} };
	const ben = { id: "2", user: "ben", full_name: "Ben", joined_at: 2, version: 1, state: { yjs: { client: 7, state: { cursor: 1 } } } };
	const [, , , , ack] = page.socket.sent.find(([event]) => event === "frappe_realtime:presence_join")!;
	ack(null, { me, members: [me, ben], count: 2 });
	await vi.advanceTimersByTimeAsync(200);
	expect(awareness.getStates().get(7)).toEqual({ cursor: 1 });
	const set = page.socket.sent.find(([event]) => event === "frappe_realtime:presence_set")!;
	expect(set[2]).toEqual({ yjs: { client: awareness.clientID, state: { user: { name: "Ann" } } } });
	page.socket.fire("frappe_realtime:presence", { place: "doc:Note/N-1", count: 1, leaves: ["2"] });
	expect(awareness.getStates().has(7)).toBe(false);
	expect(changes).toEqual([
		[{ added: [], updated: [awareness.clientID], removed: [] }, true],
		[{ added: [7], updated: [], removed: [] }, false],
		[{ added: [], updated: [], removed: [7] }, false],
	]);
	page.provider.destroy();
	expect(page.socket.sent.at(-1)!.slice(0, 2)).toEqual(["frappe_realtime:presence_leave", "doc:Note/N-1"]);
});

it("shows its state once the reason why it was refused is over", async () => {
	const page = open();
	const joins = () => page.socket.sent.filter(([event]) => event === "frappe_realtime:presence_join");
	joins()[0]!.at(-1)(null, { error: { code: "unavailable", message: "the web process did not answer" } });
	await vi.advanceTimersByTimeAsync(0);
	await join(page);
	expect(joins()).toHaveLength(2);
	expect(joins()[1]![2]).toEqual({ yjs: { client: page.provider.awareness.clientID, state: {} } });
	await vi.advanceTimersByTimeAsync(2000);
	await answer(page.socket, "sync", { write: true, peers: 0, members: 0 });
	expect(joins()).toHaveLength(2);
});

it("may write from the moment on at which the server says so, and sends what it has written before", async () => {
	const page = open();
	const access: boolean[] = [];
	page.provider.on("access", ({ write }) => access.push(write));
	await join(page, { write: false, peers: 0, members: 1 });
	page.doc.getText("text").insert(0, "mine");
	await vi.advanceTimersByTimeAsync(100);
	expect(sent(page.socket, "update")).toEqual([]);
	page.socket.fire(`${PREFIX}may_write`, { ...NAME, field: "other" });
	expect(page.provider.write).toBe(false);
	page.socket.fire(`${PREFIX}may_write`, NAME);
	expect(access).toEqual([true]);
	await answer(page.socket, "sync", { write: true, peers: 0, members: 1 });
	await vi.advanceTimersByTimeAsync(100);
	const [[, , , update]] = sent(page.socket, "update") as [any[]];
	const other = new Y.Doc();
	Y.applyUpdate(other, update);
	expect(other.getText("text").toString()).toBe("mine");
	page.socket.fire(`${PREFIX}may_write`, NAME);
	expect(sent(page.socket, "sync")).toHaveLength(1);
});

// A deletion shows in no state vector.
describe("a deletion that could not be sent, because the user might not write for a while", () => {
	const MAY_WRITE = { write: true, peers: 1, members: 1 };

	// A page that has the text "mine", which the server has.
	async function writer(): Promise<Page> {
		const page = open();
		await join(page);
		page.doc.getText("text").insert(0, "mine");
		await vi.advanceTimersByTimeAsync(100);
		await answer(page.socket, "update", {});
		return page;
	}

	// The user may write again: what the others have then, who had "mine".
	async function text_of_others(page: Page): Promise<string> {
		const other = new Y.Doc();
		Y.applyUpdate(other, sent(page.socket, "update")[0]![3]);
		page.socket.sent.length = 0;
		page.socket.fire(`${PREFIX}may_write`, NAME);
		await answer(page.socket, "sync", MAY_WRITE);
		const theirs = { update: buffer(Y.encodeStateAsUpdate(other)), state_vector: buffer(Y.encodeStateVector(other)) };
		page.socket.fire(`${PREFIX}answer`, { ...NAME, ...theirs });
		await vi.advanceTimersByTimeAsync(100);
		for (const args of sent(page.socket, "update")) Y.applyUpdate(other, args[3]);
		return other.getText("text").toString();
	}

	it("is sent when it was waiting", async () => {
		const page = await writer();
		page.doc.getText("text").delete(0, 2);
		page.socket.fire(`${PREFIX}read_only`, NAME);
		await vi.advanceTimersByTimeAsync(100);
		expect(sent(page.socket, "update")).toHaveLength(1);
		expect(await text_of_others(page)).toBe("ne");
	});

	it("is sent again when it was refused", async () => {
		const page = await writer();
		page.doc.getText("text").delete(0, 2);
		await vi.advanceTimersByTimeAsync(100);
		await answer(page.socket, "update", { error: { code: "read_only", message: "" } });
		expect(page.errors).toEqual(["read_only"]);
		expect(await text_of_others(page)).toBe("ne");
	});

	it("is sent again when the server had said so before it refused it", async () => {
		const page = await writer();
		page.doc.getText("text").delete(0, 2);
		await vi.advanceTimersByTimeAsync(100);
		page.socket.fire(`${PREFIX}read_only`, NAME);
		await answer(page.socket, "update", { error: { code: "read_only", message: "" } });
		expect(await text_of_others(page)).toBe("ne");
	});

	it("is not forgotten while nobody else may write", async () => {
		const page = await writer();
		page.socket.fire(`${PREFIX}read_only`, NAME);
		page.doc.getText("text").delete(0, 2);
		await vi.advanceTimersByTimeAsync(5000);
		await answer(page.socket, "sync", { write: false, peers: 0, members: 1 });
		expect(await text_of_others(page)).toBe("ne");
	});
});
