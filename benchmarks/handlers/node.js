// Frappe's Node server as far as handlers go: authentication by the web process, then the app's file on each socket.
const http = require("node:http");
const cookie = require("cookie");
const { Server } = require("socket.io");
const handlers = require("./apps/javascript/realtime/handlers.js");

const server = http.createServer();
const io = new Server(server, { cors: { origin: true, credentials: true }, cleanupEmptyChildNamespaces: true });
const realtime = io.of(/^\/.*$/);

realtime.use((socket, next) => {
	const { sid } = cookie.parse(socket.request.headers.cookie || "");
	fetch(`${process.env.WEB_URL}/api/method/frappe.realtime.get_user_info`, { headers: { Cookie: `sid=${sid}` } })
		.then((response) => response.json())
		.then(({ message }) => {
			socket.user = message.user;
			next();
		})
		.catch((error) => next(new Error(`Unauthorized: ${error}`)));
});

realtime.on("connection", (socket) => {
	socket.join("user:" + socket.user);
	socket.join("website");
	socket.join("all");
	handlers(socket);
});

server.listen(Number(process.env.PORT), "127.0.0.1");
