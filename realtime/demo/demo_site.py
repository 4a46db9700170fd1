"""The site of the demo: sales orders, two users, a background job, and the page that shows them."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import redis
from aiohttp import web

from frappe_realtime.contract.channels import EVENTS_CHANNEL
from frappe_realtime.contract.events import LIST_UPDATE
from frappe_realtime.contract.http import PAGE_HEADER
from frappe_realtime.contract.redis_keys import events_key
from frappe_realtime.contract.rooms import doc_room, doctype_room, user_room
from frappe_realtime.contract.users import SYSTEM_USER
from frappe_realtime.publishing.outbox import Message, Outbox

from .endpoints import Call, FrappeError
from .web_process import FakeWebProcess

SITE = "demo.localhost"
DOCTYPE = "Sales Order"
STEPS = ("Draft", "Confirmed", "Packed", "Shipped")
USERS: dict[str, dict[str, str]] = {
	"ann@example.com": {"full_name": "Ann Abara", "role": "Sales", "colour": "#0f766e"},
	"ben@example.com": {"full_name": "Ben Osei", "role": "Warehouse", "colour": "#c2410c"},
}
FIELDS = ("delivery", "note")
"""The fields that the page can change."""
MAX_VALUE = 200
"""Characters of the value of a field."""
ROWS = 400
"""The number of rows that the background job imports."""
ROWS_PER_STEP = 20
HISTORY_COUNT, HISTORY_SECONDS = 10_000, 600

PAGE = Path(__file__).parent / "page"
SCRIPTS = Path(__file__).parents[2] / "frappe_realtime" / "public" / "js"

logger = logging.getLogger("realtime.demo")


class DemoWebProcess(FakeWebProcess):
	"""The web process of the demo, with one site, its page and the methods that the page calls.

	Args:
		redis_url: The Redis that the sidecar subscribes to.
		realtime_port: The port of the sidecar.
		socketio_client: The path of socket.io.esm.min.js.
		command: The command that the page shows for publishing from a terminal, with `USER` for the user.
	"""

	def __init__(self, redis_url: str, realtime_port: int, socketio_client: Path, command: str) -> None:
		super().__init__(version=16, redis_url=redis_url)
		self._realtime_port = realtime_port
		self._socketio_client = socketio_client
		self._command = command
		self._orders: dict[str, dict[str, Any]] = {
			"SO-0042": {"customer": "Northwind Bakery", "step": 1, "delivery": "Tuesday", "note": ""},
			"SO-0043": {"customer": "Aurora Cycles", "step": 0, "delivery": "Monday", "note": "Call first"},
			"SO-0044": {"customer": "Harbour Books", "step": 2, "delivery": "Thursday", "note": ""},
		}
		self._jobs: set[asyncio.Task[None]] = set()
		self._outbox = Outbox(redis_connector(redis_url), logger.warning)
		self._site = self.add_site(SITE, ["frappe", "frappe_realtime", "chat"])
		for name, user in USERS.items():
			self._site.add_user(name, user["full_name"], SYSTEM_USER)
		self._endpoints.add("demo.state", self._state)
		self._endpoints.add("demo.log_in", self._log_in)
		self._endpoints.add("demo.advance", self._advance)
		self._endpoints.add("demo.set_value", self._set_value)
		self._endpoints.add("demo.start_job", self._start_job)

	def application(self) -> web.Application:
		"""Return an application with the page, its files and the methods."""
		app = web.Application()
		app.router.add_get("/", file_handler(PAGE / "index.html"))
		app.router.add_get("/both", file_handler(PAGE / "both.html"))
		app.router.add_get("/assets/socket.io.esm.min.js", file_handler(self._socketio_client))
		app.router.add_static("/assets/frappe_realtime/js", SCRIPTS)
		app.router.add_static("/demo", PAGE)
		app.router.add_route("*", "/{path:.*}", self.handle)
		return app

	def publish(self, event: str, message: dict[str, Any], room: str) -> None:
		"""Publish an event as `frappe.publish_realtime` does on a site with the app."""
		payload = json.dumps({"event": event, "message": message, "room": room, "namespace": SITE})
		stream = events_key(SITE)
		self._outbox.send([Message(EVENTS_CHANNEL, payload, stream, HISTORY_COUNT, HISTORY_SECONDS)])

	def site_of(self, request: web.Request) -> str:
		"""Return the site for every host: the page may be opened by any name or address of the machine."""
		return SITE

	def _state(self, call: Call) -> dict[str, Any]:
		"""`demo.state()`: what the page needs to start."""
		return {
			"site": SITE,
			"users": USERS,
			"orders": self._orders,
			"steps": STEPS,
			"realtime_port": self._realtime_port,
			"command": self._command,
		}

	def _log_in(self, call: Call) -> dict[str, str]:
		"""`demo.log_in(user)`: return a token for one tab. With a cookie, two tabs could not have two users."""
		user = call.arg("user")
		if user not in USERS:
			raise FrappeError(401, "AuthenticationError")
		return {"token": self._site.authorization(user)}

	def _advance(self, call: Call) -> None:
		"""`demo.advance(name)`: set a sales order to its next step."""
		order = self._order(call)
		order["step"] = (order["step"] + 1) % len(STEPS)
		message = self._publish_update(call, order, f"set it to {STEPS[order['step']]}")
		self.publish(LIST_UPDATE, message, doctype_room(DOCTYPE))

	def _set_value(self, call: Call) -> None:
		"""`demo.set_value(name, field, value)`: change a field of a sales order."""
		order, field, value = self._order(call), call.arg("field"), str(call.arg("value"))
		if field not in FIELDS or len(value) > MAX_VALUE:
			raise FrappeError(417, "ValidationError")
		if order[field] != value:
			order[field] = value
			self._publish_update(call, order, f"changed the {field} to {value}")

	def _order(self, call: Call) -> dict[str, Any]:
		order = self._orders.get(call.arg("name"))
		if order is None:
			raise FrappeError(404, "DoesNotExistError")
		return order

	def _publish_update(self, call: Call, order: dict[str, Any], action: str) -> dict[str, Any]:
		"""Publish that the caller has changed an order, and return the message."""
		name = call.arg("name")
		message = {"doctype": DOCTYPE, "name": name, **order}
		message |= {"by": call.user.name, "action": action, "at": time.time()}
		self.publish("doc_update", message, doc_room(DOCTYPE, name))
		return message

	def _start_job(self, call: Call) -> None:
		"""`demo.start_job()`: start an import of `ROWS` rows."""
		job = asyncio.get_running_loop().create_task(
			self._import_rows(call.user.name, call.headers.get(PAGE_HEADER, ""))
		)
		self._jobs.add(job)
		job.add_done_callback(self._jobs.discard)

	async def _import_rows(self, user: str, page: str) -> None:
		"""Publish the progress that `frappe.publish_progress` would publish in a worker."""
		for row in range(0, ROWS + 1, ROWS_PER_STEP):
			message = {
				"percent": 100 * row / ROWS,
				"title": "Importing",
				"description": f"Row {row} of {ROWS}",
				"page": page,
			}
			self.publish("progress", message, user_room(user))
			await asyncio.sleep(0.25)


def redis_connector(url: str) -> Callable[[float], redis.Redis]:
	"""Return the function by which an `Outbox` connects to Redis; its argument is the timeout in seconds."""
	return lambda timeout: redis.Redis.from_url(url, socket_timeout=timeout, socket_connect_timeout=timeout)


def file_handler(path: Path) -> Callable[[web.Request], Any]:
	"""Return a handler that responds with a file."""

	async def handler(request: web.Request) -> web.FileResponse:
		return web.FileResponse(path)

	return handler
