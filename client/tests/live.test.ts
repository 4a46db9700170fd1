import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";

import { ApiError, follow, live_doc, live_list } from "@frappe-realtime/core";
import { make } from "./fake_socket.js";

beforeEach(() => void vi.useFakeTimers());
afterEach(() => {
	vi.useRealTimers();
	vi.unstubAllGlobals();
});

const TODO = { doctype: "ToDo", name: "T-1" };

describe("a follower", () => {
	it("loads once after several changes", async () => {
		const { connection, socket } = make();
		const reload = vi.fn();
		const follower = follow(connection, TODO, reload, { debounce: 100 });
		for (let number = 0; number < 3; number++) socket.fire("doc_update", { ...TODO, modified: String(number) });
		expect(follower.state).toEqual({ stale: true, lost: false });
		await vi.advanceTimersByTimeAsync(99);
		expect(reload).not.toHaveBeenCalled();
		await vi.advanceTimersByTimeAsync(1);
		expect(reload).toHaveBeenCalledTimes(1);
		expect(follower.state.stale).toBe(false);
	});

	it("does not wait longer than max_wait while changes go on", async () => {
		const { connection, socket } = make();
		const reload = vi.fn();
		follow(connection, { doctype: "ToDo" }, reload, { debounce: 100, max_wait: 250 });
		for (let number = 0; number < 10; number++) {
			socket.fire("list_update", { doctype: "ToDo", name: `T-${number}` });
			await vi.advanceTimersByTimeAsync(50);
		}
		expect(reload).toHaveBeenCalledTimes(2);
	});

	it("ignores other documents and DocTypes", async () => {
		const { connection, socket } = make();
		const follower = follow(connection, TODO, vi.fn());
		socket.fire("doc_update", { doctype: "ToDo", name: "T-2" });
		socket.fire("doc_update", { doctype: "Note", name: "T-1" });
		socket.fire("list_update", { doctype: "ToDo", name: "T-1" });
		expect(follower.state.stale).toBe(false);
	});

	it("loads again after a change during the load", async () => {
		const { connection, socket } = make();
		const finish: (() => void)[] = [];
		const reload = vi.fn(() => new Promise<void>((resolve) => finish.push(resolve)));
		const follower = follow(connection, TODO, reload, { debounce: 100 });
		socket.fire("doc_update", TODO);
		await vi.advanceTimersByTimeAsync(100);
		socket.fire("doc_update", TODO);
		await vi.advanceTimersByTimeAsync(100);
		expect(reload).toHaveBeenCalledTimes(1);
		finish[0]!();
		await vi.advanceTimersByTimeAsync(100);
		expect(reload).toHaveBeenCalledTimes(2);
		expect(follower.state.stale).toBe(true);
		finish[1]!();
		await vi.advanceTimersByTimeAsync(0);
		expect(follower.state.stale).toBe(false);
	});

	it("loads again after a change during a load that the server refuses", async () => {
		const { connection, socket } = make();
		const finish: ((error?: Error) => void)[] = [];
		const reload = vi.fn(
			() => new Promise<void>((resolve, reject) => finish.push((error) => (error ? reject(error) : resolve()))),
		);
		const follower = follow(connection, TODO, reload, { debounce: 100 });
		follower.invalidate();
		await vi.advanceTimersByTimeAsync(100);
		// Now it exists.
		socket.fire("doc_update", TODO);
		await vi.advanceTimersByTimeAsync(1000);
		finish[0]!(new ApiError(404, "DoesNotExistError", "no such document"));
		await vi.advanceTimersByTimeAsync(100);
		expect(reload).toHaveBeenCalledTimes(2);
		expect(follower.state.stale).toBe(true);
		finish[1]!();
		await vi.advanceTimersByTimeAsync(100_000);
		expect(reload).toHaveBeenCalledTimes(2);
		expect(follower.state.stale).toBe(false);
	});

	it.each([
		["the server cannot be reached", new ApiError(502, "", "away")],
		["the rate of requests was too high", new ApiError(429, "TooManyRequestsError", "later")],
	])("tries again when %s, and not when the server refuses", async (_, failure) => {
		const { connection } = make();
		const reload = vi.fn().mockRejectedValueOnce(failure).mockResolvedValueOnce(undefined);
		const follower = follow(connection, TODO, reload, { debounce: 0 });
		follower.invalidate();
		await vi.advanceTimersByTimeAsync(1);
		expect(follower.state.stale).toBe(true);
		await vi.advanceTimersByTimeAsync(2000);
		expect(reload).toHaveBeenCalledTimes(2);
		expect(follower.state.stale).toBe(false);
		reload.mockRejectedValueOnce(new ApiError(403, "PermissionError", "no"));
		follower.invalidate();
		await vi.advanceTimersByTimeAsync(100_000);
		expect(reload).toHaveBeenCalledTimes(3);
		expect(follower.state.stale).toBe(false);
	});

	it("catches up after missed events, and says when the connection is lost", async () => {
		const { connection, socket } = make();
		const reload = vi.fn();
		const follower = follow(connection, TODO, reload);
		socket.lose();
		expect(follower.state).toEqual({ stale: false, lost: true });
		socket.accept();
		expect(follower.state).toEqual({ stale: true, lost: false });
		await vi.advanceTimersByTimeAsync(200);
		expect(reload).toHaveBeenCalledTimes(1);
		socket.lose();
		socket.recovered = true;
		socket.accept();
		await vi.advanceTimersByTimeAsync(5000);
		expect(reload).toHaveBeenCalledTimes(1);
		expect(follower.state).toEqual({ stale: false, lost: false });
	});

	it("goes on when the page listens to its events no longer", async () => {
		const { connection, socket } = make();
		const reload = vi.fn();
		const follower = follow(connection, TODO, reload, { debounce: 0 });
		for (const event of ["doc_update", "realtime_missed", "realtime_status"]) connection.off(event);
		socket.fire("doc_update", TODO);
		await vi.advanceTimersByTimeAsync(0);
		expect(reload).toHaveBeenCalledTimes(1);
		socket.lose();
		expect(follower.state.lost).toBe(true);
		socket.accept();
		await vi.advanceTimersByTimeAsync(0);
		expect(reload).toHaveBeenCalledTimes(2);
		follower.stop();
		expect(socket.listeners("doc_update")).toEqual([]);
	});

	it("loads again after the first connection, because the data is older than the subscription", async () => {
		const { connection, socket } = make({}, false);
		const reload = vi.fn();
		follow(connection, TODO, reload);
		expect(reload).not.toHaveBeenCalled();
		socket.accept();
		await vi.advanceTimersByTimeAsync(200);
		expect(reload).toHaveBeenCalledTimes(1);
	});

	it("shares the room of a document with others", () => {
		const { connection, socket } = make();
		const [one, other] = [follow(connection, TODO, vi.fn()), follow(connection, TODO, vi.fn())];
		one.stop();
		one.stop();
		const subscribed = [
			["doc_subscribe", "ToDo", "T-1"],
			["doc_subscribe", "ToDo", "T-1"],
		];
		expect(socket.sent).toEqual(subscribed);
		other.stop();
		expect(socket.sent).toEqual([...subscribed, ["doc_unsubscribe", "ToDo", "T-1"]]);
		expect(socket.listeners("doc_update")).toEqual([]);
	});

	it("does nothing after it was stopped", async () => {
		const { connection, socket } = make();
		const reload = vi.fn();
		const follower = follow(connection, { doctype: "ToDo" }, reload);
		socket.fire("list_update", { doctype: "ToDo" });
		follower.stop();
		await vi.advanceTimersByTimeAsync(5000);
		expect(reload).not.toHaveBeenCalled();
	});
});

function answer(data: unknown, status = 200): Response {
	return new Response(JSON.stringify(data), { status });
}

describe("a live document", () => {
	// One that `fetch` has loaded.
	async function load(fetch: (url: string) => Promise<Response>) {
		vi.stubGlobal("fetch", fetch);
		const { connection, socket } = make();
		const live = live_doc(connection, "ToDo", "T-1");
		await vi.advanceTimersByTimeAsync(0);
		return { live, socket };
	}

	it("is loaded, and not again after its own save", async () => {
		const fetch = vi.fn(async (_url: string) => answer({ data: { name: "T-1", modified: "1" } }));
		vi.stubGlobal("fetch", fetch);
		const { connection, socket } = make();
		const live = live_doc(connection, "ToDo", "T-1");
		expect(live.snapshot).toEqual({ data: null, error: null, loading: true, stale: false, lost: false });
		await vi.advanceTimersByTimeAsync(0);
		expect(live.snapshot.data).toEqual({ name: "T-1", modified: "1" });
		expect(fetch.mock.calls[0]![0]).toBe("http://a.site/api/resource/ToDo/T-1");
		socket.fire("doc_update", { ...TODO, modified: "1" });
		await vi.advanceTimersByTimeAsync(5000);
		expect(fetch).toHaveBeenCalledTimes(1);
		socket.fire("doc_update", { ...TODO, modified: "2" });
		await vi.advanceTimersByTimeAsync(200);
		expect(fetch).toHaveBeenCalledTimes(2);
		live.stop();
	});

	it("keeps what it has when it cannot be loaded again", async () => {
		const fetch = vi.fn().mockResolvedValueOnce(answer({ data: { name: "T-1" } }));
		const { live, socket } = await load(fetch);
		fetch.mockRejectedValueOnce(new TypeError("Failed to fetch"));
		socket.fire("doc_update", TODO);
		await vi.advanceTimersByTimeAsync(200);
		expect(live.snapshot).toMatchObject({ data: { name: "T-1" }, stale: true, loading: false });
		expect(live.snapshot.error!.message).toBe("http://a.site/api/resource/ToDo/T-1 cannot be reached: Failed to fetch");
		fetch.mockResolvedValueOnce(answer({ data: { name: "T-1", done: 1 } }));
		await vi.advanceTimersByTimeAsync(2000);
		expect(live.snapshot).toMatchObject({ data: { done: 1 }, error: null, stale: false });
		live.stop();
	});

	it("is stale no more when the page has loaded it again before the next attempt", async () => {
		const fetch = vi.fn(async () => answer({ data: { name: "T-1" } }));
		const { live, socket } = await load(fetch);
		fetch.mockRejectedValueOnce(new TypeError("Failed to fetch"));
		socket.fire("doc_update", TODO);
		await vi.advanceTimersByTimeAsync(200);
		expect(live.snapshot.stale).toBe(true);
		await live.reload();
		expect(live.snapshot).toMatchObject({ error: null, stale: false });
		await vi.advanceTimersByTimeAsync(100_000);
		expect(fetch).toHaveBeenCalledTimes(3);
		live.stop();
	});

	it("stays stale when it has changed while the page was loading it again", async () => {
		const fetch = vi.fn(async () => answer({ data: { name: "T-1" } }));
		const { live, socket } = await load(fetch);
		const reloaded = live.reload();
		socket.fire("doc_update", TODO);
		await reloaded;
		expect(live.snapshot.stale).toBe(true);
		await vi.advanceTimersByTimeAsync(200);
		expect(live.snapshot.stale).toBe(false);
		expect(fetch).toHaveBeenCalledTimes(3);
		live.stop();
	});

	it("is loaded again although a subscriber fails", async () => {
		const report = vi.fn();
		vi.stubGlobal("queueMicrotask", report);
		const response: any = { ok: true, status: 200, json: async () => ({ data: { name: "T-1" } }) };
		const fetch = vi.fn(async () => response as Response);
		const { live, socket } = await load(fetch);
		const heard = vi.fn();
		live.subscribe(() => {
			throw new TypeError("no element");
		});
		live.subscribe(heard);
		socket.fire("doc_update", TODO);
		await vi.advanceTimersByTimeAsync(200);
		expect(fetch).toHaveBeenCalledTimes(2);
		expect(live.snapshot).toMatchObject({ error: null, stale: false, loading: false });
		expect(report.mock.calls.length).toBe(heard.mock.calls.length);
		expect(report.mock.calls[0]![0]).toThrow("no element");
		live.stop();
	});

	describe("with two requests under way", () => {
		async function two_requests() {
			const requests: { resolve(response: Response): void; reject(error: Error): void }[] = [];
			const fetch = () => new Promise<Response>((resolve, reject) => void requests.push({ resolve, reject }));
			vi.stubGlobal("fetch", vi.fn(fetch));
			const live = live_doc(make().connection, "ToDo", "T-1");
			const reloaded = live.reload();
			reloaded.catch(() => {});
			await vi.advanceTimersByTimeAsync(0);
			const [first, second] = requests as [(typeof requests)[0], (typeof requests)[0]];
			return { live, reloaded, first, second };
		}

		it("ignores the older answer after the newer one", async () => {
			const { live, reloaded, first, second } = await two_requests();
			second.resolve(answer({ data: { name: "T-1", modified: "2" } }));
			await reloaded;
			expect(live.snapshot).toMatchObject({ data: { modified: "2" }, loading: false });
			first.resolve(answer({ data: { name: "T-1", modified: "1" } }));
			await vi.advanceTimersByTimeAsync(0);
			expect(live.snapshot).toMatchObject({ data: { modified: "2" }, loading: false });
			live.stop();
		});

		it("shows the older answer until the newer one comes", async () => {
			const { live, first, second } = await two_requests();
			first.resolve(answer({ data: { name: "T-1", modified: "1" } }));
			await vi.advanceTimersByTimeAsync(0);
			expect(live.snapshot).toMatchObject({ data: { modified: "1" }, loading: true });
			second.resolve(answer({ data: { name: "T-1", modified: "2" } }));
			await vi.advanceTimersByTimeAsync(0);
			expect(live.snapshot).toMatchObject({ data: { modified: "2" }, loading: false });
			live.stop();
		});

		it("takes a refusal as the newer answer", async () => {
			const { live, reloaded, first, second } = await two_requests();
			second.resolve(answer({ exc_type: "PermissionError" }, 403));
			await expect(reloaded).rejects.toMatchObject({ status: 403 });
			first.resolve(answer({ data: { name: "T-1", modified: "1" } }));
			await vi.advanceTimersByTimeAsync(0);
			expect(live.snapshot).toMatchObject({ data: null, error: { status: 403 }, loading: false });
			live.stop();
		});

		it("shows the older answer if the newer request has failed", async () => {
			const { live, reloaded, first, second } = await two_requests();
			second.reject(new TypeError("Failed to fetch"));
			await expect(reloaded).rejects.toMatchObject({ status: 0 });
			first.resolve(answer({ data: { name: "T-1", modified: "1" } }));
			await vi.advanceTimersByTimeAsync(0);
			expect(live.snapshot).toMatchObject({ data: { modified: "1" }, error: null, loading: false });
			live.stop();
		});

		it("ignores the older failure after the newer answer", async () => {
			const { live, reloaded, first, second } = await two_requests();
			second.resolve(answer({ data: { name: "T-1", modified: "2" } }));
			await reloaded;
			first.reject(new TypeError("Failed to fetch"));
			await vi.advanceTimersByTimeAsync(0);
			expect(live.snapshot).toMatchObject({ data: { modified: "2" }, error: null, stale: false });
			live.stop();
		});
	});

	it("tries again when it cannot be loaded for the first time", async () => {
		const fetch = vi.fn().mockResolvedValueOnce(answer({}, 502)).mockResolvedValueOnce(answer({ data: { name: "T-1" } }));
		vi.stubGlobal("fetch", fetch);
		const live = live_doc(make().connection, "ToDo", "T-1");
		await vi.advanceTimersByTimeAsync(5000);
		expect(live.snapshot.data).toEqual({ name: "T-1" });
		live.stop();
	});

	it("is asked for once if the server refuses it", async () => {
		const fetch = vi.fn(async () => answer({ exc_type: "PermissionError" }, 403));
		const { live } = await load(fetch);
		await vi.advanceTimersByTimeAsync(100_000);
		expect(fetch).toHaveBeenCalledTimes(1);
		expect(live.snapshot).toMatchObject({ data: null, error: { status: 403 }, loading: false, stale: false });
		live.stop();
	});
});

describe("a live list", () => {
	it("sends its query as Frappe's REST API reads it", async () => {
		const fetch = vi.fn(async (_url: string) => answer({ data: [] }));
		vi.stubGlobal("fetch", fetch);
		const { connection } = make();
		const query = { fields: ["name", "status"], filters: { status: "Open" }, order_by: "modified desc", limit_page_length: 5 };
		const live = live_list(connection, "Sales Order", query);
		await vi.advanceTimersByTimeAsync(0);
		const url = new URL(fetch.mock.calls[0]![0]);
		expect(url.pathname).toBe("/api/resource/Sales%20Order");
		expect(Object.fromEntries(url.searchParams)).toEqual({
			fields: '["name","status"]',
			filters: '{"status":"Open"}',
			order_by: "modified desc",
			limit_page_length: "5",
		});
		expect(live.snapshot.data).toEqual([]);
		live.stop();
	});
});
