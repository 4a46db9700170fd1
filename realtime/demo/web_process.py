"""A fake of Frappe's web process, with the responses of v15, v16 or v17 to the requests of the sidecar.

Tests run it in their own process and change its sites. Benchmarks run it as
`python -m realtime.demo.web_process --port 8000 --version 16 --site a.localhost --user ann@example.com`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hashlib
import json
import signal
from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from email.utils import formatdate
from time import time
from typing import Any
from urllib.parse import unquote

import redis.asyncio
from aiohttp import web

from frappe_realtime.contract.access import SESSION_ENDED
from frappe_realtime.contract.channels import ACCESS_CHANNEL, EVENTS_CHANNEL
from frappe_realtime.contract.events import DOCTOR_EVENT
from frappe_realtime.contract.http import METHOD_PREFIX, SITE_HEADER
from frappe_realtime.contract.monitoring import TEST_EVENT
from frappe_realtime.contract.redis_keys import events_key, last_key
from frappe_realtime.contract.rooms import user_room
from frappe_realtime.contract.users import GUEST, SYSTEM_MANAGER, WEBSITE_USER

from .endpoints import Call, Endpoints, FrappeError, SharedSecret
from .model import Site

API_PREFIX = "/api/method/"
MAX_RECORDED_REQUESTS = 100_000


@dataclass
class RecordedRequest:
	"""A request that was received, for tests."""

	method: str
	path: str
	site: str
	args: dict[str, Any]
	headers: dict[str, str]
	user: str = ""
	"""The authenticated user; "" if there is none."""
	status: int = 0
	"""The status of the response; 0 while there is none."""

	def questions(self) -> list[list[str]]:
		"""Return the permission questions in this request, each as `[doctype, name]`."""
		if "questions" in self.args:
			return [[doctype, name or ""] for doctype, name, *_ in self.args["questions"]]
		if "doctype" in self.args:
			return [[self.args["doctype"], self.args.get("name") or self.args.get("docname") or ""]]
		return []


@dataclass
class Failure:
	"""A failure of some requests; see `FakeWebProcess.fail`."""

	method: str = ""
	status: int = 0
	delay: float = 0
	body: bytes | None = None
	hang: bool = False
	reset: bool = False
	times: int | None = None
	healed: asyncio.Event = field(default_factory=asyncio.Event)
	loop: asyncio.AbstractEventLoop | None = None
	"""The loop in which requests hang; None while none does."""


class FakeWebProcess:
	"""Frappe's web process, as the sidecar sees it.

	With `announces_dead_sessions` every request with an unknown session id is announced as the end of a session, on sites
	with the app: Frappe calls `delete_session` for it, and version 0.1.0 of the app announced that until 2026-11-25.

	Args:
		version: 15, 16 or 17.
		redis_url: The URL of redis_queue, which holds the shared secret.
		secret: Whether `get_user_info` requires the shared secret; default: on v17 only.
	"""

	def __init__(self, version: int = 16, redis_url: str = "", secret: bool | None = None) -> None:
		self.version = version
		self.sites: dict[str, Site] = {}
		self.announces_dead_sessions = False
		self.has_worker = True
		"""False to leave background jobs in their queue."""
		self.clock_offset = 0.0
		"""Seconds by which the header Date of responses is ahead."""
		self.requests: deque[RecordedRequest] = deque(maxlen=MAX_RECORDED_REQUESTS)
		self.counts: Counter[str] = Counter()
		"""The number of requests by method name."""
		self._failures: list[Failure] = []
		self._redis = redis.asyncio.Redis.from_url(redis_url, decode_responses=True) if redis_url else None
		requires_secret = version >= 17 if secret is None else secret
		self._endpoints = Endpoints(
			version, requires_secret, SharedSecret(self._redis), self._publish_to_doctor
		)
		self._endpoints.add("frappe_realtime.monitor.send_test_event", self._send_test_event)
		self._runner: web.AppRunner | None = None

	def add_site(self, name: str, installed_apps: Iterable[str] = ("frappe",)) -> Site:
		"""Add a site. With `frappe_realtime` among its apps it also has the app's methods."""
		site = self.sites[name] = Site(name, list(installed_apps))
		return site

	def fail(
		self,
		method: str = "",
		*,
		status: int = 0,
		delay: float = 0,
		body: bytes | None = None,
		hang: bool = False,
		reset: bool = False,
		times: int | None = None,
	) -> None:
		"""Let requests fail until `heal()`.

		Args:
			method: Only requests whose path contains this.
			status: Respond with this status and an HTML page, as a proxy does for 502.
			delay: Wait for this number of seconds first.
			body: Respond with this body, which is JSON, and with status 200 unless `status` is given.
			hang: Do not respond before `heal()`.
			reset: Close the connection without a response.
			times: Only this number of requests.
		"""
		self._failures.append(Failure(method, status, delay, body, hang, reset, times))

	def heal(self) -> None:
		"""End every failure; requests that hang are continued. May be called in any thread."""
		failures, self._failures = self._failures, []
		for failure in failures:
			if failure.loop is None:
				failure.healed.set()
			else:
				# The event alone would not wake a loop that sleeps in another thread.
				failure.loop.call_soon_threadsafe(failure.healed.set)

	# -- serving

	def application(self) -> web.Application:
		"""Return a new aiohttp application. All of them share the state of this object."""
		app = web.Application(client_max_size=25 * 1024 * 1024)
		app.router.add_route("*", "/{path:.*}", self.handle)
		return app

	async def listen(self, port: int, host: str = "127.0.0.1") -> int:
		"""Listen on a port, for 0 on a free one; return the port."""
		self._runner = web.AppRunner(self.application(), shutdown_timeout=0, handle_signals=False)
		await self._runner.setup()
		listener = web.TCPSite(self._runner, host, port, reuse_address=True)
		await listener.start()
		return int(self._runner.addresses[0][1])

	async def stop(self) -> None:
		"""Close all connections and reject new ones until `listen()` is called again."""
		if self._runner:
			await self._runner.cleanup()
			self._runner = None

	async def close(self) -> None:
		"""Stop and release all resources."""
		self.heal()
		await self.stop()
		if self._redis:
			# `close` became `aclose` in redis-py 5.
			await (self._redis.aclose() if hasattr(self._redis, "aclose") else self._redis.close())

	async def handle(self, request: web.Request) -> web.StreamResponse:
		"""Respond to a request."""
		method = request.path.removeprefix(API_PREFIX)
		host = self.site_of(request)
		args = await read_arguments(request)
		recorded = RecordedRequest(request.method, request.path, host, args, dict(request.headers))
		self.requests.append(recorded)
		self.counts[method] += 1
		response = await self._fail(request) or await self._respond(request, host, method, args, recorded)
		recorded.status = response.status
		if self.clock_offset:
			response.headers["Date"] = formatdate(time() + self.clock_offset, usegmt=True)
		return response

	def site_of(self, request: web.Request) -> str:
		"""Return the name of the site that a request is for, as Frappe determines it."""
		return request.headers.get(SITE_HEADER) or request.host.rsplit(":", 1)[0]

	async def _fail(self, request: web.Request) -> web.Response | None:
		failure = next((failure for failure in self._failures if failure.method in request.path), None)
		if failure is None:
			return None
		if failure.times is not None:
			failure.times -= 1
			if failure.times <= 0:
				self._failures.remove(failure)
		if failure.hang:
			failure.loop = asyncio.get_running_loop()
			await failure.healed.wait()
		await asyncio.sleep(failure.delay)
		if failure.reset and request.transport:
			request.transport.abort()
		if failure.body is not None:
			status = failure.status or 200
			return web.Response(status=status, body=failure.body, content_type="application/json")
		if failure.status:
			return web.Response(
				status=failure.status, text=f"<h1>{failure.status}</h1>", content_type="text/html"
			)
		return None

	async def _respond(
		self, request: web.Request, host: str, method: str, args: dict[str, Any], recorded: RecordedRequest
	) -> web.Response:
		site = self.sites.get(host)
		if site is None:
			return web.Response(status=404, text=f"<h1>{host} does not exist</h1>", content_type="text/html")
		sid = str(args.pop("sid", "")) or unquote(request.cookies.get("sid", GUEST))
		expired = sid != GUEST and sid not in site.sessions
		if expired and site.has_app and self.announces_dead_sessions:
			await self._announce_end_of_session(site, sid)
		try:
			if not request.path.startswith(API_PREFIX):
				raise FrappeError(404, "DoesNotExistError")
			name = site.authenticate(sid, request.headers.get("Authorization", ""))
			user = site.users[name] if name else None
			if user is None:
				raise FrappeError(401, "AuthenticationError")
			recorded.user = user.name
			call = Call(site, user, args, recorded.headers, by_session=sid in site.sessions)
			if not (call.is_from_allowed_address or request.path.startswith(METHOD_PREFIX)):
				raise FrappeError(401, "AuthenticationError")
			message = await self._endpoints.call(method, call)
		except FrappeError as error:
			body = {"exc_type": error.exc_type}
			response = web.json_response(
				{"session_expired": 1, **body} if expired else body, status=error.status
			)
			expired = expired or error.exc_type == "AuthenticationError"
		else:
			content = {} if message is None else {"message": message}
			response = web.json_response({**content, "session_expired": 1} if expired else content)
			if method == "login":
				sid, expired = site.login(str(args["usr"])), False
				response.set_cookie("sid", sid, httponly=True, samesite="Lax", path="/")
		if expired or method == "logout":
			response.set_cookie("sid", "", expires="Thu, 01 Jan 1970 00:00:00 GMT", path="/")
		return response

	async def _send_test_event(self, call: Call) -> None:
		"""The app's `frappe_realtime.monitor.send_test_event(id)`; publishes without the history."""
		if not (call.site.has_app and call.user.has_role(SYSTEM_MANAGER)):
			raise FrappeError(403, "PermissionError")
		assert self._redis is not None, "send_test_event needs redis_url"
		message = {"id": str(call.arg("id"))[:140]}
		room = user_room(call.user.name)
		event = {"event": TEST_EVENT, "message": message, "room": room, "namespace": call.site.name}
		await self._redis.publish(EVENTS_CHANNEL, json.dumps(event))

	async def _publish_to_doctor(self, site: str, room: str, from_worker: bool) -> None:
		"""Append the event of the doctor to the history of the site and publish it, as the app's outbox does."""
		if self._redis is None or (from_worker and not self.has_worker):
			return
		payload = json.dumps({"event": DOCTOR_EVENT, "message": None, "room": room, "namespace": site})
		stream = events_key(site)
		before = await self._redis.get(last_key(stream)) or "0-0"
		id = str(await self._redis.xadd(stream, {"e": payload, "p": before}))
		await self._redis.set(last_key(stream), id)
		await self._redis.publish(EVENTS_CHANNEL, f'{{"offset":"{id}",{payload[1:]}')

	async def _announce_end_of_session(self, site: Site, sid: str) -> None:
		assert self._redis is not None, "announces_dead_sessions needs redis_url"
		sid_hash = hashlib.sha256(sid.encode()).hexdigest()
		message = {"site": site.name, "kind": SESSION_ENDED, "sid_hash": sid_hash}
		await self._redis.publish(ACCESS_CHANNEL, json.dumps(message))


async def read_arguments(request: web.Request) -> dict[str, Any]:
	"""Return the arguments of a request as Frappe does: a JSON body with any HTTP method, a form, the query."""
	args: dict[str, Any] = {}
	if request.content_type == "application/json":
		with contextlib.suppress(ValueError):
			args.update(json.loads(await request.read() or b"{}"))
	elif request.method == "POST":
		args.update(await request.post())
	args.update(request.query)
	return args


async def serve(options: argparse.Namespace) -> None:
	"""Serve until SIGINT or SIGTERM."""
	process = FakeWebProcess(options.version, options.redis, options.secret)
	for name in options.site:
		site = process.add_site(name, ["frappe", *options.app])
		for user in options.user:
			site.add_user(user, password="demo")
		for user in options.website_user:
			site.add_user(user, user_type=WEBSITE_USER, password="demo")
		for number in range(options.sessions):
			# The ids are predictable, so that a load generator in another process can use them.
			site.sessions[f"session-{number}"] = site.add_user(f"user-{number}@example.com").name
	stopped = asyncio.Event()
	for signum in (signal.SIGINT, signal.SIGTERM):
		asyncio.get_running_loop().add_signal_handler(signum, stopped.set)
	port = await process.listen(options.port, options.host)
	print(f"A fake of Frappe v{process.version} listens on http://{options.host}:{port}", flush=True)
	await stopped.wait()
	await process.close()
	print(json.dumps(process.counts), flush=True)


def main() -> None:
	"""Run the fake in its own process. When it stops, it prints the number of requests by method."""
	parser = argparse.ArgumentParser(prog="python -m realtime.demo.web_process", description=__doc__)
	parser.add_argument("--host", default="127.0.0.1")
	parser.add_argument("--port", type=int, default=8000)
	parser.add_argument("--version", type=int, choices=(15, 16, 17), default=16)
	parser.add_argument("--redis", default="", help="URL of redis_queue, for the shared secret")
	parser.add_argument("--secret", action=argparse.BooleanOptionalAction, help="require the shared secret")
	parser.add_argument("--site", action="append", default=[], help="name of a site; repeatable")
	parser.add_argument("--app", action="append", default=[], help="an installed app besides frappe")
	parser.add_argument("--user", action="append", default=[], help="a System User with the password demo")
	parser.add_argument(
		"--website-user", action="append", default=[], help="a Website User with the password demo"
	)
	parser.add_argument("--sessions", type=int, default=0, help="number of sessions session-0, session-1, …")
	asyncio.run(serve(parser.parse_args()))


if __name__ == "__main__":
	main()
