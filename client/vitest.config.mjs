import { fileURLToPath } from "node:url";

import { defineConfig } from "vitest/config";

const path = (name) => fileURLToPath(new URL(name, import.meta.url));

export default defineConfig({
	resolve: {
		alias: [
			{ find: /^@frappe-realtime\/(core|vue|yjs)$/, replacement: path("./$1/src/index.ts") },
			{ find: "@frappe-realtime/react", replacement: path("./react/src/index.tsx") },
			{ find: /^\.\/(diagnosis|presence|presences)\.js$/, replacement: path("../frappe_realtime/public/js/$1.js") },
		],
	},
	test: { include: ["tests/*.test.ts", "tests/*.test.tsx"], clearMocks: true },
});
