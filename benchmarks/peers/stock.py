"""python-socketio over aiohttp and uvloop, with the main loop of the Python server on Frappe's development branch."""

from __future__ import annotations

import asyncio
import json
import os
from http.cookies import SimpleCookie
from typing import Any

import aiohttp
import redis.asyncio
import socketio
import uvloop
from aiohttp import web

sio = socketio.AsyncServer(async_mode="aiohttp", cors_allowed_origins="*", namespaces="*")
session: aiohttp.ClientSession


async def ask(environ: dict[str, str], namespace: str, method: str, **params: str) -> Any:
	cookies = SimpleCookie(environ.get("HTTP_COOKIE", ""))
	url = f"{os.environ['WEB_URL']}/api/method/frappe.realtime.{method}"
	headers = {"Cookie": f"sid={cookies['sid'].value}", "X-Frappe-Site-Name": namespace[1:]}
	async with session.get(url, headers=headers, params=params) as response:
		return (await response.json())["message"]


@sio.on("connect", namespace="*")
async def connect(namespace: str, sid: str, environ: dict[str, str], auth: object) -> None:
	info = await ask(environ, namespace, "get_user_info")
	await sio.enter_room(sid, "user:" + info["user"], namespace=namespace)
	await sio.enter_room(sid, "website", namespace=namespace)
	if info["user_type"] == "System User":
		await sio.enter_room(sid, "all", namespace=namespace)


@sio.on("doc_subscribe", namespace="*")
async def doc_subscribe(namespace: str, sid: str, doctype: str, name: str) -> None:
	if await ask(sio.get_environ(sid, namespace), namespace, "has_permission", doctype=doctype, name=name):
		await sio.enter_room(sid, f"doc:{doctype}/{name}", namespace=namespace)


async def listen() -> None:
	subscriber = redis.asyncio.Redis.from_url(os.environ["REDIS_URL"]).pubsub()
	await subscriber.subscribe("events")
	async for item in subscriber.listen():
		if item["type"] == "message":
			data = json.loads(item["data"])
			await sio.emit(
				data["event"], data["message"], room=data["room"], namespace="/" + data["namespace"]
			)


async def main() -> None:
	global session
	session = aiohttp.ClientSession()
	app = web.Application()
	sio.attach(app)
	runner = web.AppRunner(app, access_log=None)
	await runner.setup()
	await web.TCPSite(runner, "127.0.0.1", int(os.environ["PORT"]), backlog=4096).start()
	await listen()


if __name__ == "__main__":
	uvloop.install()
	asyncio.run(main())
