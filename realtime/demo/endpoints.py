"""The whitelisted methods of a fake site, with the results and errors of Frappe v15, v16 or v17."""

from __future__ import annotations

import contextlib
import inspect
import json
import secrets
from base64 import b64decode, b64encode
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http.cookies import SimpleCookie
from typing import Any
from urllib.parse import unquote

from redis.asyncio import Redis
from redis.exceptions import RedisError

from frappe_realtime.contract.http import (
	ALLOWED_ADDRESSES,
	MAX_QUESTIONS,
	MAX_USERS,
	ONLINE_HOOKS,
	SECRET_HEADER,
)
from frappe_realtime.contract.redis_keys import SECRET_KEY
from frappe_realtime.contract.users import GUEST, SYSTEM_MANAGER

from .model import Site, User

Method = Callable[["Call"], Any]


class FrappeError(Exception):
	"""An exception of Frappe.

	Args:
		status: The HTTP status of the response.
		exc_type: The name of the exception, as in the response.
		message: The message.
	"""

	def __init__(self, status: int, exc_type: str, message: str = "") -> None:
		super().__init__(message)
		self.status = status
		self.exc_type = exc_type


@dataclass
class Call:
	"""An authenticated request to a whitelisted method."""

	site: Site
	user: User
	args: dict[str, Any]
	headers: dict[str, str]
	by_session: bool
	"""Whether the user was authenticated by a session cookie."""

	def arg(self, name: str) -> Any:
		"""Return a required argument.

		Raises:
			FrappeError: If it is missing.
		"""
		if name not in self.args:
			raise FrappeError(500, "TypeError", f"missing 1 required positional argument: '{name}'")
		return self.args[name]

	@property
	def is_from_allowed_address(self) -> bool:
		"""Whether the user may use the site from the address of the request, which Frappe reads from X-Forwarded-For."""
		address = self.headers.get("X-Forwarded-For", "127.0.0.1").partition(",")[0].strip()
		return not self.user.restrict_ip or address.startswith(self.user.restrict_ip)

	def require_login(self) -> None:
		"""Raise `FrappeError` if the user is a Guest."""
		if self.user.name == GUEST:
			raise FrappeError(403, "PermissionError")

	def require_permission(self, doctype: str, name: str, ptype: str = "read") -> None:
		"""Raise `FrappeError` if the document does not exist or the user does not have the permission."""
		if (doctype, name) in self.site.failing:
			raise FrappeError(500, "RuntimeError", "the code of an app")
		if (doctype, name) in self.site.missing:
			raise FrappeError(404, "DoesNotExistError")
		if not self.site.has_permission(self.user.name, doctype, name, ptype):
			raise FrappeError(403, "PermissionError")


async def _publish_nothing(site: str, room: str, from_worker: bool) -> None:
	"""Publish nothing: there is no Redis."""


class SharedSecret:
	"""The secret that Frappe shares with its realtime server in redis_queue.

	Args:
		redis: The client of redis_queue; without one the secret is unavailable.
	"""

	def __init__(self, redis: Redis | None) -> None:
		self.available = redis is not None
		self._redis = redis

	async def get(self) -> str:
		"""Return the secret; create it first if there is none.

		Raises:
			FrappeError: If Redis is unavailable.
		"""
		if self._redis is None:
			raise FrappeError(500, "ConnectionError", "the secret needs redis_url")
		try:
			existing = await self._redis.get(SECRET_KEY)
			if existing:
				return str(existing)
			secret = secrets.token_hex(16)
			await self._redis.set(SECRET_KEY, secret)
		except RedisError as error:
			raise FrappeError(500, "ConnectionError", str(error)) from error
		return secret


class Endpoints:
	"""The whitelisted methods of a Frappe version and of the app `frappe_realtime`.

	Args:
		version: 15, 16 or 17.
		requires_secret: Whether `get_user_info` requires the shared secret: late v16 releases and v17.
		secret: The shared secret.
		publish_to_doctor: Publishes the event of `publish_probe` to a room of a site; with True as a worker does.
	"""

	def __init__(
		self,
		version: int,
		requires_secret: bool,
		secret: SharedSecret,
		publish_to_doctor: Callable[[str, str, bool], Awaitable[None]] = _publish_nothing,
	) -> None:
		self._version = version
		self._requires_secret = requires_secret
		self._publish_to_doctor = publish_to_doctor
		self._secret = secret
		self._methods: dict[str, Method] = {
			"login": login,
			"logout": logout,
			"ping": lambda call: "pong",
			"frappe.auth.get_logged_user": lambda call: call.user.name,
			"frappe.client.has_permission": client_has_permission,
			"frappe.realtime.get_user_info": self._get_user_info,
			"frappe.utils.change_log.get_versions": get_versions,
		}
		if version >= 16:
			self._methods["frappe.realtime.has_permission"] = has_permission
		else:
			self._methods["frappe.realtime.can_subscribe_doc"] = can_subscribe_doc
			self._methods["frappe.realtime.can_subscribe_doctype"] = can_subscribe_doctype
		self._app_methods: dict[str, Method] = {
			"frappe.realtime.has_permission": self._app_has_permission,
			"frappe.realtime.has_permissions": self._app_has_permissions,
			"frappe.realtime.publish_probe": self._publish_probe,
			"frappe.realtime.readers": self._readers,
			"frappe.realtime.can_monitor": self._can_monitor,
			"frappe.realtime.users_changed": self._users_changed,
			"frappe.realtime.shared_load": self._shared_load,
			"frappe.realtime.shared_store": self._shared_store,
		}

	def add(self, name: str, method: Method) -> None:
		"""Add a method to all sites."""
		self._methods[name] = method

	async def call(self, name: str, call: Call) -> Any:
		"""Return the result of a method.

		Raises:
			FrappeError: If the method does not exist on the site or raises.
		"""
		method = (self._app_methods.get(name) if call.site.has_app else None) or self._methods.get(name)
		if method is None:
			raise FrappeError(417, "ValidationError", f"Failed to get method for command {name}")
		result = method(call)
		return await result if inspect.isawaitable(result) else result

	async def _get_user_info(self, call: Call) -> dict[str, Any]:
		"""`frappe.realtime.get_user_info()`."""
		restricted = call.site.has_app and call.user.restrict_ip
		if (self._requires_secret or restricted) and not await self._has_secret(call):
			return {}
		if call.site.has_app and not call.user.enabled:
			raise FrappeError(401, "AuthenticationError")
		info: dict[str, Any] = {"user": call.user.name, "user_type": call.user.user_type}
		if self._version == 15 and not call.site.has_app and not call.by_session:
			# v15 reads the type from the session, which neither a token nor a Guest has.
			info["user_type"] = None
		if self._version >= 16 or call.site.has_app:
			info["installed_apps"] = call.site.installed_apps
		if call.site.has_app:
			info["full_name"] = call.user.full_name
		if call.site.has_app and call.site.online_hooks:
			info[ONLINE_HOOKS] = True
		if restricted:
			info[ALLOWED_ADDRESSES] = [*call.user.restrict_ip]
		return info

	async def _has_secret(self, call: Call) -> bool:
		return call.headers.get(SECRET_HEADER) == await self._secret.get()

	async def _check_address(self, call: Call) -> None:
		if not call.is_from_allowed_address and not await self._has_secret(call):
			raise FrappeError(401, "AuthenticationError")

	async def _app_has_permission(self, call: Call) -> bool:
		"""The app's `frappe.realtime.has_permission(doctype, name="", ptype="read")`."""
		await self._check_address(call)
		question = [call.args.get("doctype"), call.args.get("name", ""), call.args.get("ptype", "read")]
		if not is_permitted(call.site, call.user.name, *parse_question(question)):
			raise FrappeError(403, "PermissionError")
		return True

	async def _app_has_permissions(self, call: Call) -> list[bool]:
		"""The app's `frappe.realtime.has_permissions(questions)`, each `[doctype, name="", ptype="read"]`."""
		await self._check_address(call)
		asked = [parse_question(question) for question in parse_list(call.args.get("questions"))]
		return [is_permitted(call.site, call.user.name, *question) for question in asked]

	async def _can_monitor(self, call: Call) -> bool:
		"""The app's `frappe.realtime.can_monitor()`."""
		await self._check_address(call)
		return call.user.has_role(SYSTEM_MANAGER)

	async def _publish_probe(self, call: Call) -> bool:
		"""The app's `frappe.realtime.publish_probe(room, worker=0)`."""
		if self._secret.available and not await self._has_secret(call):
			raise FrappeError(403, "PermissionError")
		room = call.args.get("room")
		if not isinstance(room, str) or not room:
			raise FrappeError(417, "ValidationError", "room: the id of a socket is expected")
		await self._publish_to_doctor(call.site.name, room, str(call.args.get("worker", 0)) == "1")
		return True

	async def _users_changed(self, call: Call) -> None:
		"""The app's `frappe.realtime.users_changed(online, offline)`; the hooks are called at once."""
		if self._secret.available and not await self._has_secret(call):
			raise FrappeError(403, "PermissionError")
		changes = {change: parse_list(call.args.get(change), MAX_USERS) for change in ("online", "offline")}
		if not all(isinstance(user, str) for users in changes.values() for user in users):
			raise FrappeError(417, "ValidationError", "names of users are expected")
		call.site.users_changed += [(change, user) for change, users in changes.items() for user in users]

	async def _shared_load(self, call: Call) -> str | None:
		"""The app's `frappe.realtime.shared_load(doctype, name, field)`."""
		state = call.site.shared.get(await self._shared_document(call))
		return None if state is None else b64encode(state).decode()

	async def _shared_store(self, call: Call) -> bool:
		"""The app's `frappe.realtime.shared_store(doctype, name, field, state)`."""
		call.site.shared[await self._shared_document(call)] = b64decode(call.arg("state"))
		return True

	async def _shared_document(self, call: Call) -> tuple[str, str, str]:
		if self._secret.available and not await self._has_secret(call):
			raise FrappeError(403, "PermissionError")
		if call.site.shared_fails:
			raise FrappeError(500, "ValueError")
		return call.arg("doctype"), call.arg("name"), call.args.get("field", "")

	async def _readers(self, call: Call) -> list[str]:
		"""The app's `frappe.realtime.readers(doctype, name, users)`; requires the shared secret on every version."""
		if self._secret.available and not await self._has_secret(call):
			raise FrappeError(403, "PermissionError")
		doctype, name, _ = parse_question([call.args.get("doctype"), call.args.get("name", "")])
		users = parse_list(call.args.get("users"))
		if not all(isinstance(user, str) for user in users):
			raise FrappeError(417, "ValidationError", "users: names of users are expected")
		return [
			user
			for user in users
			if user in call.site.users
			and call.site.users[user].enabled
			and is_permitted(call.site, user, doctype, name, "read")
		]


def login(call: Call) -> str:
	"""`login(usr, pwd)`. The web process sets the cookie."""
	user = call.site.users.get(str(call.args.get("usr")))
	if user is None or not user.enabled or not user.password or user.password != call.args.get("pwd"):
		raise FrappeError(401, "AuthenticationError")
	return "Logged In"


def logout(call: Call) -> None:
	"""`logout()`."""
	cookie = SimpleCookie(call.headers.get("Cookie", ""))
	if "sid" in cookie:
		call.site.sessions.pop(unquote(cookie["sid"].value), None)


def has_permission(call: Call) -> bool:
	"""`frappe.realtime.has_permission(doctype, name, ptype="read")` of v16 and later."""
	call.require_permission(call.arg("doctype"), call.arg("name"), call.args.get("ptype", "read"))
	return True


def can_subscribe_doc(call: Call) -> bool:
	"""`frappe.realtime.can_subscribe_doc(doctype, docname)` of v15."""
	call.require_permission(call.arg("doctype"), call.arg("docname"))
	return True


def can_subscribe_doctype(call: Call) -> bool:
	"""`frappe.realtime.can_subscribe_doctype(doctype)` of v15."""
	call.require_permission(call.arg("doctype"), "")
	return True


def client_has_permission(call: Call) -> dict[str, bool]:
	"""`frappe.client.has_permission(doctype, docname, perm_type="read")`, not for Guests."""
	call.require_login()
	doctype, name, ptype = call.arg("doctype"), call.arg("docname"), call.args.get("perm_type", "read")
	return {"has_permission": call.site.has_permission(call.user.name, doctype, name, ptype)}


def get_versions(call: Call) -> dict[str, dict[str, str]]:
	"""`frappe.utils.change_log.get_versions()`, sorted by name as Frappe's JSON is; not for Guests."""
	call.require_login()
	return {app: {"version": "0.0.1"} for app in sorted(call.site.installed_apps)}


# -- for the app's endpoints, which answer as frappe_realtime/permissions/endpoints.py: tests/unit/app/endpoint_cases.py


def is_permitted(site: Site, user: str, doctype: str, name: str, ptype: str) -> bool:
	"""Return whether a user has a permission. A check that raises means no."""
	document = (doctype, name)
	if document in site.missing or document in site.failing:
		return False
	return site.has_permission(user, doctype, name, ptype)


def parse_question(question: Any) -> tuple[str, str, str]:
	"""Return doctype, name and ptype of a question.

	Raises:
		FrappeError: If it is malformed.
	"""
	if not isinstance(question, list | tuple) or not 1 <= len(question) <= 3:
		raise FrappeError(417, "ValidationError", "a question is [doctype, name, ptype]")
	doctype, name, ptype = list(question) + ["", "", "read"][len(question) :]
	if isinstance(name, int) and not isinstance(name, bool):
		name = str(name)
	if not (
		isinstance(doctype, str) and doctype and isinstance(name, str) and isinstance(ptype, str) and ptype
	):
		raise FrappeError(417, "ValidationError", "doctype, name and ptype are strings")
	return doctype, name, ptype


def parse_list(value: Any, most: int = MAX_QUESTIONS) -> list[Any]:
	"""Return a list of at most `most` values, from itself or from JSON.

	Raises:
		FrappeError: If it is something else.
	"""
	if isinstance(value, str):
		with contextlib.suppress(ValueError):
			value = json.loads(value)
	if not isinstance(value, list) or len(value) > most:
		raise FrappeError(417, "ValidationError", f"a list of at most {most} values is expected")
	return value
