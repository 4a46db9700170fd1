// Builds the pages of tests/browser/test_packages.py with Vite, as an app would, into .cache/client/pages.

import { fileURLToPath } from "node:url";

import { build } from "vite";

const path = (name) => fileURLToPath(new URL(name, import.meta.url));

for (const name of ["vue", "react"]) {
	await build({
		configFile: false,
		root: path("."),
		logLevel: "warn",
		define: { "process.env.NODE_ENV": '"production"', __VUE_OPTIONS_API__: "false", __VUE_PROD_DEVTOOLS__: "false" },
		resolve: {
			alias: { "frappe-ui": path("./frappe_ui.js") },
			dedupe: ["vue", "react"],
		},
		build: {
			outDir: path("../../../.cache/client/pages"),
			emptyOutDir: false,
			minify: false,
			lib: { entry: path(`./${name}.${name === "react" ? "jsx" : "js"}`), formats: ["es"], fileName: () => `${name}.js` },
		},
	});
}
