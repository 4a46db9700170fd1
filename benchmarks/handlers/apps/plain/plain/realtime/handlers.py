"""The handlers of the benchmark as plain functions, which run in threads."""

from frappe.realtime import SyncSocket, realtime


@realtime.on("connect")
def connected(socket: SyncSocket) -> None:
	socket.join(f"pair:{int(socket.user.partition('@')[0][4:]) // 2}")


@realtime.on("reply")
def reply(socket: SyncSocket, data: dict[str, str]) -> None:
	socket.emit("answer", {"mark": "^", "text": data["text"]})


@realtime.on("ask")
def ask(socket: SyncSocket, data: dict[str, str]) -> dict[str, str]:
	return {"mark": "^", "text": data["text"]}


@realtime.on("typing")
def typing(socket: SyncSocket, data: dict[str, str]) -> None:
	room = f"pair:{data['pair']}"
	if room in socket.rooms:
		socket.to(room).emit("typing", {"mark": "^", "user": socket.user})
