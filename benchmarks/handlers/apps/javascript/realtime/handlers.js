// The handlers of the benchmark in JavaScript: in Node's own server process, and in the sidecar's child process.
function handlers(socket) {
	socket.join("pair:" + Math.floor(parseInt(socket.user.split("@")[0].slice(4)) / 2));

	socket.on("reply", (data) => socket.emit("answer", { mark: "^", text: data.text }));

	socket.on("ask", (data, ack) => ack({ mark: "^", text: data.text }));

	socket.on("typing", (data) => {
		const room = "pair:" + data.pair;
		if (socket.rooms.has(room)) socket.to(room).emit("typing", { mark: "^", user: socket.user });
	});
}

module.exports = handlers;
