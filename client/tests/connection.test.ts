import { afterEach, expect, it, vi } from "vitest";

import { lazy_connection, page_id } from "@frappe-realtime/core";
import { make } from "./fake_socket.js";

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

it("is opened when it is needed, and again after it was closed", () => {
	const io = vi.fn(() => make().socket);
	const lazy = lazy_connection({ io: io as any, site: "a.site", url: "http://a.site" });
	expect(io).not.toHaveBeenCalled();
	expect(lazy.get()).toBe(lazy.get());
	lazy.close();
	lazy.get();
	expect(io).toHaveBeenCalledTimes(2);
	const { connection } = make();
	const given = lazy_connection(connection);
	given.close();
	expect(connection.status).toBe("connected");
});
