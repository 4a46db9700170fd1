// Pages that edit shared documents, many in one process, driven over lines of JSON: commands on standard input, answers on standard
// output. It uses the built packages.
//
// A command is {"id": n, "do": name, …} and is answered by {"id": n, "result": …} or {"id": n, "error": text}.

import readline from "node:readline";

import { connect } from "@frappe-realtime/core";
import { RealtimeProvider } from "@frappe-realtime/yjs";
import * as Y from "yjs";

const pages = new Map();

const commands = {
	// Open a page: a connection of its own, and a provider for a document.
	async open({ page, url, site, headers, doctype, name, field = "", transports = ["websocket"], text = "" }) {
		// The cookie is in the headers: a jar of cookies would replace it.
		const options = { extraHeaders: headers, withCredentials: false };
		const connection = await connect({ url, site, transports, forceNew: true, ...options });
		// The test is not to wait longer than it must.
		connection.socket.io.reconnectionDelay(50);
		connection.socket.io.reconnectionDelayMax(200);
		const doc = new Y.Doc();
		if (text) doc.getText("text").insert(0, text);
		const provider = new RealtimeProvider(connection, doctype, name, doc, { field });
		const one = { connection, doc, provider, errors: [], syncs: 0 };
		provider.on("error", ({ code }) => one.errors.push(code));
		provider.on("sync", (synced) => (one.syncs += synced));
		pages.set(page, one);
	},
	state({ page }) {
		const { doc, provider, errors, syncs, connection } = pages.get(page);
		const { status, synced, write, awareness } = provider;
		const cursors = Object.fromEntries([...awareness.getStates()].filter(([client]) => client !== doc.clientID));
		const text = doc.getText("text").toString();
		return { status, synced, write, text, errors, syncs, cursors, client: doc.clientID, sid: connection.socket.id };
	},
	// The different texts of all pages.
	texts: () => [...new Set([...pages.values()].map(({ doc }) => doc.getText("text").toString()))],
	insert({ page, index, text }) {
		pages.get(page).doc.getText("text").insert(index, text);
	},
	delete({ page, index, length }) {
		pages.get(page).doc.getText("text").delete(index, length);
	},
	cursor({ page, state }) {
		pages.get(page).provider.awareness.setLocalStateField("cursor", state);
	},
	// Break the TCP connection; the client connects again.
	cut({ page }) {
		pages.get(page).connection.socket.io.engine.close();
	},
	offline({ page }) {
		pages.get(page).connection.socket.disconnect();
	},
	online({ page }) {
		pages.get(page).connection.socket.connect();
	},
	emit({ page, event, args }) {
		const values = args.map((value) => (value?.bytes === undefined ? value : Uint8Array.from(value.bytes)));
		return pages.get(page).connection.emitWithAck(event, ...values);
	},
	leave({ page }) {
		pages.get(page).provider.destroy();
	},
	close({ page }) {
		const { provider, connection } = pages.get(page);
		provider.destroy();
		connection.close();
		pages.delete(page);
	},
	// Let all pages write: each inserts or deletes a character every `pause` milliseconds, `count` times.
	async write({ count, pause }) {
		for (let number = 0; number < count; number++) {
			for (const { doc } of pages.values()) {
				const text = doc.getText("text");
				if (text.length > 20 && Math.random() < 0.3) text.delete(Math.floor(Math.random() * text.length), 1);
				else text.insert(Math.floor(Math.random() * (text.length + 1)), String.fromCharCode(97 + (number % 26)));
			}
			await new Promise((resolve) => setTimeout(resolve, pause));
		}
	},
};

readline.createInterface({ input: process.stdin }).on("line", async (line) => {
	const { id, do: name, ...args } = JSON.parse(line);
	let answer;
	try {
		answer = { result: (await commands[name](args)) ?? null };
	} catch (error) {
		answer = { error: String(error?.stack ?? error) };
	}
	process.stdout.write(JSON.stringify({ id, ...answer }) + "\n");
});
process.stdin.on("end", () => process.exit(0));
