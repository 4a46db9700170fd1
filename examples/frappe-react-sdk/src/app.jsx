import { useLive } from "@frappe-realtime/react";
import { useFrappeGetCall, useFrappeGetDoc, useFrappeGetDocCount, useFrappeGetDocList } from "frappe-react-sdk";

export function App() {
	// A list as a hook of frappe-react-sdk, and the line that makes it live.
	const todos = useFrappeGetDocList("ToDo", { fields: ["name", "description"] });
	const { stale, lost } = useLive(todos, { doctype: "ToDo" });

	const count = useFrappeGetDocCount("ToDo");
	useLive(count, { doctype: "ToDo" });

	// Any method of the site, by what it depends on.
	const names = useFrappeGetCall("frappe.client.get_list", { doctype: "ToDo", fields: '["name"]' });
	useLive(names, { doctype: "ToDo" });

	const first = useFrappeGetDoc("ToDo", "T-1");
	useLive(first, { doctype: "ToDo", name: "T-1" });

	return (
		<>
			<p className="state">{lost ? "paused" : stale ? "changed" : "live"}</p>
			<p className="list">{todos.data?.map(({ name, description }) => `${name} ${description}`).join(", ")}</p>
			<p className="names">{names.data?.message.map(({ name }) => name).join(" ")}</p>
			<p className="count">{count.data}</p>
			<p className="document">{first.data?.description}</p>
		</>
	);
}
