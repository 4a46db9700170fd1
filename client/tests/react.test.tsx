// @vitest-environment happy-dom
import { afterEach, beforeEach, expect, it, vi } from "vitest";

import { RealtimeProvider, useDoc, useEvent, useList, useLive, usePresence, useProgress, useRealtime } from "@frappe-realtime/react";
import { act, StrictMode, useEffect, useLayoutEffect, type FC } from "react";
import { createRoot, type Root } from "react-dom/client";
import { FakeSocket, make } from "./fake_socket.js";

let root: Root | undefined;
(globalThis as any).IS_REACT_ACT_ENVIRONMENT = true;

beforeEach(() => {
	vi.useFakeTimers();
	vi.stubGlobal("fetch", vi.fn(async (url: string) => new Response(JSON.stringify({ data: { url } }))));
});
afterEach(() => {
	act(() => root?.unmount());
	root = undefined;
	vi.useRealTimers();
	vi.unstubAllGlobals();
});

async function mount<P extends object>(Page: FC<P>, props: P) {
	const { connection, socket } = make();
	const element = document.createElement("div");
	root = createRoot(element);
	const render = (now: P) =>
		act(async () =>
			root!.render(
				<StrictMode>
					<RealtimeProvider options={connection}>
						<Page {...now} />
					</RealtimeProvider>
				</StrictMode>,
			),
		);
	await render(props);
	return { socket, render, text: () => element.textContent };
}

const wait = (milliseconds: number) => act(async () => void (await vi.advanceTimersByTimeAsync(milliseconds)));

it("shows the status of the connection", async () => {
	const { socket, text } = await mount(() => <p>{useRealtime().status}</p>, {});
	expect(text()).toBe("connected");
	act(() => socket.lose());
	expect(text()).toBe("lost");
});

it("opens no connection for what a component sends when it goes", async () => {
	const io = vi.fn((url: string, options: any) => new FakeSocket(url, options));
	const Page = () => {
		const { emit } = useRealtime();
		useEffect(() => () => emit("page_closed"), [emit]);
		return null;
	};
	const options = { io: io as any, site: "a.site", url: "http://a.site" };
	root = createRoot(document.createElement("div"));
	await act(async () =>
		root!.render(
			<RealtimeProvider options={options}>
				<Page />
			</RealtimeProvider>,
		),
	);
	await act(async () => root!.unmount());
	root = undefined;
	expect(io).toHaveBeenCalledTimes(1);
});

it("calls the newest listener of an event, while the component exists", async () => {
	const seen: unknown[] = [];
	const Page = ({ value }: { value: number }) => {
		useEvent("news", (message) => seen.push([value, message]));
		return null;
	};
	const { socket, render } = await mount(Page, { value: 1 });
	socket.fire("news", "a");
	await render({ value: 2 });
	socket.fire("news", "b");
	await act(async () => root!.unmount());
	socket.fire("news", "c");
	expect(seen).toEqual([
		[1, "a"],
		[2, "b"],
	]);
	root = undefined;
});

it("shows another document when the name changes, and leaves the first", async () => {
	const Page = ({ name }: { name: string | null }) => <p>{useDoc("ToDo", name).doc?.url ?? "nothing"}</p>;
	const { socket, render, text } = await mount<{ name: string | null }>(Page, { name: null });
	expect(text()).toBe("nothing");
	await render({ name: "T-1" });
	await wait(0);
	expect(text()).toBe("http://a.site/api/resource/ToDo/T-1");
	socket.sent.length = 0;
	await render({ name: "T-2" });
	await wait(0);
	expect(text()).toBe("http://a.site/api/resource/ToDo/T-2");
	expect(socket.sent).toEqual([
		["doc_unsubscribe", "ToDo", "T-1"],
		["doc_subscribe", "ToDo", "T-2"],
	]);
});

it("loads nothing without a name", async () => {
	const Page = ({ name }: { name: string | null }) => <p>{String(useDoc("ToDo", name).loading)}</p>;
	const { render, text } = await mount<{ name: string | null }>(Page, { name: null });
	await wait(0);
	expect(text()).toBe("false");
	await render({ name: "T-1" });
	await wait(0);
	await render({ name: "" });
	expect(text()).toBe("false");
	expect(vi.mocked(fetch).mock.calls.map(([url]) => url)).toEqual(["http://a.site/api/resource/ToDo/T-1"]);
});

it.each([
	["useDoc", (name: string) => useDoc("ToDo", name)],
	["useList", (name: string) => useList(name)],
])("never shows what belongs to another name: %s", async (_, use) => {
	const commits: unknown[] = [];
	const Page = ({ name }: { name: string }) => {
		const { loading, ...shown } = use(name);
		const data: any = "doc" in shown ? shown.doc : shown.rows;
		useLayoutEffect(() => void commits.push([name, data?.url.split("/").at(-1) ?? null, loading]));
		return null;
	};
	const { render } = await mount(Page, { name: "T-1" });
	await wait(0);
	expect(commits.at(-1)).toEqual(["T-1", "T-1", false]);
	commits.length = 0;
	await render({ name: "T-2" });
	await wait(0);
	expect(commits[0]).toEqual(["T-2", null, true]);
	expect(commits).not.toContainEqual(["T-2", "T-1", expect.anything()]);
	expect(commits.at(-1)).toEqual(["T-2", "T-2", false]);
});

it("never shows who is in another place", async () => {
	const commits: unknown[] = [];
	const Page = ({ name }: { name: string }) => {
		const { members, count } = usePresence({ doctype: "ToDo", name });
		useLayoutEffect(() => void commits.push([name, members.length, count]));
		return null;
	};
	const { socket, render } = await mount(Page, { name: "T-1" });
	const me = { id: "1", user: "ann", full_name: "Ann", joined_at: 1, version: 1, state: {} };
	const joins = socket.sent.filter(([event]) => event === "frappe_realtime:presence_join");
	await act(async () => joins.at(-1)!.at(-1)(null, { me, members: [me], count: 1 }));
	expect(commits.at(-1)).toEqual(["T-1", 1, 1]);
	commits.length = 0;
	await render({ name: "T-2" });
	expect(commits[0]).toEqual(["T-2", 0, 0]);
	expect(commits).not.toContainEqual(["T-2", 1, 1]);
});

it("is nowhere while the name of the document is missing", async () => {
	const Page = ({ name }: { name?: string | null }) => (usePresence({ doctype: "ToDo", name }), null);
	const { socket, render } = await mount<{ name?: string | null }>(Page, { name: "T-1" });
	for (const name of [undefined, null, ""]) {
		await render({ name: "T-1" });
		await render({ name });
		expect(socket.sent.at(-1)!.slice(0, 2)).toEqual(["frappe_realtime:presence_leave", "doc:ToDo/T-1"]);
	}
	const joins = socket.sent.filter(([event]) => event === "frappe_realtime:presence_join");
	expect([...new Set(joins.map(([, place]) => place))]).toEqual(["doc:ToDo/T-1"]);
});

it("is nowhere while the room is not known", async () => {
	const Page = ({ room }: { room?: string | null }) => (usePresence({ room }), null);
	const { socket, render } = await mount<{ room?: string | null }>(Page, { room: null });
	for (const room of [undefined, ""]) await render({ room });
	expect(socket.sent).toEqual([]);
	await render({ room: "chat:1" });
	expect(socket.sent.at(-1)!.slice(0, 2)).toEqual(["frappe_realtime:presence_join", "room:chat:1"]);
});

it("is nowhere while the place is not known, and at the site with a place that has no names", async () => {
	const Page = ({ place }: { place?: object | null }) => (usePresence(place), null);
	const { socket, render } = await mount<{ place?: object | null }>(Page, { place: undefined });
	await render({ place: null });
	expect(socket.sent).toEqual([]);
	await render({ place: {} });
	expect(socket.sent.at(-1)!.slice(0, 2)).toEqual(["frappe_realtime:presence_join", "site"]);
});

it("loads a list again when a document changes, and not with each render", async () => {
	const Page = () => {
		const { rows, stale } = useList("ToDo", { filters: { status: "Open" } });
		return <p>{`${decodeURIComponent((rows as any)?.url ?? "")} ${stale}`}</p>;
	};
	const { socket, render, text } = await mount(Page, {});
	await wait(0);
	await render({});
	expect(text()).toBe('http://a.site/api/resource/ToDo?filters={"status":"Open"} false');
	const before = vi.mocked(fetch).mock.calls.length;
	act(() => socket.fire("list_update", { doctype: "ToDo" }));
	expect(text()).toMatch(/ true$/);
	await wait(200);
	expect(text()).toMatch(/ false$/);
	expect(fetch).toHaveBeenCalledTimes(before + 1);
});

it("follows the progress of this page, or of a task", async () => {
	const Page = ({ task }: { task?: string }) => <p>{useProgress(task)?.percent ?? "none"}</p>;
	const { socket, render, text } = await mount<{ task?: string }>(Page, {});
	act(() => socket.fire("progress", { percent: 10 }));
	expect(text()).toBe("10");
	await render({ task: "job-1" });
	expect(text()).toBe("none");
	act(() => socket.fire("task_progress", { task_id: "job-2", percent: 1 }));
	act(() => socket.fire("task_progress", { task_id: "job-1", percent: 20 }));
	expect(text()).toBe("20");
	await render({});
	expect(text()).toBe("none");
});

it("never shows the progress of another task", async () => {
	const commits: unknown[] = [];
	const Page = ({ task }: { task: string }) => {
		const percent = useProgress(task)?.percent ?? null;
		useLayoutEffect(() => void commits.push([task, percent]));
		return null;
	};
	const { socket, render } = await mount(Page, { task: "job-1" });
	act(() => socket.fire("task_progress", { task_id: "job-1", percent: 20 }));
	expect(commits.at(-1)).toEqual(["job-1", 20]);
	await render({ task: "job-2" });
	expect(commits).not.toContainEqual(["job-2", 20]);
	await render({ task: "job-1" });
	expect(commits.at(-1)).toEqual(["job-1", null]);
});

it("reloads what a hook of frappe-react-sdk has loaded", async () => {
	const mutate = vi.fn();
	const Page = () => <p>{String(useLive({ mutate }, { doctype: "ToDo" }).stale)}</p>;
	const { socket, text } = await mount(Page, {});
	act(() => socket.fire("list_update", { doctype: "ToDo" }));
	expect(text()).toBe("true");
	await wait(200);
	expect(mutate).toHaveBeenCalledTimes(1);
	expect(text()).toBe("false");
});
