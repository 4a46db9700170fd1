// @vitest-environment node
import { expect, it, vi } from "vitest";

import * as react from "@frappe-realtime/react";
import { createRealtime, useDoc, useEvent, useList, useLive, useProgress, useRealtime } from "@frappe-realtime/vue";
import { renderToString } from "react-dom/server";
import { createSSRApp, h } from "vue";
import { renderToString as render_vue } from "vue/server-renderer";

const io = vi.fn();
const options = { io, site: "a.site", url: "http://a.site" };
const resource = { doctype: "ToDo", reload: () => {} };

it("Vue pages are rendered on a server without a connection", async () => {
	const app = createSSRApp({
		setup() {
			const { status } = useRealtime();
			const { doc, loading } = useDoc("ToDo", "T-1");
			const { rows } = useList("ToDo");
			const { stale, lost } = useLive(resource);
			const progress = useProgress();
			useEvent("news", () => {});
			return () =>
				h("p", [status.value, doc.value, loading.value, rows.value, stale.value, lost.value, progress.value].join(" "));
		},
	});
	app.use(createRealtime(options));
	expect(await render_vue(app)).toBe("<p>connecting  true  false false </p>");
	expect(io).not.toHaveBeenCalled();
});

it("React pages are rendered on a server without a connection", () => {
	function Page() {
		const { status } = react.useRealtime();
		const { doc, loading } = react.useDoc("ToDo", "T-1");
		const { rows } = react.useList("ToDo");
		const { stale, lost } = react.useLive(() => {}, { doctype: "ToDo" });
		const progress = react.useProgress();
		react.useEvent("news", () => {});
		return <p>{[status, doc, loading, rows, stale, lost, progress].join(" ")}</p>;
	}
	const html = renderToString(
		<react.RealtimeProvider options={options}>
			<Page />
		</react.RealtimeProvider>,
	);
	expect(html).toBe("<p>connecting  true  false false </p>");
	expect(io).not.toHaveBeenCalled();
});

it("says what is missing without a connection", async () => {
	const app = createSSRApp({ setup: () => (useRealtime(), () => null) });
	app.config.warnHandler = () => {};
	await expect(render_vue(app)).rejects.toThrow("call app.use(createRealtime())");
	const Page = () => (react.useRealtime(), null);
	expect(() => renderToString(<Page />)).toThrow("put <RealtimeProvider>");
});
