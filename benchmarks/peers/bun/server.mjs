// The main loop of ../node/server.js on Bun: Socket.IO on @socket.io/bun-engine, with Bun's own Redis client and fetch.
import { RedisClient } from "bun";
import { createRequire } from "node:module";

const require = createRequire(import.meta.url);
const cookie = require("cookie");
const { Server: Engine } = require("@socket.io/bun-engine");
const { Server } = require("socket.io");

const web = process.env.WEB_URL;
const engine = new Engine({ path: "/socket.io/", cors: { origin: /^/, credentials: true } });
const io = new Server({ cleanupEmptyChildNamespaces: true });
io.bind(engine);
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

const subscriber = new RedisClient(process.env.REDIS_URL);
await subscriber.connect();
await subscriber.subscribe("events", (payload) => {
	const { namespace, room, event, message } = JSON.parse(payload);
	io.of("/" + namespace)
		.to(room)
		.emit(event, message);
});
Bun.serve({ ...engine.handler(), development: false, hostname: "127.0.0.1", port: Number(process.env.PORT) });
