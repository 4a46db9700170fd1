// Builds /assets/frappe_realtime/js/realtime.js and what it imports from the sources of @frappe-realtime/core, for pages without a
// build step. The files are committed; `--check` fails if they are not those that the sources make.

import { createHash } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";

import ts from "typescript";

const SOURCES = new URL("core/src/", import.meta.url);
const PUBLIC = new URL("../frappe_realtime/public/js/", import.meta.url);

// Imports have the hash of the module in the query, because browsers keep the files of /assets. So a module comes after those that it
// imports. First those that need no build: only their imports are written.
const PLAIN = ["diagnosis", "presence", "presences"];
const MODULES = {
	api: "api.ts",
	calls: "calls.ts",
	local_events: "local_events.ts",
	page: "page.ts",
	progress_message: "progress_message.ts",
	subscriptions: "subscriptions.ts",
	token: "token.ts",
	reconnects: "reconnects.ts",
	connection: "connection.ts",
	load_io: "load_io.assets.ts",
	realtime: "realtime.ts",
};

const is_check = process.argv.includes("--check");
const different = [];

for (const name of PLAIN) write(name, readFileSync(new URL(`${name}.js`, PUBLIC), "utf8"));
for (const [name, source] of Object.entries(MODULES)) {
	const { outputText } = ts.transpileModule(readFileSync(new URL(source, SOURCES), "utf8"), {
		compilerOptions: {
			target: ts.ScriptTarget.ES2021,
			module: ts.ModuleKind.ESNext,
			useDefineForClassFields: false,
			verbatimModuleSyntax: true,
			newLine: ts.NewLineKind.LineFeed,
		},
	});
	write(name, `// Built by client/build_assets.mjs from client/core/src/${source}: change that file.\n\n${with_tabs(outputText)}`);
}

if (different.length) {
	console.error(`${different.join(", ")} must be built again: node client/build_assets.mjs`);
	process.exit(1);
}

function write(name, source) {
	const file = new URL(`${name}.js`, PUBLIC);
	const text = with_hashes(source);
	if (!is_check) writeFileSync(file, text);
	else if (readFileSync(file, "utf8") !== text) different.push(`${name}.js`);
}

function with_hashes(text) {
	return text.replace(/from "\.\/(\w+)\.js(?:\?v=\w+)?"/g, (_, name) => {
		const hash = createHash("sha256").update(readFileSync(new URL(`${name}.js`, PUBLIC))).digest("hex");
		return `from "./${name}.js?v=${hash.slice(0, 12)}"`;
	});
}

// The compiler indents with four spaces.
function with_tabs(text) {
	return text.replace(/^(?: {4})+/gm, (spaces) => "\t".repeat(spaces.length / 4));
}
