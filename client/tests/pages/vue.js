// What tests/browser/test_packages.py does with @frappe-realtime/vue.

import { createRealtime, useDoc, useEvent, useList, usePresence, useProgress, useRealtime } from "@frappe-realtime/vue";
import { createApp, defineComponent, h, ref } from "vue";

const Doc = defineComponent({
	props: ["name"],
	setup(props) {
		const { doc, stale, lost } = useDoc("ToDo", () => props.name);
		return () => h("p", { class: "doc" }, `${doc.value?.description} ${stale.value} ${lost.value}`);
	},
});

const List = defineComponent({
	setup() {
		const { rows, error } = useList("ToDo", { fields: ["name"] });
		return () => h("p", { class: "list" }, error.value?.message ?? rows.value?.map(({ name }) => name).join(" "));
	},
});

const Status = defineComponent({
	setup() {
		const { status, emitWithAck } = useRealtime();
		const progress = useProgress();
		useEvent("news", (message) => window.seen.push(message));
		window.emitWithAck = emitWithAck;
		return () => h("p", { class: "status" }, `${status.value} ${progress.value?.percent ?? ""}`);
	},
});

const Here = defineComponent({
	setup() {
		const { members, me, set } = usePresence({ doctype: "ToDo", name: "T-1" }, { at: "start" });
		window.set_state = set;
		return () => h("p", { class: "here" }, me.value ? members.value.map(({ state }) => state.at).join(" ") : "");
	},
});

export function mount(element, options) {
	const shown = ref(["first", "second", "list"]);
	window.show = (...names) => (shown.value = names);
	const app = createApp({
		setup: () => () => [
			h(Status),
			shown.value.includes("here") && h(Here, { key: "here" }),
			shown.value.includes("here too") && h(Here, { key: "here too" }),
			shown.value.includes("first") && h(Doc, { name: "T-1", key: "first" }),
			shown.value.includes("second") && h(Doc, { name: "T-1", key: "second" }),
			shown.value.includes("list") && h(List),
		],
	});
	app.use(createRealtime(options));
	app.mount(element);
}
