"""Chat about a document: messages that the server acknowledges. The presence of the chat's room says who is present and who types.

The room is that of a topic: a socket leaves it when its user may not read the document any more.
"""

from __future__ import annotations

import time
from typing import Any

from frappe_realtime import Socket, realtime, topic_room
from frappe_realtime.errors import PresenceRefused

MAX_TEXT = 2000
"""Characters of a message."""


@realtime.on("chat_open")
async def chat_open(socket: Socket, doctype: str, name: str) -> dict[str, Any]:
	"""Join the chat of a document; the acknowledgement has its room."""
	if not await socket.has_permission(doctype, name):
		return {"error": "You may not read this document"}
	room = topic_room("chat", doctype, name)
	try:
		socket.presence(room=room).join()
	except PresenceRefused as refused:
		# Too many chats at a time (realtime_presence_places).
		return {"error": str(refused)}
	socket.join(room)
	return {"room": room}


@realtime.on("chat_close")
async def chat_close(socket: Socket, doctype: str, name: str) -> None:
	"""Leave the chat of a document, and with the room its presence."""
	socket.leave(topic_room("chat", doctype, name))


@realtime.on("chat_send")
async def chat_send(socket: Socket, doctype: str, name: str, text: object) -> dict[str, Any]:
	"""Send a message to all sockets in the chat; the acknowledgement has the time at which it was sent."""
	room = topic_room("chat", doctype, name)
	if room not in socket.rooms:
		return {"error": "Open the chat first"}
	# Clients can send any JSON, whatever the annotations say.
	if not isinstance(text, str) or not 0 < len(text) <= MAX_TEXT:
		return {"error": f"A message has 1 to {MAX_TEXT} characters"}
	sent = time.time()
	message = {"doctype": doctype, "name": name, "user": socket.user, "text": text, "sent": sent}
	socket.presence(room=room).set({"typing": None})
	socket.emit("chat_message", message, room=room)
	return {"sent": sent}
