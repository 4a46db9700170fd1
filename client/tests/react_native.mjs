// Runs a module, `react_native.mjs MODULE FOLDER`, as an app of React Native would: with the builds of the packages that Metro takes, without
// what React Native lacks, and with its WebSocket, whose third argument has the headers. The module exports `start`.

import { dirname, join } from "node:path";

import { build } from "vite";
import NodeWebSocket from "ws";

const [entry, folder] = process.argv.slice(2);
await build({
	configFile: false,
	root: dirname(entry),
	logLevel: "error",
	define: { "process.env.NODE_ENV": '"production"' },
	resolve: { conditions: ["react-native", "browser"] },
	build: { outDir: folder, emptyOutDir: false, minify: false, lib: { entry, formats: ["es"], fileName: () => "app.mjs" } },
});

for (const [name, value] of Object.entries({ navigator: { product: "ReactNative" }, window: globalThis, crypto: undefined })) {
	Object.defineProperty(globalThis, name, { value, configurable: true });
}
globalThis.WebSocket = class WebSocket extends NodeWebSocket {
	constructor(url, protocols, { headers } = {}) {
		super(url, protocols ?? [], { headers: { ...headers, "User-Agent": "app/1 CFNetwork" } });
	}
};

const { start } = await import(join(folder, "app.mjs"));
await start();
