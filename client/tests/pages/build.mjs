// Builds the pages of tests/browser with Vite, as an app would, into .cache/client/pages.

import { fileURLToPath } from "node:url";

import { build } from "vite";

const path = (name) => fileURLToPath(new URL(name, import.meta.url));

const PAGES = {
	vue: path("./vue.js"),
	react: path("./react.jsx"),
	shared_editing: path("../../../examples/shared-editing/src/main.js"),
};

// An example has no packages of its own here: it takes those of the tests.
const packages_of_tests = {
	name: "packages-of-tests",
	resolveId(source, importer) {
		if (!importer?.includes("/examples/") || source.startsWith(".")) return null;
		return this.resolve(source, PAGES.vue);
	},
};

for (const [name, entry] of Object.entries(PAGES)) {
	await build({
		configFile: false,
		root: path("."),
		logLevel: "warn",
		plugins: [packages_of_tests],
		define: { "process.env.NODE_ENV": '"production"', __VUE_OPTIONS_API__: "false", __VUE_PROD_DEVTOOLS__: "false" },
		resolve: {
			dedupe: ["vue", "react", "yjs"],
		},
		build: {
			outDir: path("../../../.cache/client/pages"),
			emptyOutDir: false,
			minify: false,
			lib: { entry, formats: ["es"], fileName: () => `${name}.js` },
		},
	});
}
