"""Chat beside a document: who is there, who is typing, and messages that the server confirms."""

from __future__ import annotations

import time
from typing import Any

from frappe.realtime import Socket, realtime

MAX_TEXT = 2000


@realtime.on("chat_open")
async def chat_open(socket: Socket, doctype: str, name: str) -> dict[str, Any]:
	"""Enter the chat of a document; answers with the users who are in it."""
	if not await socket.has_permission(doctype, name):
		return {"error": "You may not read this document"}
	room = chat_room(doctype, name)
	await socket.join(room)
	await socket.set("chats", socket.get("chats", {}) | {room: (doctype, name)})
	await tell_who_is_present(socket, doctype, name)
	return {"users": users_in(socket, room)}


@realtime.on("chat_close")
async def chat_close(socket: Socket, doctype: str, name: str) -> None:
	"""Leave the chat."""
	room = chat_room(doctype, name)
	await socket.leave(room)
	await socket.set(
		"chats", {other: chat for other, chat in socket.get("chats", {}).items() if other != room}
	)
	await tell_who_is_present(socket, doctype, name)


@realtime.on("chat_typing")
async def chat_typing(socket: Socket, doctype: str, name: str, typing: bool = True) -> None:
	"""Tell the others that this user is typing, or is not any more."""
	room = chat_room(doctype, name)
	if room in socket.rooms:
		await socket.to(room).emit(
			"chat_typing", {"doctype": doctype, "name": name, "user": socket.user, "typing": bool(typing)}
		)


@realtime.on("chat_send")
async def chat_send(socket: Socket, doctype: str, name: str, text: str) -> dict[str, Any]:
	"""Send a message to all in the chat; answers with the time at which it was sent."""
	room = chat_room(doctype, name)
	if room not in socket.rooms:
		return {"error": "Open the chat first"}
	if not isinstance(text, str) or not 0 < len(text) <= MAX_TEXT:
		return {"error": f"A message has 1 to {MAX_TEXT} characters"}
	sent = time.time()
	message = {"doctype": doctype, "name": name, "user": socket.user, "text": text, "sent": sent}
	await socket.emit("chat_message", message, room=room)
	return {"sent": sent}


@realtime.on("disconnect")
async def left(socket: Socket) -> None:
	"""Tell those who stay. The socket has left its rooms by now, so it has kept what they were about."""
	for doctype, name in socket.get("chats", {}).values():
		await tell_who_is_present(socket, doctype, name)


def chat_room(doctype: str, name: str) -> str:
	return f"chat:{doctype}/{name}"


def users_in(socket: Socket, room: str) -> list[str]:
	"""The users in `room`, each once, however many tabs they have."""
	users = (socket.user_of(sid) for sid in socket.participants(room))
	return list(dict.fromkeys(user for user in users if user))


async def tell_who_is_present(socket: Socket, doctype: str, name: str) -> None:
	room = chat_room(doctype, name)
	await socket.emit(
		"chat_present", {"doctype": doctype, "name": name, "users": users_in(socket, room)}, room=room
	)
