// Builds the npm packages into their folders dist/.

import { fileURLToPath } from "node:url";

import { build } from "tsdown";

const HERE = fileURLToPath(new URL(".", import.meta.url));
const PUBLIC = fileURLToPath(new URL("../frappe_realtime/public/js/", import.meta.url));

const ENTRIES = { core: "src/index.ts", vue: "src/index.ts", react: "src/index.tsx", yjs: "src/index.ts" };

// Modules without a build step are the same file in /assets and in the package. Their imports of one another have a hash in the
// query, because browsers keep the files of /assets.
const from_public = {
	name: "from-public",
	resolveId(source) {
		const [, name] = /^\.\/(diagnosis|presence|presence_state|presences|remedies)\.js(?:\?v=\w+)?$/.exec(source) ?? [];
		return name ? `${PUBLIC}${name}.js` : null;
	},
};

for (const [name, entry] of Object.entries(ENTRIES)) {
	await build({
		config: false,
		cwd: HERE + name,
		entry: [entry],
		format: "esm",
		platform: "neutral",
		target: "es2021",
		dts: true,
		tsconfig: `${HERE}tsconfig.build.json`,
		outExtensions: () => ({ js: ".js", dts: ".d.ts" }),
		plugins: [from_public],
		logLevel: "warn",
	});
}
