"""The handlers of the benchmark as coroutines."""

from frappe.realtime import Socket, realtime


@realtime.on("connect")
async def connected(socket: Socket) -> None:
	await socket.join(f"pair:{int(socket.user.partition('@')[0][4:]) // 2}")


@realtime.on("reply")
async def reply(socket: Socket, data: dict[str, str]) -> None:
	await socket.emit("answer", {"mark": "^", "text": data["text"]})


@realtime.on("ask")
async def ask(socket: Socket, data: dict[str, str]) -> dict[str, str]:
	return {"mark": "^", "text": data["text"]}


@realtime.on("typing")
async def typing(socket: Socket, data: dict[str, str]) -> None:
	room = f"pair:{data['pair']}"
	if room in socket.rooms:
		await socket.to(room).emit("typing", {"mark": "^", "user": socket.user})
