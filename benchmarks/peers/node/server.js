// Socket.IO on Node, as Frappe runs it.
const http = require("node:http");
const redis = require("@redis/client");
const { Server } = require("socket.io");
const { serve, deliver } = require("../main_loop.js");

const server = http.createServer();
const io = new Server(server, {
	cors: { origin: true, credentials: true },
	cleanupEmptyChildNamespaces: true,
	// As Socket.IO documents it; Frappe does not set it.
	...(process.env.RECOVERY && { connectionStateRecovery: { maxDisconnectionDuration: 120_000 } }),
});
serve(io);

(async () => {
	const subscriber = redis.createClient({ url: process.env.REDIS_URL });
	await subscriber.connect();
	await subscriber.subscribe("events", (payload) => deliver(io, payload));
	server.listen(Number(process.env.PORT), "127.0.0.1", () => console.log("listening"));
})();
