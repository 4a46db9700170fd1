// Stock socket.io-clients that count the events they receive.
//
// node clients.js URL SITE COUNT TRANSPORTS [NUMBER OF THE FIRST]
//
// Each command on standard input is answered by one line on standard output:
//   connected   the number of connected clients
//   troubles    how often each reason of a disconnect, and each error, was reported by a client, as an object
//   report      per client: [delivered, duplicates, out of order, last, notified, silent, recovered, reconnects, of other sites]
// The messages of the event `tick` are the integers from 1 on. A missing number counts as *notified* if the client has
// reconnected without `recovered` in the meantime, so that a page can load what it has missed; otherwise as *silent*.

const readline = require("node:readline");
const { io } = require("socket.io-client-4");

const [, , url, site, count, transports, first = 0] = process.argv;

const troubles = {};

function note(what) {
	troubles[what] = (troubles[what] ?? 0) + 1;
}

const clients = Array.from({ length: Number(count) }, (_, index) => {
	const number = Number(first) + index;
	const client = {
		seen: new Set(), last: 0, duplicates: 0, disordered: 0, gaps: [], anew: false, recovered: 0, reconnects: 0, connects: 0, strays: 0,
	};
	const socket = io(`${url}/${site}`, {
		transports: transports.split(","),
		forceNew: true,
		query: { client: number },
		extraHeaders: {
			Cookie: `sid=session-${number}`,
			"X-Frappe-Site-Name": site,
		},
	});
	client.socket = socket;
	socket.on("connect", () => {
		if (client.connects++ > 0) {
			client.reconnects++;
			if (socket.recovered) client.recovered++;
			else client.anew = true;
		}
	});
	socket.on("disconnect", (reason) => note(reason));
	socket.io.on("error", (error) => note(error.message));
	socket.on("site", (name) => {
		if (name !== site) client.strays++;
	});
	socket.on("tick", (number) => {
		if (client.seen.has(number)) {
			client.duplicates++;
			return;
		}
		client.seen.add(number);
		if (number < client.last) {
			client.disordered++;
			return;
		}
		if (number > client.last + 1) client.gaps.push([client.last + 1, number - 1, client.anew]);
		client.last = number;
		client.anew = false;
	});
	return client;
});

function report(published) {
	return clients.map((client) => {
		const gaps = [...client.gaps];
		// A client that is not connected can detect that it misses events.
		if (client.last < published) gaps.push([client.last + 1, published, client.anew || !client.socket.connected]);
		let notified = 0;
		let silent = 0;
		for (const [from, to, anew] of gaps) {
			for (let number = from; number <= to; number++) {
				if (client.seen.has(number)) continue;
				if (anew) notified++;
				else silent++;
			}
		}
		return [client.seen.size, client.duplicates, client.disordered, client.last, notified, silent, client.recovered, client.reconnects, client.strays];
	});
}

readline.createInterface({ input: process.stdin }).on("line", (line) => {
	const [command, argument] = line.split(" ");
	const answers = {
		report: () => report(Number(argument)),
		troubles: () => troubles,
		connected: () => clients.filter(({ socket }) => socket.connected).length,
	};
	process.stdout.write(JSON.stringify(answers[command]()) + "\n");
});
process.stdin.on("end", () => process.exit(0));
