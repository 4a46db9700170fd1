// A Node server with the loop of Frappe's: a namespace for each site, authentication by the web process, events from Redis.
const http = require("node:http");
const cookie = require("cookie");
const redis = require("@redis/client");
const { Server } = require("socket.io");

const port = Number(process.env.PORT);
const web = process.env.WEB_URL;
const server = http.createServer();
const io = new Server(server, {
	cors: { origin: true, credentials: true },
	cleanupEmptyChildNamespaces: true,
	// As Socket.IO documents it; Frappe does not set it.
	...(process.env.RECOVERY && { connectionStateRecovery: { maxDisconnectionDuration: 120_000 } }),
});
const realtime = io.of(/^\/.*$/);

const ask = (socket, method) => {
	const { sid } = cookie.parse(socket.request.headers.cookie || "");
	const headers = { Cookie: `sid=${sid}`, "X-Frappe-Site-Name": socket.nsp.name.slice(1) };
	return fetch(`${web}/api/method/frappe.realtime.${method}`, { headers }).then((response) => response.json());
};

realtime.use((socket, next) => {
	ask(socket, "get_user_info")
		.then(({ message }) => {
			socket.user = message.user;
			socket.user_type = message.user_type;
			next();
		})
		.catch((error) => next(new Error(`Unauthorized: ${error}`)));
});

realtime.on("connection", (socket) => {
	socket.join("user:" + socket.user);
	socket.join("website");
	if (socket.user_type === "System User") socket.join("all");
	socket.on("ping", () => socket.emit("pong"));
	socket.on("doc_subscribe", async (doctype, name) => {
		const query = new URLSearchParams({ doctype, name });
		const { message } = await ask(socket, `has_permission?${query}`);
		if (message) socket.join(`doc:${doctype}/${name}`);
	});
});

(async () => {
	const subscriber = redis.createClient({ url: process.env.REDIS_URL });
	await subscriber.connect();
	await subscriber.subscribe("events", (payload) => {
		const { namespace, room, event, message } = JSON.parse(payload);
		io.of("/" + namespace)
			.to(room)
			.emit(event, message);
	});
	server.listen(port, "127.0.0.1", () => console.log("listening"));
})();
