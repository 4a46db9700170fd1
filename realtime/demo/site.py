"""A stand-in for Frappe's web process: it answers the sidecar's requests as v15, v16 or v17 does.

Tests run it in their own process (`WebProcess`) and change its sites as they go; benchmarks and people run it as
`python -m realtime.demo.site --port 8000 --version 16 --site a.localhost --user ann@example.com`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hashlib
import inspect
import json
import secrets
import signal
from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from http.cookies import SimpleCookie
from typing import Any
from urllib.parse import unquote

import redis.asyncio
from aiohttp import web
from redis.exceptions import RedisError

from frappe_realtime import contract
from frappe_realtime.contract import ACCESS_CHANNEL, MAX_QUESTIONS, SECRET_HEADER, SECRET_KEY, SITE_HEADER

from .model import GUEST, WEBSITE_USER, Site, User

METHOD_PREFIX = "/api/method/"

Method = Callable[["Call"], Any]


class FrappeError(Exception):
	"""An exception of Frappe's: its HTTP status and the name that the answer carries."""

	def __init__(self, status: int, exc_type: str, message: str = "") -> None:
		super().__init__(message)
		self.status = status
		self.exc_type = exc_type


@dataclass
class Call:
	"""One authenticated request to a whitelisted method."""

	site: Site
	user: User
	args: dict[str, Any]
	headers: dict[str, str]
	by_session: bool
	"""Whether a cookie, and not an Authorization header, named the user."""

	def arg(self, name: str) -> Any:
		"""Return an argument; raise what Frappe answers when a required one is not there."""
		if name not in self.args:
			raise FrappeError(500, "TypeError", f"missing 1 required positional argument: '{name}'")
		return self.args[name]


@dataclass
class Logged:
	"""One request as it came in, kept for tests."""

	method: str
	path: str
	site: str
	args: dict[str, Any]
	headers: dict[str, str]
	user: str = ""
	status: int = 0

	def questions(self) -> list[list[str]]:
		"""Return the permission questions in this request, each as `[doctype, name]`."""
		if "questions" in self.args:
			return [[doctype, name or ""] for doctype, name, *_ in self.args["questions"]]
		if "doctype" in self.args:
			return [[self.args["doctype"], self.args.get("name") or self.args.get("docname") or ""]]
		return []


@dataclass
class Failure:
	"""What to do with a request in place of answering it; see `WebProcess.fail`."""

	method: str = ""
	status: int = 0
	delay: float = 0
	body: bytes | None = None
	hang: bool = False
	reset: bool = False
	times: int | None = None
	released: asyncio.Event = field(default_factory=asyncio.Event)


class WebProcess:
	"""Frappe's web process, as far as the sidecar can see.

	Args:
		version: 15, 16 or 17.
		redis_url: the bench's redis_queue, where the shared secret lies; needed with `secret`.
		secret: whether `get_user_info` demands the shared secret: v16 releases and v17. Default: v17 only.

	With `announces_dead_sessions` each question with a cookie that is no session is announced as the end of one, on sites
	with the app. Frappe calls `delete_session` then; version 0.1.0 of the app before 2026-11-25 announced that.
	"""

	def __init__(self, version: int = 16, redis_url: str = "", secret: bool | None = None) -> None:
		self.version = version
		self.secret = version >= 17 if secret is None else secret
		self.sites: dict[str, Site] = {}
		self.announces_dead_sessions = False
		self.requests: deque[Logged] = deque(maxlen=100_000)
		self.counts: Counter[str] = Counter()
		"""requests by method name"""
		self._failures: list[Failure] = []
		self._redis = redis.asyncio.Redis.from_url(redis_url, decode_responses=True) if redis_url else None
		self._runner: web.AppRunner | None = None
		self._methods: dict[str, Method] = {
			"login": login,
			"logout": logout,
			"ping": lambda call: "pong",
			"frappe.auth.get_logged_user": lambda call: call.user.name,
			"frappe.client.has_permission": client_has_permission,
			"frappe.utils.change_log.get_versions": get_versions,
		}
		if version >= 16:
			self._methods["frappe.realtime.has_permission"] = has_permission
		else:
			self._methods["frappe.realtime.can_subscribe_doc"] = can_subscribe_doc
			self._methods["frappe.realtime.can_subscribe_doctype"] = can_subscribe_doctype
		self._app_methods: dict[str, Method] = {
			"frappe.realtime.has_permissions": has_permissions,
			"frappe.realtime.readers": self._readers,
		}

	def add_site(self, name: str, installed_apps: Iterable[str] = ("frappe",)) -> Site:
		"""Add a site; with `frappe_realtime` among its apps it answers as a site that has our app."""
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
		"""Fail requests until `heal()`, or only the next `times`.

		Args:
			method: fail only paths that contain this.
			status: answer with this status and a page of HTML, as a proxy does for 502.
			delay: wait so many seconds, then answer as usual (or as the other arguments say).
			body: answer 200 with this body.
			hang: never answer (until `heal()`).
			reset: close the connection without an answer.
		"""
		self._failures.append(Failure(method, status, delay, body, hang, reset, times))

	def heal(self) -> None:
		"""End every failure; requests that hang are answered now."""
		failures, self._failures = self._failures, []
		for failure in failures:
			failure.released.set()

	def application(self) -> web.Application:
		"""Make the aiohttp application; it may be called more than once, all share this object's state."""
		app = web.Application(client_max_size=25 * 1024 * 1024)
		app.router.add_route("*", "/{path:.*}", self.handle)
		return app

	async def listen(self, port: int, host: str = "127.0.0.1") -> int:
		"""Start to listen; return the port, which the system chooses for 0."""
		self._runner = web.AppRunner(self.application(), shutdown_timeout=0, handle_signals=False)
		await self._runner.setup()
		listener = web.TCPSite(self._runner, host, port, reuse_address=True)
		await listener.start()
		return int(self._runner.addresses[0][1])

	async def stop(self) -> None:
		"""Stop listening and drop all connections: requests are refused until `listen()` is called again."""
		if self._runner:
			await self._runner.cleanup()
			self._runner = None

	async def close(self) -> None:
		"""Stop for good."""
		self.heal()
		await self.stop()
		if self._redis:
			await self._redis.aclose()

	async def handle(self, request: web.Request) -> web.StreamResponse:
		"""Answer one request."""
		method = request.path.removeprefix(METHOD_PREFIX)
		host = self.site_of(request)
		args = await form_dict(request)
		logged = Logged(request.method, request.path, host, args, dict(request.headers))
		self.requests.append(logged)
		self.counts[method] += 1
		response = await self._fail(request) or await self._answer(request, host, method, args, logged)
		logged.status = response.status
		return response

	def site_of(self, request: web.Request) -> str:
		"""Return the name of the site that a request asks for, as Frappe reads it."""
		return request.headers.get(SITE_HEADER) or request.host.rsplit(":", 1)[0]

	async def _fail(self, request: web.Request) -> web.Response | None:
		failure = next((one for one in self._failures if one.method in request.path), None)
		if failure is None:
			return None
		if failure.times is not None:
			failure.times -= 1
			if failure.times <= 0:
				self._failures.remove(failure)
		if failure.hang:
			await failure.released.wait()
		await asyncio.sleep(failure.delay)
		if failure.reset and request.transport:
			request.transport.abort()
		if failure.body is not None:
			return web.Response(body=failure.body, content_type="application/json")
		if failure.status:
			return web.Response(
				status=failure.status, text=f"<h1>{failure.status}</h1>", content_type="text/html"
			)
		return None

	async def _answer(
		self, request: web.Request, host: str, method: str, args: dict[str, Any], logged: Logged
	) -> web.Response:
		site = self.sites.get(host)
		if site is None:
			return web.Response(status=404, text=f"<h1>{host} does not exist</h1>", content_type="text/html")
		sid = str(args.pop("sid", "")) or unquote(request.cookies.get("sid", GUEST))
		expired = sid != GUEST and sid not in site.sessions
		if expired and site.has_app and self.announces_dead_sessions:
			await self._announce_end(site, sid)
		try:
			if not request.path.startswith(METHOD_PREFIX):
				raise FrappeError(404, "DoesNotExistError")
			name = site.user_of(sid, request.headers.get("Authorization", ""))
			user = site.users[name] if name else None
			if user is None or (user.restrict_ip and not request.path.startswith(contract.METHOD_PREFIX)):
				raise FrappeError(401, "AuthenticationError")
			logged.user = user.name
			call = Call(site, user, args, logged.headers, by_session=sid in site.sessions)
			message = await self._call(method, call)
		except FrappeError as error:
			body = {"exc_type": error.exc_type}
			response = web.json_response(
				{"session_expired": 1, **body} if expired else body, status=error.status
			)
			expired = expired or error.exc_type == "AuthenticationError"
		else:
			answer = {} if message is None else {"message": message}
			response = web.json_response({**answer, "session_expired": 1} if expired else answer)
			if method == "login":
				sid, expired = site.login(str(args["usr"])), False
				response.set_cookie("sid", sid, httponly=True, samesite="Lax", path="/")
		if expired or method == "logout":
			response.set_cookie("sid", "", expires="Thu, 01 Jan 1970 00:00:00 GMT", path="/")
		return response

	async def _announce_end(self, site: Site, sid: str) -> None:
		assert self._redis is not None, "announces_dead_sessions needs redis_url"
		sid_hash = hashlib.sha256(sid.encode()).hexdigest()
		message = {"site": site.name, "kind": "session", "sid_hash": sid_hash}
		await self._redis.publish(ACCESS_CHANNEL, json.dumps(message))

	async def _call(self, method: str, call: Call) -> Any:
		if method == "frappe.realtime.get_user_info":
			return await self._get_user_info(call)
		found = self._methods.get(method) or (self._app_methods.get(method) if call.site.has_app else None)
		if found is None:
			raise FrappeError(417, "ValidationError", f"Failed to get method for command {method}")
		answer = found(call)
		return await answer if inspect.isawaitable(answer) else answer

	async def _get_user_info(self, call: Call) -> dict[str, Any]:
		if self.secret and call.headers.get(SECRET_HEADER) != await self._get_secret():
			return {}
		info: dict[str, Any] = {"user": call.user.name, "user_type": call.user.user_type}
		if self.version == 15 and not call.site.has_app and not call.by_session:
			# v15 reads the type from the session, and neither a token nor a Guest has one.
			info["user_type"] = None
		if self.version >= 16 or call.site.has_app:
			info["installed_apps"] = call.site.installed_apps
		if call.site.has_app:
			info["full_name"] = call.user.full_name
		return info

	async def _readers(self, call: Call) -> list[str]:
		"""Our app: those of `users` who may read a document; always for the shared secret."""
		if self._redis is not None and call.headers.get(SECRET_HEADER) != await self._get_secret():
			raise FrappeError(403, "PermissionError")
		document = call.arg("doctype"), call.arg("name")
		return [
			user
			for user in call.arg("users")
			if document not in call.site.missing
			and user in call.site.users
			and call.site.users[user].enabled
			and call.site.may(user, *document)
		]

	async def _get_secret(self) -> str:
		if self._redis is None:
			raise FrappeError(500, "ConnectionError", "the secret needs redis_url")
		try:
			found = await self._redis.get(SECRET_KEY)
			if found:
				return str(found)
			secret = secrets.token_hex(16)
			await self._redis.set(SECRET_KEY, secret)
		except RedisError as error:
			raise FrappeError(500, "ConnectionError", str(error)) from error
		return secret


async def form_dict(request: web.Request) -> dict[str, Any]:
	"""Collect a request's arguments as Frappe does: a JSON body on any method, a form, the query."""
	args: dict[str, Any] = {}
	if request.content_type == "application/json":
		with contextlib.suppress(ValueError):
			args.update(json.loads(await request.read() or b"{}"))
	elif request.method == "POST":
		args.update(await request.post())
	args.update(request.query)
	return args


def login(call: Call) -> str:
	"""`login`: check the password; the caller's answer then carries the cookie."""
	user = call.site.users.get(str(call.args.get("usr")))
	if user is None or not user.enabled or not user.password or user.password != call.args.get("pwd"):
		raise FrappeError(401, "AuthenticationError")
	return "Logged In"


def logout(call: Call) -> None:
	"""`logout`: end the session that asks."""
	cookie = SimpleCookie(call.headers.get("Cookie", ""))
	if "sid" in cookie:
		call.site.sessions.pop(unquote(cookie["sid"].value), None)


def demand(call: Call, doctype: str, name: str, ptype: str = "read") -> None:
	"""Raise what Frappe raises when the document does not exist or the user may not."""
	if (doctype, name) in call.site.missing:
		raise FrappeError(404, "DoesNotExistError")
	if not call.site.may(call.user.name, doctype, name, ptype):
		raise FrappeError(403, "PermissionError")


def has_permission(call: Call) -> bool:
	"""v16 and later: `frappe.realtime.has_permission(doctype, name, ptype="read")`."""
	demand(call, call.arg("doctype"), call.arg("name"), call.args.get("ptype", "read"))
	return True


def client_has_permission(call: Call) -> dict[str, bool]:
	"""`frappe.client.has_permission(doctype, docname, perm_type="read")`, not for Guests."""
	_demand_login(call)
	doctype, name = call.arg("doctype"), call.arg("docname")
	return {
		"has_permission": call.site.may(call.user.name, doctype, name, call.args.get("perm_type", "read"))
	}


def get_versions(call: Call) -> dict[str, dict[str, str]]:
	"""`frappe.utils.change_log.get_versions()`, sorted by name as Frappe's JSON is; not for Guests."""
	_demand_login(call)
	return {app: {"version": "0.0.1"} for app in sorted(call.site.installed_apps)}


def _demand_login(call: Call) -> None:
	if call.user.name == GUEST:
		raise FrappeError(403, "PermissionError")


def can_subscribe_doc(call: Call) -> bool:
	"""v15: `frappe.realtime.can_subscribe_doc(doctype, docname)`."""
	demand(call, call.arg("doctype"), call.arg("docname"))
	return True


def can_subscribe_doctype(call: Call) -> bool:
	"""v15: `frappe.realtime.can_subscribe_doctype(doctype)`."""
	demand(call, call.arg("doctype"), "")
	return True


def has_permissions(call: Call) -> list[bool]:
	"""Our app: `frappe.realtime.has_permissions(questions)`, each `[doctype, name, ptype="read"]`."""
	questions = call.arg("questions")
	if not isinstance(questions, list) or len(questions) > MAX_QUESTIONS:
		raise FrappeError(417, "ValidationError", f"more than {MAX_QUESTIONS} questions")
	return [
		(doctype, name or "") not in call.site.missing
		and call.site.may(call.user.name, doctype, name or "", *ptype)
		for doctype, name, *ptype in questions
	]


async def serve(options: argparse.Namespace) -> None:
	"""Serve until SIGINT or SIGTERM."""
	process = WebProcess(options.version, options.redis, options.secret)
	for name in options.site:
		site = process.add_site(name, ["frappe", *options.app])
		for user in options.user:
			site.add_user(user, password="demo")
		for user in options.website_user:
			site.add_user(user, user_type=WEBSITE_USER, password="demo")
		for number in range(options.sessions):
			# Known beforehand, so that a load generator in another process can use them.
			site.sessions[f"session-{number}"] = site.add_user(f"user-{number}@example.com").name
	stopped = asyncio.Event()
	for signum in (signal.SIGINT, signal.SIGTERM):
		asyncio.get_running_loop().add_signal_handler(signum, stopped.set)
	port = await process.listen(options.port, options.host)
	print(f"A stand-in for Frappe v{process.version} on http://{options.host}:{port}", flush=True)
	await stopped.wait()
	await process.close()
	print(json.dumps(process.counts), flush=True)


def main() -> None:
	"""Run the stand-in as a process of its own; at its end it prints how often each method was called."""
	parser = argparse.ArgumentParser(prog="python -m realtime.demo.site", description=__doc__)
	parser.add_argument("--host", default="127.0.0.1")
	parser.add_argument("--port", type=int, default=8000)
	parser.add_argument("--version", type=int, choices=(15, 16, 17), default=16)
	parser.add_argument("--redis", default="", help="URL of redis_queue, for the shared secret")
	parser.add_argument("--secret", action=argparse.BooleanOptionalAction, help="demand the shared secret")
	parser.add_argument("--site", action="append", default=[], help="may be repeated")
	parser.add_argument("--app", action="append", default=[], help="an installed app beside frappe")
	parser.add_argument("--user", action="append", default=[], help="a System User, password demo")
	parser.add_argument("--website-user", action="append", default=[], help="a Website User, password demo")
	parser.add_argument("--sessions", type=int, default=0, help="users with sids session-0, session-1, …")
	asyncio.run(serve(parser.parse_args()))


if __name__ == "__main__":
	main()
