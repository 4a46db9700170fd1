// @vitest-environment happy-dom
import { afterEach, beforeEach, expect, it, vi } from "vitest";

import { createRealtime, useDoc, useEvent, useList, useLive, usePresence, useProgress, useRealtime } from "@frappe-realtime/vue";
import { createApp, h, KeepAlive, nextTick, onUnmounted, ref, shallowRef, type App } from "vue";
import { FakeSocket, make } from "./fake_socket.js";

let app: App | undefined;

beforeEach(() => {
	vi.useFakeTimers();
	vi.stubGlobal("fetch", vi.fn(async (url: string) => new Response(JSON.stringify({ data: { url } }))));
});
afterEach(() => {
	app?.unmount();
	app = undefined;
	vi.useRealTimers();
	vi.unstubAllGlobals();
});

function mount(setup: () => () => unknown) {
	const { connection, socket } = make();
	const element = document.createElement("div");
	app = createApp({ setup: () => { const render = setup(); return () => h("p", String(render())); } });
	app.use(createRealtime(connection));
	app.mount(element);
	return { connection, socket, text: () => element.textContent };
}

const settle = async (milliseconds = 0) => {
	await vi.advanceTimersByTimeAsync(milliseconds);
	await nextTick();
};

it("shows the status of the connection", async () => {
	const { socket, text } = mount(() => {
		const { status } = useRealtime();
		return () => status.value;
	});
	await settle();
	expect(text()).toBe("connected");
	socket.lose();
	await settle();
	expect(text()).toBe("lost");
});

it("opens no connection for what a component sends when it goes", () => {
	const io = vi.fn((url: string, options: any) => new FakeSocket(url, options));
	app = createApp({
		setup() {
			const { emit } = useRealtime();
			onUnmounted(() => emit("page_closed"));
			return () => null;
		},
	});
	app.use(createRealtime({ io: io as any, site: "a.site", url: "http://a.site" }));
	app.mount(document.createElement("div"));
	app.unmount();
	app = undefined;
	expect(io).toHaveBeenCalledTimes(1);
});

it("listens to an event while the component exists", async () => {
	const seen: unknown[] = [];
	const { socket } = mount(() => {
		useEvent("news", (message) => seen.push(message));
		return () => "";
	});
	await settle();
	socket.fire("news", 1);
	app!.unmount();
	app = undefined;
	socket.fire("news", 2);
	expect(seen).toEqual([1]);
});

it("shows another document when the name changes, and leaves the first", async () => {
	const name = ref<string | null>(null);
	const { socket, text } = mount(() => {
		const { doc } = useDoc("ToDo", name);
		return () => doc.value?.url ?? "nothing";
	});
	await settle();
	expect(text()).toBe("nothing");
	name.value = "T-1";
	await settle();
	expect(text()).toBe("http://a.site/api/resource/ToDo/T-1");
	name.value = "T-2";
	await settle();
	expect(text()).toBe("http://a.site/api/resource/ToDo/T-2");
	app!.unmount();
	app = undefined;
	expect(socket.sent).toEqual([
		["doc_subscribe", "ToDo", "T-1"],
		["doc_unsubscribe", "ToDo", "T-1"],
		["doc_subscribe", "ToDo", "T-2"],
		["doc_unsubscribe", "ToDo", "T-2"],
	]);
});

it("loads nothing without a name", async () => {
	const name = ref<string | null>(null);
	const { text } = mount(() => {
		const { loading } = useDoc("ToDo", name);
		return () => loading.value;
	});
	await settle();
	expect(text()).toBe("false");
	name.value = "T-1";
	await nextTick();
	expect(text()).toBe("true");
	await settle();
	expect(text()).toBe("false");
	name.value = "";
	await settle();
	expect(text()).toBe("false");
	expect(fetch).toHaveBeenCalledTimes(1);
});

it("begins nothing anew when what it reads is another object with the same values", async () => {
	const route = shallowRef({ doctype: "ToDo", name: "T-1", task: "job-1", tab: "a" });
	const { socket } = mount(() => {
		const { doc } = useDoc(() => route.value.doctype, () => route.value.name);
		useList(() => route.value.doctype, () => ({ filters: { parent: route.value.name } }));
		usePresence(() => ({ doctype: route.value.doctype, name: route.value.name }));
		useLive({ reload() {} }, () => ({ doctype: "Note", name: route.value.name }));
		useProgress(() => route.value.task);
		return () => doc.value?.url ?? "nothing";
	});
	await settle();
	const sent = [...socket.sent];
	expect(sent.map(([event]) => event)).toEqual([
		"doc_subscribe",
		"doctype_subscribe",
		"frappe_realtime:presence_join",
		"doc_subscribe",
		"task_subscribe",
	]);
	route.value = { ...route.value, tab: "b" };
	await settle();
	expect(socket.sent).toEqual(sent);
	expect(fetch).toHaveBeenCalledTimes(2);
});

it("loads a list again when its query or a document changes", async () => {
	const query = ref({ filters: { status: "Open" } });
	const { socket, text } = mount(() => {
		const { rows, stale } = useList("ToDo", query);
		return () => `${decodeURIComponent((rows.value as any)?.url ?? "")} ${stale.value}`;
	});
	await settle();
	expect(text()).toBe('http://a.site/api/resource/ToDo?filters={"status":"Open"} false');
	socket.fire("list_update", { doctype: "ToDo" });
	await settle();
	expect(text()).toMatch(/ true$/);
	await settle(200);
	expect(text()).toMatch(/ false$/);
	expect(fetch).toHaveBeenCalledTimes(2);
	query.value.filters.status = "Closed";
	await settle();
	expect(text()).toContain("Closed");
});

it("follows the progress of this page, or of a task", async () => {
	const task = ref<string | null>(null);
	const { socket, text } = mount(() => {
		const progress = useProgress(task);
		return () => progress.value?.percent ?? "none";
	});
	await settle();
	socket.fire("progress", { percent: 10 });
	await settle();
	expect(text()).toBe("10");
	task.value = "job-1";
	await settle();
	expect(text()).toBe("none");
	socket.fire("task_progress", { task_id: "job-2", percent: 1 });
	socket.fire("task_progress", { task_id: "job-1", percent: 20 });
	socket.fire("progress", { percent: 30 });
	await settle();
	expect(text()).toBe("20");
	expect(socket.sent).toEqual([["task_subscribe", "job-1"]]);
});

it("shows the own state as it is now", async () => {
	let change!: (state: object) => void;
	const { socket, text } = mount(() => {
		const { me, set } = usePresence({ doctype: "ToDo", name: "T-1" });
		change = set;
		return () => me.value?.state.field ?? "none";
	});
	await settle();
	const me = { id: "1", user: "ann", full_name: "Ann", joined_at: 1, version: 1, state: {} };
	socket.sent.at(-1)!.at(-1)(null, { me, members: [], count: 1 });
	await settle();
	expect(text()).toBe("none");
	change({ field: "due" });
	await settle();
	expect(text()).toBe("due");
});

it("is nowhere while the name of the document is missing", async () => {
	const name = ref<string | null>();
	const { socket } = mount(() => {
		usePresence(() => ({ doctype: "ToDo", name: name.value }));
		return () => "";
	});
	await settle();
	expect(socket.sent).toEqual([]);
	for (const missing of [undefined, null, ""]) {
		name.value = "T-1";
		await settle();
		name.value = missing;
		await settle();
		expect(socket.sent.at(-1)!.slice(0, 2)).toEqual(["frappe_realtime:presence_leave", "doc:ToDo/T-1"]);
	}
	const joins = socket.sent.filter(([event]) => event === "frappe_realtime:presence_join");
	expect([...new Set(joins.map(([, place]) => place))]).toEqual(["doc:ToDo/T-1"]);
});

it("is nowhere while the room is not known", async () => {
	const room = ref<string | null>();
	const { socket } = mount(() => {
		usePresence(() => ({ room: room.value }));
		return () => "";
	});
	await settle();
	for (const missing of [null, ""]) {
		room.value = missing;
		await settle();
	}
	expect(socket.sent).toEqual([]);
	room.value = "chat:1";
	await settle();
	expect(socket.sent.map((packet) => packet.slice(0, 2))).toEqual([["frappe_realtime:presence_join", "room:chat:1"]]);
});

it.each([
	["a value", undefined],
	["a ref", ref(undefined)],
	["a getter", () => undefined],
])("is nowhere while %s is undefined", async (_, place) => {
	const { socket } = mount(() => {
		usePresence(place);
		return () => "";
	});
	await settle();
	expect(socket.sent).toEqual([]);
});

it("is at the site with a place that has no names", async () => {
	const { socket } = mount(() => {
		usePresence({});
		return () => "";
	});
	await settle();
	expect(socket.sent.map((packet) => packet.slice(0, 2))).toEqual([["frappe_realtime:presence_join", "site"]]);
});

it("reloads a resource of frappe-ui", async () => {
	const resource = { doctype: "ToDo", reload: vi.fn() };
	const { socket } = mount(() => {
		const { stale } = useLive(resource);
		return () => stale.value;
	});
	await settle();
	socket.fire("list_update", { doctype: "ToDo" });
	await settle(200);
	expect(resource.reload).toHaveBeenCalledTimes(1);
});

it("holds nothing on the server while <KeepAlive> does not show the component", async () => {
	const is_shown = ref(true);
	const resource = { reload: vi.fn() };
	const Child = {
		setup() {
			useDoc("ToDo", "T-1");
			useList("ToDo");
			usePresence({ doctype: "ToDo", name: "T-1" });
			useLive(resource, { doctype: "Note", name: "N-1" });
			useProgress("job-1");
			return () => "";
		},
	};
	// What is around the composables may be below the component that is kept.
	const Parent = { setup: () => () => h(Child) };
	const { connection, socket } = make();
	app = createApp({ setup: () => () => h(KeepAlive, () => (is_shown.value ? h(Parent) : null)) });
	app.use(createRealtime(connection));
	app.mount(document.createElement("div"));
	const names = () => socket.sent.splice(0).map(([event]) => event.replace("frappe_realtime:", "")).sort();
	const joined = ["doc_subscribe", "doc_subscribe", "doctype_subscribe", "presence_join", "task_subscribe"];
	const left = ["doc_unsubscribe", "doc_unsubscribe", "doctype_unsubscribe", "presence_leave", "task_unsubscribe"];
	await settle();
	expect(names()).toEqual(joined);
	for (let time = 0; time < 2; time++) {
		is_shown.value = false;
		await settle();
		expect(names()).toEqual(left);
		is_shown.value = true;
		await settle();
		expect(names()).toEqual(joined);
	}
	is_shown.value = false;
	await settle();
	names();
	app.unmount();
	app = undefined;
	expect(names()).toEqual([]);
});

it("loads again what may have changed while <KeepAlive> did not show the component", async () => {
	const is_shown = ref(true);
	const name = ref("T-1");
	const resource = { reload: vi.fn() };
	const Child = {
		setup() {
			const { doc } = useDoc("ToDo", name);
			useLive(resource, () => ({ doctype: "ToDo", name: name.value }));
			return () => doc.value?.url;
		},
	};
	const { connection } = make();
	const element = document.createElement("div");
	app = createApp({ setup: () => () => h(KeepAlive, () => (is_shown.value ? h(Child) : null)) });
	app.use(createRealtime(connection));
	app.mount(element);
	await settle(200);
	expect(resource.reload).not.toHaveBeenCalled();
	is_shown.value = false;
	await settle();
	vi.mocked(fetch).mockClear();
	is_shown.value = true;
	await settle(200);
	expect(fetch).toHaveBeenCalledTimes(1);
	expect(resource.reload).toHaveBeenCalledTimes(1);
	expect(element.textContent).toBe("http://a.site/api/resource/ToDo/T-1");
	// A target that is another one is loaded by who changes it.
	name.value = "T-2";
	await settle(200);
	expect(resource.reload).toHaveBeenCalledTimes(1);
});

it("goes on to listen to events while <KeepAlive> does not show the component", async () => {
	const is_shown = ref(true);
	const seen: unknown[] = [];
	const Child = { setup: () => (useEvent("news", (message) => seen.push(message)), () => "") };
	const { connection, socket } = make();
	app = createApp({ setup: () => () => h(KeepAlive, () => (is_shown.value ? h(Child) : null)) });
	app.use(createRealtime(connection));
	app.mount(document.createElement("div"));
	await settle();
	is_shown.value = false;
	await settle();
	socket.fire("news", 1);
	expect(seen).toEqual([1]);
});
