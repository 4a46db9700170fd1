"""Chat about a document: who is present, who is typing, and messages that the server acknowledges."""

from __future__ import annotations

import time
from typing import Any

from frappe_realtime import Socket, realtime

MAX_TEXT = 2000
"""Characters of a message."""


@realtime.on("chat_open")
async def chat_open(socket: Socket, doctype: str, name: str) -> dict[str, Any]:
	"""Join the chat of a document; the acknowledgement has the users in it."""
	if not await socket.has_permission(doctype, name):
		return {"error": "You may not read this document"}
	room = chat_room(doctype, name)
	await socket.join(room)
	await socket.set("chats", socket.get("chats", {}) | {room: (doctype, name)})
	await emit_present_users(socket, doctype, name)
	return {"users": users_in(socket, room)}


@realtime.on("chat_close")
async def chat_close(socket: Socket, doctype: str, name: str) -> None:
	"""Leave the chat of a document."""
	room = chat_room(doctype, name)
	await socket.leave(room)
	await socket.set(
		"chats", {other: chat for other, chat in socket.get("chats", {}).items() if other != room}
	)
	await emit_present_users(socket, doctype, name)


@realtime.on("chat_typing")
async def chat_typing(socket: Socket, doctype: str, name: str, typing: bool = True) -> None:
	"""Tell the other sockets in the chat that this user is typing, or has stopped."""
	room = chat_room(doctype, name)
	if room in socket.rooms:
		await socket.to(room).emit(
			"chat_typing", {"doctype": doctype, "name": name, "user": socket.user, "typing": bool(typing)}
		)


@realtime.on("chat_send")
async def chat_send(socket: Socket, doctype: str, name: str, text: object) -> dict[str, Any]:
	"""Send a message to all sockets in the chat; the acknowledgement has the time at which it was sent."""
	room = chat_room(doctype, name)
	if room not in socket.rooms:
		return {"error": "Open the chat first"}
	# Clients can send any JSON, whatever the annotations say.
	if not isinstance(text, str) or not 0 < len(text) <= MAX_TEXT:
		return {"error": f"A message has 1 to {MAX_TEXT} characters"}
	sent = time.time()
	message = {"doctype": doctype, "name": name, "user": socket.user, "text": text, "sent": sent}
	await socket.emit("chat_message", message, room=room)
	return {"sent": sent}


@realtime.on("disconnect")
async def disconnected(socket: Socket) -> None:
	"""Update the other users. The socket has left its rooms by now, so the chats are kept in its state."""
	for doctype, name in socket.get("chats", {}).values():
		await emit_present_users(socket, doctype, name)


def chat_room(doctype: str, name: str) -> str:
	"""Return the room of the chat about a document."""
	return f"chat:{doctype}/{name}"


def users_in(socket: Socket, room: str) -> list[str]:
	"""Return the users with a socket in `room`, each once."""
	users = (socket.user_of(sid) for sid in socket.participants(room))
	return list(dict.fromkeys(user for user in users if user))


async def emit_present_users(socket: Socket, doctype: str, name: str) -> None:
	"""Send `chat_present` to all sockets in the chat: `{doctype, name, users}`."""
	room = chat_room(doctype, name)
	await socket.emit(
		"chat_present", {"doctype": doctype, "name": name, "users": users_in(socket, room)}, room=room
	)
