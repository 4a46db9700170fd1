// Holds one conversation with two realtime servers of the same bench, and compares what the clients receive, packet by
// packet: node compare.js [--quiet MS] --site SITE --cookie NAME=SID … URL URL CONVERSATION.js …
//
// A conversation is a module that exports `async ({ connect, settle }) => { … }`. `await connect(name)` gives a
// socket.io-client of the user whose cookie has this name; the same name again gives another socket of that user.
// `await settle()` waits until no packet has come for a while. Exits with 1 when the two differ.
//
// socket.io-client is loaded by Node's rules: set NODE_PATH to a folder that has it.

const path = require("node:path");
const { io } = require(process.env.SOCKET_IO_CLIENT || "socket.io-client");

function read_arguments(list) {
	const options = { quiet: 250, cookies: {}, urls: [], conversations: [] };
	for (let at = 0; at < list.length; at++) {
		if (list[at] === "--site") options.site = list[++at];
		else if (list[at] === "--quiet") options.quiet = Number(list[++at]);
		else if (list[at] === "--cookie") {
			const [name, ...sid] = list[++at].split("=");
			options.cookies[name] = sid.join("=");
		} else if (options.urls.length < 2) options.urls.push(list[at]);
		else options.conversations.push(path.resolve(list[at]));
	}
	if (!options.site || options.conversations.length === 0) {
		console.error("usage: compare.js [--quiet MS] --site SITE --cookie NAME=SID … URL URL CONVERSATION.js …");
		process.exit(2);
	}
	return options;
}

/** What each socket received in one conversation: name → list of packets as text, with ids of sockets replaced. */
async function hold(conversation, url, options) {
	const names = new Map();
	const received = new Map();
	const sockets = [];
	let last = Date.now();

	const connect = async (name) => {
		const unique = received.has(name) ? `${name} ${received.size}` : name;
		const packets = [];
		received.set(unique, packets);
		const { port } = new URL(url);
		const socket = io(`${url}/${options.site}`, {
			forceNew: true,
			reconnection: false,
			transports: ["websocket"],
			// An offset at the end of each event is the delivery's, and no part of the conversation.
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
				last = Date.now();
				packets.push(typeof data === "string" ? data : `binary ${Buffer.from(data).toString("hex")}`);
			}),
		);
		await new Promise((resolve, reject) => {
			const late = setTimeout(() => reject(new Error(`${url} has not let ${name} in for 20 s`)), 20_000);
			socket.once("connect", () => resolve(clearTimeout(late)));
			socket.once("connect_error", reject);
		});
		names.set(socket.id, unique);
		return socket;
	};

	const settle = async () => {
		last = Date.now();
		while (Date.now() - last < options.quiet) await new Promise((resolve) => setTimeout(resolve, 20));
	};

	await conversation({ connect, settle });
	await settle();
	for (const socket of sockets) socket.disconnect();
	const known = [...names];
	const without_ids = (packet) => known.reduce((text, [id, name]) => text.replaceAll(id, `<${name}>`), packet);
	return Object.fromEntries([...received].map(([name, packets]) => [name, packets.map(without_ids)]));
}

function differences(first, second) {
	const found = [];
	for (const name of Object.keys(first)) {
		const length = Math.max(first[name].length, second[name].length);
		for (let at = 0; at < length; at++) {
			if (first[name][at] !== second[name][at]) {
				found.push(`${name}, packet ${at + 1}:\n  - ${first[name][at]}\n  + ${second[name][at]}`);
			}
		}
	}
	return found;
}

async function main() {
	const options = read_arguments(process.argv.slice(2));
	let failed = false;
	for (const file of options.conversations) {
		const conversation = require(file);
		const [first, second] = [
			await hold(conversation, options.urls[0], options),
			await hold(conversation, options.urls[1], options),
		];
		const found = differences(first, second);
		const count = Object.values(first).flat().length;
		console.log(`${path.basename(file)}: ${count} packets, ${found.length ? `${found.length} differ` : "all equal"}`);
		if (process.env.SHOW_PACKETS) console.log(JSON.stringify(first, null, 1));
		for (const one of found) console.log(one);
		failed ||= found.length > 0;
	}
	process.exit(failed ? 1 : 0);
}

main().catch((error) => {
	console.error(error);
	process.exit(1);
});
