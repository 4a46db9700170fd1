"""The whitelisted methods of a fake site, with the results and errors of Frappe v15, v16 or v17."""

from __future__ import annotations

import inspect
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from http.cookies import SimpleCookie
from typing import Any
from urllib.parse import unquote

from redis.asyncio import Redis
from redis.exceptions import RedisError

from frappe_realtime.contract import GUEST, MAX_QUESTIONS, SECRET_HEADER, SECRET_KEY

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

	def require_login(self) -> None:
		"""Raise `FrappeError` if the user is a Guest."""
		if self.user.name == GUEST:
			raise FrappeError(403, "PermissionError")

	def require_permission(self, doctype: str, name: str, ptype: str = "read") -> None:
		"""Raise `FrappeError` if the document does not exist or the user does not have the permission."""
		if (doctype, name) in self.site.missing:
			raise FrappeError(404, "DoesNotExistError")
		if not self.site.has_permission(self.user.name, doctype, name, ptype):
			raise FrappeError(403, "PermissionError")


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
	"""

	def __init__(self, version: int, requires_secret: bool, secret: SharedSecret) -> None:
		self._version = version
		self._requires_secret = requires_secret
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
			"frappe.realtime.has_permissions": has_permissions,
			"frappe.realtime.readers": self._readers,
		}

	def add(self, name: str, method: Method) -> None:
		"""Add a method to all sites."""
		self._methods[name] = method

	async def call(self, name: str, call: Call) -> Any:
		"""Return the result of a method.

		Raises:
			FrappeError: If the method does not exist on the site or raises.
		"""
		method = self._methods.get(name) or (self._app_methods.get(name) if call.site.has_app else None)
		if method is None:
			raise FrappeError(417, "ValidationError", f"Failed to get method for command {name}")
		result = method(call)
		return await result if inspect.isawaitable(result) else result

	async def _get_user_info(self, call: Call) -> dict[str, Any]:
		"""`frappe.realtime.get_user_info()`."""
		if self._requires_secret and call.headers.get(SECRET_HEADER) != await self._secret.get():
			return {}
		info: dict[str, Any] = {"user": call.user.name, "user_type": call.user.user_type}
		if self._version == 15 and not call.site.has_app and not call.by_session:
			# v15 reads the type from the session, which neither a token nor a Guest has.
			info["user_type"] = None
		if self._version >= 16 or call.site.has_app:
			info["installed_apps"] = call.site.installed_apps
		if call.site.has_app:
			info["full_name"] = call.user.full_name
		return info

	async def _readers(self, call: Call) -> list[str]:
		"""The app's `frappe.realtime.readers(doctype, name, users)`; requires the shared secret on every version."""
		if self._secret.available and call.headers.get(SECRET_HEADER) != await self._secret.get():
			raise FrappeError(403, "PermissionError")
		document = call.arg("doctype"), call.arg("name")
		return [
			user
			for user in call.arg("users")
			if document not in call.site.missing
			and user in call.site.users
			and call.site.users[user].enabled
			and call.site.has_permission(user, *document)
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


def has_permissions(call: Call) -> list[bool]:
	"""The app's `frappe.realtime.has_permissions(questions)`, each `[doctype, name, ptype="read"]`."""
	questions = call.arg("questions")
	if not isinstance(questions, list) or len(questions) > MAX_QUESTIONS:
		raise FrappeError(417, "ValidationError", f"more than {MAX_QUESTIONS} questions")
	return [
		(doctype, name or "") not in call.site.missing
		and call.site.has_permission(call.user.name, doctype, name or "", *ptype)
		for doctype, name, *ptype in questions
	]
