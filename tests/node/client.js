// One Socket.IO client, driven over lines of JSON: commands on standard input, events on standard output.
//
// node client.js MODULE URL OPTIONS
//
// commands: {"emit": [event, …]}                      no answer is awaited
//           {"call": [event, …], "id": n}             the answer comes as {"ack": n, "args": […]}
//           {"cut": true}                             drop the connection as a broken network does
//           {"disconnect": true} {"connect": true}    the client's own
//           {"state": n}                              answered by {"state": n, …}
// Bytes travel as {"$bytes": "<base64>"} in both directions.

const dns = require("node:dns");
const readline = require("node:readline");

// Every host is this machine: no resolver knows the sites of tests.
dns.lookup = (host, options, callback) => {
	const answer = { address: "127.0.0.1", family: 4 };
	if (options.all) callback(null, [answer]);
	else callback(null, answer.address, answer.family);
};

const [, , module_name, url, options] = process.argv;
const { io } = require(module_name);
const socket = io(url, JSON.parse(options));

function say(line) {
	process.stdout.write(JSON.stringify(line) + "\n");
}

function pack(value) {
	if (value instanceof Uint8Array || value instanceof ArrayBuffer) {
		return { $bytes: Buffer.from(value).toString("base64") };
	}
	if (Array.isArray(value)) return value.map(pack);
	if (value && typeof value === "object") {
		return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, pack(item)]));
	}
	return value;
}

function unpack(value) {
	if (value && typeof value === "object" && "$bytes" in value) {
		return Buffer.from(value.$bytes, "base64");
	}
	if (Array.isArray(value)) return value.map(unpack);
	if (value && typeof value === "object") {
		return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, unpack(item)]));
	}
	return value;
}

function state() {
	const engine = socket.io.engine;
	return {
		id: socket.id ?? null,
		connected: socket.connected,
		recovered: socket.recovered,
		transport: engine && engine.transport ? engine.transport.name : null,
	};
}

socket.on("connect", () => say({ connect: state() }));
socket.on("disconnect", (reason) => say({ disconnect: reason }));
socket.on("connect_error", (error) => say({ connect_error: error.message, data: error.data ?? null, active: socket.active }));
socket.io.on("reconnect_failed", () => say({ reconnect_failed: true }));
socket.io.on("open", () => {
	say({ open: true });
	socket.io.engine.on("upgrade", (transport) => say({ upgrade: transport.name }));
});
socket.onAny((event, ...args) => say({ event, args: pack(args.filter((arg) => typeof arg !== "function")) }));
// An event that carries an acknowledgement is answered with its own arguments, so that a test sees both ways.
socket.on("echo", (...args) => {
	const answer = args[args.length - 1];
	if (typeof answer === "function") answer(...args.slice(0, -1));
});

readline.createInterface({ input: process.stdin }).on("line", (line) => {
	const command = JSON.parse(line);
	if (command.emit) socket.emit(...unpack(command.emit));
	if (command.call) {
		socket.emit(...unpack(command.call), (...args) => say({ ack: command.id, args: pack(args) }));
	}
	if (command.cut) socket.io.engine.close();
	if (command.disconnect) socket.disconnect();
	if (command.connect) socket.connect();
	if (command.state !== undefined) say({ ...state(), state: command.state });
});
process.stdin.on("end", () => process.exit(0));
