"""The app `alpha`, and the type of the fixture that makes benches with apps."""

from __future__ import annotations

from collections.abc import Callable

from tests.wire.bench import Bench

MakeAppBench = Callable[..., Bench]

ALPHA = """
from frappe.realtime import Socket, realtime

@realtime.on("alpha")
async def alpha(socket: Socket, value, other=None):
	await socket.emit("alpha_seen", {"value": value, "other": other})
	return {"value": value, "user": socket.user, "site": socket.site, "type": socket.user_type}

@realtime.on("quiet")
async def quiet(socket):
	pass

@realtime.on("several")
async def several(socket):
	return 1, b"two"

@realtime.on("blocking")
def blocking(socket, room):
	import threading
	socket.join(room)
	socket.emit("in_room", threading.current_thread() is threading.main_thread(), room=room)
	return sorted(socket.rooms - {socket.sid})

@realtime.on("for_guests", allow_guest=True)
async def for_guests(socket):
	return socket.user

@realtime.on("may")
async def may(socket, doctype, name, ptype="read"):
	return await socket.has_permission(doctype, name, ptype)

@realtime.on("ask")
async def ask(socket, method, args):
	response = await socket.frappe_request("/api/method/" + method, args)
	return [response.status, response.ok, response.message]

@realtime.on("question")
async def question(socket, value):
	return await socket.call("echo", {"value": value, "bytes": b"x"}, timeout=5)

@realtime.on("hand")
async def hand(socket):
	shake = socket.handshake
	return [shake.auth, shake.query["EIO"], shake.headers["host"]]

@realtime.on("connect")
async def connected(socket):
	await socket.broadcast.emit("came", socket.user)

@realtime.on("disconnect")
async def gone(socket, reason):
	await socket.to("website").emit("went", (socket.user, reason, sorted(socket.rooms)))

@realtime.on("fails")
async def fails(socket):
	raise RuntimeError("on purpose")

@realtime.on("fails")
async def after_it(socket):
	return "the next one runs"

@realtime.on("exits")
def exits(socket):
	raise SystemExit(1)

@realtime.on("kick")
async def kick(socket):
	await socket.disconnect()
"""
