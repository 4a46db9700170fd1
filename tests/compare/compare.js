"use strict";
// Runs a conversation with each of two realtime servers of the same bench, and compares the packets that the clients receive:
// node compare.js [--quiet MS] --site SITE --cookie NAME=SID … URL URL CONVERSATION.js …
//
// A conversation is a module that exports `async ({ connect, settle }) => { … }`. `await connect(name)` returns a
// socket.io-client of the user whose cookie has this name; the same name again returns another socket of that user.
// `await settle()` waits until no packet has arrived for `--quiet` milliseconds. The exit code is 1 when packets differ.
//
// socket.io-client is loaded by Node's rules: set NODE_PATH to a folder that contains it.

const path = require("node:path");
const { io } = require(process.env.SOCKET_IO_CLIENT || "socket.io-client");

function parse_arguments(list) {
	const options = { quiet: 250, cookies: {}, urls: [], conversations: [] };
	for (let index = 0; index < list.length; index++) {
		if (list[index] === "--site") options.site = list[++index];
		else if (list[index] === "--quiet") options.quiet = Number(list[++index]);
		else if (list[index] === "--cookie") {
			const [name, ...sid] = list[++index].split("=");
			options.cookies[name] = sid.join("=");
		} else if (options.urls.length < 2) options.urls.push(list[index]);
		else options.conversations.push(path.resolve(list[index]));
	}
	if (!options.site || options.conversations.length === 0) {
		console.error("usage: compare.js [--quiet MS] --site SITE --cookie NAME=SID … URL URL CONVERSATION.js …");
		process.exit(2);
	}
	return options;
}

/** Run a conversation; return the packets of each socket by its name, as text with the socket ids replaced. */
async function run(conversation, url, options) {
	const names = new Map();
	const received = new Map();
	const sockets = [];
	let last_packet = Date.now();

	const connect = async (name) => {
		const unique = received.has(name) ? `${name} ${received.size}` : name;
		const packets = [];
		received.set(unique, packets);
		const { port } = new URL(url);
		const socket = io(`${url}/${options.site}`, {
			forceNew: true,
			reconnection: false,
			transports: ["websocket"],
			// Without recovery, events have no offset as their last argument.
			auth: { recovery: false },
			extraHeaders: {
				Host: `${options.site}:${port}`,
				Origin: `http://${options.site}:${port}`,
				Cookie: `sid=${options.cookies[name]}`,
			},
		});
		sockets.push(socket);
		socket.io.on("open", () =>
			socket.io.engine.on("message", (data) => {
				last_packet = Date.now();
				packets.push(typeof data === "string" ? data : `binary ${Buffer.from(data).toString("hex")}`);
			}),
		);
		await new Promise((resolve, reject) => {
			const timer = setTimeout(() => reject(new Error(`${url} has not connected ${name} within 20 s`)), 20_000);
			socket.once("connect", () => resolve(clearTimeout(timer)));
			socket.once("connect_error", reject);
		});
		names.set(socket.id, unique);
		return socket;
	};

	const settle = async () => {
		last_packet = Date.now();
		while (Date.now() - last_packet < options.quiet) await new Promise((resolve) => setTimeout(resolve, 20));
	};

	await conversation({ connect, settle });
	await settle();
	for (const socket of sockets) socket.disconnect();
	const ids = [...names];
	const without_ids = (packet) => ids.reduce((text, [id, name]) => text.replaceAll(id, `<${name}>`), packet);
	return Object.fromEntries([...received].map(([name, packets]) => [name, packets.map(without_ids)]));
}

/** Describe the packets that differ. */
function differences(first, second) {
	const found = [];
	for (const name of Object.keys(first)) {
		const length = Math.max(first[name].length, second[name].length);
		for (let index = 0; index < length; index++) {
			if (first[name][index] !== second[name][index]) {
				found.push(`${name}, packet ${index + 1}:\n  - ${first[name][index]}\n  + ${second[name][index]}`);
			}
		}
	}
	return found;
}

async function main() {
	const options = parse_arguments(process.argv.slice(2));
	let failed = false;
	for (const file of options.conversations) {
		const conversation = require(file);
		const [first, second] = [
			await run(conversation, options.urls[0], options),
			await run(conversation, options.urls[1], options),
		];
		const found = differences(first, second);
		const count = Object.values(first).flat().length;
		console.log(`${path.basename(file)}: ${count} packets, ${found.length ? `${found.length} differ` : "all equal"}`);
		if (process.env.SHOW_PACKETS) console.log(JSON.stringify(first, null, 1));
		for (const difference of found) console.log(difference);
		failed ||= found.length > 0;
	}
	process.exit(failed ? 1 : 0);
}

main().catch((error) => {
	console.error(error);
	process.exit(1);
});
