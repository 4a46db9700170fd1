// What tests/browser/test_packages.py does with @frappe-realtime/react.

import { RealtimeProvider, useDoc, useEvent, useList, usePresence, useProgress, useRealtime } from "@frappe-realtime/react";
import { useState } from "react";
import { createRoot } from "react-dom/client";

function Doc({ name }) {
	const { doc, stale, lost } = useDoc("ToDo", name);
	return <p className="doc">{`${doc?.description} ${stale} ${lost}`}</p>;
}

function List() {
	const { rows, error } = useList("ToDo", { fields: ["name"] });
	return <p className="list">{error?.message ?? rows?.map(({ name }) => name).join(" ")}</p>;
}

function Status() {
	const { status, emitWithAck } = useRealtime();
	const progress = useProgress();
	useEvent("news", (message) => window.seen.push(message));
	window.emitWithAck = emitWithAck;
	return <p className="status">{`${status} ${progress?.percent ?? ""}`}</p>;
}

function Here() {
	const { members, me, set } = usePresence({ doctype: "ToDo", name: "T-1" }, { at: "start" });
	window.set_state = set;
	return <p className="here">{me ? members.map(({ state }) => state.at).join(" ") : ""}</p>;
}

function Page() {
	const [shown, show] = useState(["first", "second", "list"]);
	window.show = (...names) => show(names);
	return (
		<>
			<Status />
			{shown.includes("here") && <Here key="here" />}
			{shown.includes("here too") && <Here key="here too" />}
			{shown.includes("first") && <Doc name="T-1" />}
			{shown.includes("second") && <Doc name="T-1" />}
			{shown.includes("list") && <List />}
		</>
	);
}

export function mount(element, options) {
	createRoot(element).render(
		<RealtimeProvider options={options}>
			<Page />
		</RealtimeProvider>,
	);
}
