import { afterEach, describe, expect, it, vi } from "vitest";

import { follow_progress, lazy_connection, page_id, share, type Connection, type Progress } from "@frappe-realtime/core";
import { FakeSocket, make } from "./fake_socket.js";

afterEach(() => {
	vi.useRealTimers();
	vi.unstubAllGlobals();
	vi.restoreAllMocks();
});

it("can be imported where there is no page", () => {
	expect(globalThis.window).toBeUndefined();
	expect(page_id).toBe("");
	expect(() => lazy_connection().get()).toThrow("pass the option `site`");
});

it("sends cookies unless there is a token", () => {
	expect(make().socket.options).toMatchObject({ withCredentials: true, autoConnect: false });
	expect(make({ token: "key:secret" }).socket.options.withCredentials).toBe(false);
});

it("sends the token with what the page sends in auth", async () => {
	const { socket } = make({ token: "key:secret", auth: { tab: 1 } });
	expect(await socket.auth()).toEqual({ tab: 1, token: "key:secret" });
	const own = make({ token: async () => "Bearer x", auth: (send: (payload: object) => void) => send({ tab: 2 }) });
	expect(await own.socket.auth()).toEqual({ tab: 2, token: "Bearer x" });
});

it("asks for another token after the server has refused the last one", async () => {
	vi.spyOn(console, "warn").mockImplementation(() => {});
	vi.useFakeTimers();
	const token = vi.fn(({ renew }: { renew: boolean }) => (renew ? "Bearer new" : "Bearer old"));
	const { socket, connection } = make({ token }, false);
	expect(await socket.auth()).toEqual({ token: "Bearer old" });
	socket.refuse("invalid_token");
	expect(connection.status).toBe("lost");
	await vi.advanceTimersByTimeAsync(2000);
	expect(socket.connects).toBe(2);
	expect(await socket.auth()).toEqual({ token: "Bearer new" });
	socket.accept();
	expect(await socket.auth()).toEqual({ token: "Bearer old" });
	socket.refuse("too_many_connections");
	expect(await socket.auth()).toEqual({ token: "Bearer old" });
	connection.close();
});

it("tries again when the function of the token fails", async () => {
	const warn = vi.spyOn(console, "warn").mockImplementation(() => {});
	vi.useFakeTimers();
	const token = vi.fn().mockRejectedValueOnce(new Error("offline")).mockResolvedValue("Bearer x");
	const { socket, connection } = make({ token }, false);
	void socket.auth();
	await vi.advanceTimersByTimeAsync(0);
	expect(warn).toHaveBeenCalledWith("Realtime: the function `token` has failed: offline");
	expect(connection.status).toBe("lost");
	await vi.advanceTimersByTimeAsync(2000);
	expect(socket.connects).toBe(2);
	connection.close();
});

it("keeps a connection when the function of the token fails for a diagnosis", async () => {
	const warn = vi.spyOn(console, "warn").mockImplementation(() => {});
	const { socket, connection } = make({ token: () => Promise.reject(new Error("offline")) });
	void socket.auth();
	await vi.waitFor(() => expect(warn).toHaveBeenCalled());
	expect(connection.status).toBe("connected");
	expect(socket.connected).toBe(true);
});

it("loads with the token, and with another one after HTTP 401", async () => {
	const fetch = vi
		.fn()
		.mockResolvedValueOnce(new Response("{}", { status: 401 }))
		.mockResolvedValueOnce(new Response('{"data": {"name": "T-1"}}'));
	vi.stubGlobal("fetch", fetch);
	const { connection } = make({ token: ({ renew }) => (renew ? "key:new" : "key:old"), api: "https://erp.example" });
	expect(await connection.api.doc("ToDo", "T/1")).toEqual({ name: "T-1" });
	const requests = fetch.mock.calls.map(([url, { headers, credentials }]) => [url, headers.Authorization, credentials]);
	expect(requests).toEqual([
		["https://erp.example/api/resource/ToDo/T%2F1", "token key:old", "omit"],
		["https://erp.example/api/resource/ToDo/T%2F1", "token key:new", "omit"],
	]);
});

it("says what Frappe says when it refuses", async () => {
	const body = { exc_type: "PermissionError", _server_messages: JSON.stringify([JSON.stringify({ message: "Not yours" })]) };
	vi.stubGlobal("fetch", vi.fn(async () => new Response(JSON.stringify(body), { status: 403 })));
	const { connection } = make();
	await expect(connection.api.list("ToDo")).rejects.toMatchObject({
		name: "ApiError",
		status: 403,
		code: "PermissionError",
		message: "Not yours",
	});
});

it("says when the answer is that of something else than the site", async () => {
	vi.stubGlobal("fetch", vi.fn(async () => new Response("<h1>Sign in to the network</h1>")));
	await expect(make().connection.api.doc("ToDo", "T-1")).rejects.toMatchObject({
		name: "ApiError",
		status: 200,
		message: "/api/resource/ToDo/T-1 was answered with something else than JSON (HTTP 200)",
	});
});

it("rejects what is cancelled while it is read as fetch does", async () => {
	const cancelled = new AbortController();
	const json = async () => {
		cancelled.abort();
		throw new DOMException("aborted", "AbortError");
	};
	vi.stubGlobal("fetch", vi.fn(async () => ({ ok: true, status: 200, json })));
	await expect(make().connection.api.doc("ToDo", "T-1", cancelled.signal)).rejects.toMatchObject({ name: "AbortError" });
});

it("is opened when it is needed, and again after it was closed", () => {
	const io = vi.fn(() => make().socket);
	const lazy = lazy_connection({ io: io as any, site: "a.site", url: "http://a.site" });
	expect(io).not.toHaveBeenCalled();
	expect(lazy.get()).toBe(lazy.get());
	lazy.close();
	expect(lazy.latest().status).toBe("closed");
	expect(io).toHaveBeenCalledTimes(1);
	lazy.get();
	expect(io).toHaveBeenCalledTimes(2);
	const { connection } = make();
	const given = lazy_connection(connection);
	given.close();
	expect(connection.status).toBe("connected");
});

it("goes on to reconnect when the page listens to nothing any more", () => {
	const { connection, socket } = make();
	const heard = vi.fn();
	const events = ["connect", "disconnect", "connect_error", "realtime_status", "realtime_missed"];
	for (const event of events) connection.on(event, heard);
	connection.once("connect", heard);
	connection.doctype_subscribe("Note");
	for (const event of events) connection.off(event);
	socket.lose();
	expect(connection.status).toBe("lost");
	socket.sent.length = 0;
	socket.accept();
	expect(connection.status).toBe("connected");
	expect(socket.sent).toEqual([["doctype_subscribe", "Note"]]);
	socket.active = false;
	socket.fire("connect_error", new Error("refused"));
	expect(connection.status).toBe("lost");
	expect(heard).not.toHaveBeenCalled();
	connection.close();
});

it("stays closed when a listener of the status closes it", async () => {
	vi.useFakeTimers();
	vi.spyOn(console, "warn").mockImplementation(() => {});
	const { connection, socket } = make({}, false);
	connection.on("realtime_status", (status) => status === "lost" && connection.close());
	const { connects } = socket;
	socket.refuse("no_credential");
	await vi.advanceTimersByTimeAsync(120_000);
	expect(connection.status).toBe("closed");
	expect(socket.connects).toBe(connects);
});

it("tells no listener a status that is over already", () => {
	const { connection, socket } = make();
	const heard: string[] = [];
	connection.on("realtime_status", (status) => status === "lost" && connection.close());
	connection.on("realtime_status", (status) => heard.push(status));
	socket.lose();
	expect(connection.status).toBe("closed");
	expect(heard).toEqual(["closed"]);
});

describe("a listener of an event of this client", () => {
	it("that fails stops neither the client nor the other listeners", async () => {
		vi.useFakeTimers();
		const report = vi.fn();
		vi.stubGlobal("queueMicrotask", report);
		const { connection, socket } = make();
		const heard = vi.fn();
		for (const event of ["realtime_status", "realtime_missed"]) {
			connection.on(event, () => {
				throw new TypeError(`no element for ${event}`);
			});
			connection.on(event, () => heard(event));
		}
		void connection.presence().join();
		socket.lose();
		socket.sent.length = 0;
		socket.accept();
		expect(socket.sent.map(([event]) => event)).toEqual(["frappe_realtime:presence_join"]);
		const { connects } = socket;
		socket.active = false;
		socket.lose("io server disconnect");
		await vi.advanceTimersByTimeAsync(2000);
		expect(socket.connects).toBe(connects + 1);
		const events = ["realtime_status", "realtime_status", "realtime_missed", "realtime_status"];
		expect(heard.mock.calls).toEqual(events.map((event) => [event]));
		expect(report).toHaveBeenCalledTimes(events.length);
		events.forEach((event, index) => expect(report.mock.calls[index]![0]).toThrow(`no element for ${event}`));
		connection.close();
	});

	it.each(["realtime_missed", "an_event"])("%s that was added twice is removed once, the oldest first", (event) => {
		const { connection, socket } = make();
		const heard: string[] = [];
		const twice = () => heard.push("twice");
		connection.on(event, twice);
		connection.once(event, () => heard.push("once"));
		connection.on(event, twice);
		connection.off(event, twice);
		const fire = () => (event === "an_event" ? socket.fire(event) : (socket.lose(), socket.accept()));
		fire();
		expect(heard).toEqual(["once", "twice"]);
		connection.off(event, twice);
		connection.off(event, twice);
		fire();
		expect(heard).toHaveLength(2);
	});

	it("that adds itself again is not called for the same event again", () => {
		const { connection, socket } = make();
		const heard = vi.fn((status: string): string => {
			if (heard.mock.calls.length < 10) connection.on("realtime_status", heard);
			return status;
		});
		connection.on("realtime_status", heard);
		socket.lose();
		expect(heard.mock.calls).toEqual([["lost"]]);
		socket.accept();
		expect(heard.mock.calls).toEqual([["lost"], ["connected"], ["connected"]]);
		connection.close();
	});
});

describe("subscriptions after a reconnect", () => {
	const names = (socket: FakeSocket) => socket.sent.filter(([event]) => event === "doc_subscribe").map(([, , name]) => name);

	function reconnect(socket: FakeSocket): string[] {
		socket.lose();
		socket.sent.length = 0;
		socket.accept();
		return names(socket);
	}

	it("are sent newest first, each time", () => {
		const { connection, socket } = make();
		for (const name of ["N-1", "N-2", "N-3", "N-1"]) connection.doc_subscribe("Note", name);
		for (let time = 0; time < 3; time++) expect(reconnect(socket)).toEqual(["N-1", "N-3", "N-2"]);
	});

	it("begin with a document that was opened again, also among many", () => {
		vi.useFakeTimers();
		const { connection, socket } = make();
		for (let number = 0; number < 1000; number++) connection.doc_subscribe("Note", `N-${number}`);
		connection.doc_subscribe("Note", "N-0");
		connection.doc_subscribe("Note", "N-1000");
		const first = reconnect(socket);
		expect(first).toHaveLength(80);
		expect(first.slice(0, 3)).toEqual(["N-1000", "N-0", "N-999"]);
		vi.advanceTimersByTime(120_000);
		const all = names(socket);
		expect(all).toHaveLength(1000);
		expect(all).not.toContain("N-1");
		expect(reconnect(socket)).toEqual(first);
		connection.close();
	});

	it("ask again for the values of a document that was opened again, also among many", () => {
		vi.useFakeTimers();
		const { connection, socket } = make();
		const options = { rewind: "latest" } as const;
		for (let number = 0; number < 1000; number++) void connection.doc_subscribe("Note", `N-${number}`, options);
		void connection.doc_subscribe("Note", "N-0", options);
		void connection.doc_subscribe("Note", "N-1000", options);
		reconnect(socket);
		expect(socket.sent.slice(0, 2).map((packet) => packet.slice(2, 4))).toEqual([
			["N-1000", options],
			["N-0", options],
		]);
		connection.close();
	});
});

describe("a subscription whose earlier events are refused", () => {
	const NOTE = ["doc_subscribe", "Note", "N-1"];
	const REFUSAL = { error: { code: "limit_reached", message: "too many bytes" } };
	const latest = { rewind: "latest" } as const;

	function answer(socket: FakeSocket, result: object): void {
		socket.sent.at(-1)!.at(-1)(result);
	}

	function reconnect(socket: FakeSocket): void {
		socket.lose();
		socket.sent.length = 0;
		socket.accept();
	}

	it.each([
		["before", [undefined, latest]],
		["after", [latest, undefined]],
	])("after a reconnect leaves another part of the page alone that subscribed %s it", (_, options) => {
		vi.spyOn(console, "warn").mockImplementation(() => {});
		const { connection, socket } = make();
		for (const one of options) void connection.doc_subscribe("Note", "N-1", one);
		reconnect(socket);
		answer(socket, REFUSAL);
		expect(socket.sent.map((packet) => packet.slice(0, 4))).toEqual([[...NOTE, latest], NOTE]);
		connection.close();
	});

	it("goes on if they came before the reconnect", async () => {
		const { connection, socket } = make();
		const subscribed = connection.doc_subscribe("Note", "N-1", latest);
		answer(socket, { rewound: 1 });
		expect(await subscribed).toBe(1);
		reconnect(socket);
		answer(socket, REFUSAL);
		expect(socket.sent.at(-1)).toEqual(NOTE);
		connection.close();
	});

	it("does not begin", async () => {
		vi.spyOn(console, "warn").mockImplementation(() => {});
		const { connection, socket } = make();
		const subscribed = connection.doc_subscribe("Note", "N-1", latest);
		answer(socket, REFUSAL);
		await expect(subscribed).rejects.toThrow("too many bytes (limit_reached)");
		expect(socket.sent).toHaveLength(1);
		connection.close();
	});

	it("of a listener is not sent without them", () => {
		vi.spyOn(console, "warn").mockImplementation(() => {});
		const { connection, socket } = make();
		connection.on("unread", () => {}, latest);
		answer(socket, { rewound: 1 });
		reconnect(socket);
		answer(socket, REFUSAL);
		expect(socket.sent).toHaveLength(1);
		connection.close();
	});
});

describe("an event that is not acknowledged when the connection is lost", () => {
	// As with socket.io-client 4.7.2, which says nothing then.
	it("is rejected at once", async () => {
		const { connection, socket } = make();
		const called = connection.emitWithAck("add", 1);
		const shared = connection.emitWithAck("frappe_realtime:shared_join");
		socket.lose();
		const message = '"add" was not answered: socket has been disconnected';
		await expect(called).rejects.toMatchObject({ name: "CallError", code: "disconnected", message });
		await expect(shared).rejects.toMatchObject({ code: "disconnected" });
	});

	it("is rejected once, and not by a late answer", async () => {
		const { connection, socket } = make();
		const called = connection.emitWithAck("add", 1);
		const answer = socket.sent.at(-1)!.at(-1);
		socket.lose();
		// As newer clients do.
		answer(new Error("socket has been disconnected"));
		answer(null, 2);
		await expect(called).rejects.toMatchObject({ code: "disconnected" });
		const answered = connection.emitWithAck("add", 2);
		socket.accept();
		socket.sent.at(-1)!.at(-1)(null, 3);
		expect(await answered).toBe(3);
		socket.lose();
	});

	it("is sent after the next connect if it waits for that", async () => {
		const { connection, socket } = make();
		const sent = connection.emitWithAck("first");
		// Newer clients send nothing any more when a ping is overdue, before they notice the disconnect.
		socket.connected = false;
		const waiting = connection.emitWithAck("second");
		socket.connected = true;
		socket.lose();
		await expect(sent).rejects.toMatchObject({ code: "disconnected" });
		socket.accept({ calls: true });
		const [event, name, answer] = socket.sent.at(-1)!;
		expect([event, name]).toEqual(["frappe_realtime:call", "second"]);
		answer(null, null, "done");
		expect(await waiting).toBe("done");
	});
});

describe("a socket that another part of the page has opened", () => {
	const NOTE = ["Note", "N-1"] as const;

	function shared(): { socket: FakeSocket; connection: Connection } {
		const socket = new FakeSocket("http://a.site/a.site", {});
		return { socket, connection: share(socket, { api: "http://a.site" }) };
	}

	it("stays in the rooms of that part", () => {
		const { socket, connection } = shared();
		socket.accept();
		socket.emit("doc_subscribe", ...NOTE);
		connection.doc_subscribe(...NOTE);
		connection.doc_unsubscribe(...NOTE);
		expect(socket.sent.map(([event]) => event)).toEqual(["doc_subscribe", "doc_subscribe"]);
		socket.emit("doc_unsubscribe", ...NOTE);
		expect(socket.sent.at(-1)).toEqual(["doc_unsubscribe", ...NOTE]);
	});

	it("stays in the rooms of the connection", () => {
		const { socket, connection } = shared();
		socket.accept();
		connection.doc_subscribe(...NOTE);
		for (let time = 0; time < 2; time++) socket.emit("doc_subscribe", ...NOTE);
		expect(socket.emit("doc_unsubscribe", ...NOTE)).toBe(socket);
		expect(socket.sent.at(-1)).toEqual(["doc_subscribe", ...NOTE]);
		connection.doc_unsubscribe(...NOTE);
		expect(socket.sent.at(-1)).toEqual(["doc_unsubscribe", ...NOTE]);
	});

	it("is in the rooms of both again after a reconnect", () => {
		const { socket, connection } = shared();
		// As a shell does that knows its own rooms.
		socket.on("connect", () => socket.emit("doc_subscribe", ...NOTE));
		socket.accept();
		connection.doctype_subscribe("Note");
		socket.lose();
		socket.sent.length = 0;
		socket.accept();
		expect(socket.sent).toContainEqual(["doc_subscribe", ...NOTE]);
		expect(socket.sent).toContainEqual(["doctype_subscribe", "Note"]);
		socket.emit("doc_unsubscribe", ...NOTE);
		expect(socket.sent.at(-1)).toEqual(["doc_unsubscribe", ...NOTE]);
	});

	it("is asked for the errors of calls if it was connected before", async () => {
		const socket = new FakeSocket("http://a.site/a.site", {});
		socket.accept({ calls: true });
		const connection = share(socket, { api: "http://a.site" });
		const [, , answer] = socket.sent[0]!;
		expect(socket.sent[0]!.slice(0, 2)).toEqual(["frappe_realtime:call", "ping"]);
		answer({ code: "no_answer", message: "" });
		const called = connection.emitWithAck("unknown", 1);
		const [event, name, value, reply] = socket.sent.at(-1)!;
		expect([event, name, value]).toEqual(["frappe_realtime:call", "unknown", 1]);
		reply(null, { code: "no_handler", message: "nobody answers" });
		await expect(called).rejects.toMatchObject({ code: "no_handler" });
	});

	it("keeps the listeners of that part", () => {
		const { socket, connection } = shared();
		const heard: string[] = [];
		socket.on("news", () => heard.push("the shell"));
		connection.on("news", () => heard.push("the connection"));
		connection.off("news");
		socket.fire("news");
		expect(heard).toEqual(["the shell"]);
	});

	it("passes other events on", () => {
		const { socket } = shared();
		socket.accept();
		socket.emit("order_ready", { order: 1 });
		expect(socket.sent).toEqual([["order_ready", { order: 1 }]]);
	});

	it("remembers a bounded number of rooms of the other part", () => {
		const { socket, connection } = shared();
		socket.accept();
		for (let number = 0; number <= 1000; number++) socket.emit("doc_subscribe", "Note", `N-${number}`);
		connection.doc_subscribe("Note", "N-0");
		connection.doc_unsubscribe("Note", "N-0");
		expect(socket.sent.at(-1)).toEqual(["doc_unsubscribe", "Note", "N-0"]);
	});

	it("forgets those first that it has not subscribed for the longest time", () => {
		const { socket, connection } = shared();
		socket.accept();
		for (let number = 0; number < 1000; number++) socket.emit("doc_subscribe", "Note", `N-${number}`);
		socket.emit("doc_subscribe", "Note", "N-0");
		socket.emit("doc_subscribe", "Note", "N-1000");
		connection.doc_subscribe("Note", "N-0");
		socket.sent.length = 0;
		connection.doc_unsubscribe("Note", "N-0");
		expect(socket.sent).toEqual([]);
	});
});

it("follows progress also when the page listens to it no longer", () => {
	vi.stubGlobal("document", { visibilityState: "visible" });
	const { connection, socket } = make();
	const seen: unknown[] = [];
	const callback = ({ percent }: Progress) => void seen.push(percent);
	connection.progress(callback);
	const ends = [follow_progress(connection, null, callback), follow_progress(connection, "job-1", callback)];
	for (const event of ["progress", "task_progress"]) connection.off(event);
	socket.fire("progress", { percent: 10 });
	socket.fire("progress", { percent: 11, page: "another" });
	socket.fire("task_progress", { percent: 20, task_id: "job-1", page: "another" });
	socket.fire("task_progress", { percent: 21, task_id: "job-2" });
	expect(seen).toEqual([10, 20]);
	for (const end of ends) end();
	expect([...socket.listeners("progress"), ...socket.listeners("task_progress")]).toEqual([]);
	expect(socket.sent.map(([event]) => event)).toEqual(["task_subscribe", "task_unsubscribe"]);
});
