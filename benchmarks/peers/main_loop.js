// What the servers on Node and on Bun do: the loop of Frappe's Node server. A namespace for each site, authentication by the
// web process, events from Redis.
"use strict";

const cookie = require("cookie");

const ask = (socket, method) => {
	const { sid } = cookie.parse(socket.request.headers.cookie || "");
	const headers = { Cookie: `sid=${sid}`, "X-Frappe-Site-Name": socket.nsp.name.slice(1) };
	return fetch(`${process.env.WEB_URL}/api/method/frappe.realtime.${method}`, { headers }).then((response) =>
		response.json()
	);
};

/** Let in who the web process knows, and answer the events of the benchmark. */
exports.serve = (io) => {
	const realtime = io.of(/^\/.*$/);
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
};

/** Emit an event that was published, as its payload in Redis says. */
exports.deliver = (io, payload) => {
	const { namespace, room, event, message } = JSON.parse(payload);
	io.of("/" + namespace)
		.to(room)
		.emit(event, message);
};
