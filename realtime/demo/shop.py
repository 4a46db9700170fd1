"""The demo's site: a few sales orders, two people, a background job, and the page that shows them."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import redis
from aiohttp import web

from frappe_realtime.contract import PAGE_HEADER, doc_room, doctype_room, events_key, user_room
from frappe_realtime.publishing.outbox import Message, Outbox

from .model import SYSTEM_USER
from .site import Call, FrappeError, WebProcess

SITE = "demo.localhost"
DOCTYPE = "Sales Order"
STEPS = ("Draft", "Confirmed", "Packed", "Shipped")
PEOPLE: dict[str, dict[str, str]] = {
	"ann@example.com": {"full_name": "Ann Abara", "role": "Sales", "colour": "#0f766e"},
	"ben@example.com": {"full_name": "Ben Osei", "role": "Warehouse", "colour": "#c2410c"},
}
ROWS = 400
HISTORY_COUNT, HISTORY_SECONDS = 10_000, 600

PAGE = Path(__file__).parent / "page"
SCRIPTS = Path(__file__).parents[2] / "frappe_realtime" / "public" / "js"

logger = logging.getLogger("realtime.demo")


class Shop(WebProcess):
	"""The stand-in with a page and something to do.

	Args:
		redis_url: the Redis that the sidecar listens to.
		realtime_port: where the page finds the sidecar.
		socketio_client: the file `socket.io.esm.min.js`.
		command: what the page shows for publishing from a terminal; `USER` in it becomes the user's name.
	"""

	def __init__(self, redis_url: str, realtime_port: int, socketio_client: Path, command: str) -> None:
		super().__init__(version=16, redis_url=redis_url)
		self._realtime_port = realtime_port
		self._socketio_client = socketio_client
		self._command = command
		self._orders: dict[str, dict[str, Any]] = {
			"SO-0042": {"customer": "Northwind Bakery", "step": 1},
			"SO-0043": {"customer": "Aurora Cycles", "step": 0},
			"SO-0044": {"customer": "Harbour Books", "step": 2},
		}
		self._jobs: set[asyncio.Task[None]] = set()
		self._outbox = Outbox(connector(redis_url), logger.warning)
		self._site = self.add_site(SITE, ["frappe", "frappe_realtime", "chat"])
		for name, person in PEOPLE.items():
			self._site.add_user(name, person["full_name"], SYSTEM_USER)
		self._methods |= {
			"demo.state": self._state,
			"demo.log_in": self._log_in,
			"demo.advance": self._advance,
			"demo.start_job": self._start_job,
		}

	def application(self) -> web.Application:
		"""The page and its files, and below them what every stand-in answers."""
		app = web.Application()
		app.router.add_get("/", file_handler(PAGE / "index.html"))
		app.router.add_get("/both", file_handler(PAGE / "both.html"))
		app.router.add_get("/assets/socket.io.esm.min.js", file_handler(self._socketio_client))
		app.router.add_static("/assets/frappe_realtime/js", SCRIPTS)
		app.router.add_static("/demo", PAGE)
		app.router.add_route("*", "/{path:.*}", self.handle)
		return app

	def publish(self, event: str, message: dict[str, Any], room: str) -> None:
		"""Publish as `frappe.publish_realtime` does on a site with the app."""
		payload = json.dumps({"event": event, "message": message, "room": room, "namespace": SITE})
		stream = events_key(SITE)
		self._outbox.send([Message("events", payload, stream, HISTORY_COUNT, HISTORY_SECONDS)])

	def site_of(self, request: web.Request) -> str:
		"""Every host is this site: the page may be opened by any name or address of the machine."""
		return SITE

	def _state(self, call: Call) -> dict[str, Any]:
		return {
			"site": SITE,
			"people": PEOPLE,
			"orders": self._orders,
			"steps": STEPS,
			"realtime_port": self._realtime_port,
			"command": self._command,
		}

	def _log_in(self, call: Call) -> dict[str, str]:
		"""No password: a token for one tab, so that two tabs can be two people, which a cookie would not allow."""
		user = call.arg("user")
		if user not in PEOPLE:
			raise FrappeError(401, "AuthenticationError")
		return {"token": self._site.authorization(user)}

	def _advance(self, call: Call) -> None:
		name = call.arg("name")
		order = self._orders.get(name)
		if order is None:
			raise FrappeError(404, "DoesNotExistError")
		order["step"] = (order["step"] + 1) % len(STEPS)
		message = {"doctype": DOCTYPE, "name": name, "step": order["step"], "by": call.user.name}
		self.publish("doc_update", message, doc_room(DOCTYPE, name))
		self.publish("list_update", message, doctype_room(DOCTYPE))

	def _start_job(self, call: Call) -> None:
		job = asyncio.get_running_loop().create_task(
			self._import_rows(call.user.name, call.headers.get(PAGE_HEADER, ""))
		)
		self._jobs.add(job)
		job.add_done_callback(self._jobs.discard)

	async def _import_rows(self, user: str, page: str) -> None:
		"""What a worker would do, with `frappe.publish_progress` for every twentieth row."""
		for row in range(0, ROWS + 1, 20):
			message = {
				"percent": 100 * row / ROWS,
				"title": "Importing",
				"description": f"Row {row} of {ROWS}",
				"page": page,
			}
			self.publish("progress", message, user_room(user))
			await asyncio.sleep(0.25)


def connector(url: str) -> Callable[[float], redis.Redis]:
	"""Return what an `Outbox` connects with."""
	return lambda seconds: redis.Redis.from_url(url, socket_timeout=seconds, socket_connect_timeout=seconds)


def file_handler(path: Path) -> Callable[[web.Request], Any]:
	"""Return a handler that answers with one file."""

	async def handler(request: web.Request) -> web.FileResponse:
		return web.FileResponse(path)

	return handler
