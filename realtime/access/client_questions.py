"""Permission questions that clients cause, by subscriptions and by the events of apps, bounded by the client's rate."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

from frappe_realtime.errors import WebUnavailable

from ..socketio.namespace import ServerSocket
from .limits import ClientLimits
from .permissions import Permissions

MAX_NAME = 600
"""Characters of the name of a DocType or a document that a client, or a handler for it, asks about; Frappe's own names have at most 140."""


def is_name(value: Any) -> bool:
	"""Return True for the name of a DocType, or another one, that a client may send."""
	return isinstance(value, str) and 0 < len(value) <= MAX_NAME


def document_name(value: Any) -> str:
	"""Return a document's name as text, because some DocTypes have numbers as names; empty if it is invalid."""
	name = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
	return str(name) if is_name(name) else ""


def are_names(doctype: Any, name: str, ptype: Any) -> bool:
	"""Return False for what Frappe has no permission on, as a client may have sent it: no answer is kept with a text of any length."""
	names = (doctype, name, ptype)
	return bool(doctype) and all(isinstance(one, str) and len(one) <= MAX_NAME for one in names)


def allows_permission_question(
	permissions: Permissions,
	limits: ClientLimits,
	socket: ServerSocket,
	doctype: str,
	name: str = "",
	ptype: str = "read",
) -> bool:
	"""Return True if a client may cause this question: the answer is cached, or its rate allows one more request.

	Sends `limit_reached` to a client that may not, see `ClientLimits.allows_question`.
	"""
	return permissions.is_cached(socket.session, doctype, name, ptype) or limits.allows_question(socket)


class ClientQuestions:
	"""Answers `socket.has_permission` of handlers.

	A client decides which events it sends, and so which names a handler asks about. Questions of handlers therefore count in
	the same rate as the subscriptions of the client (`realtime_questions_per_second`).

	Args:
		permissions: Answers from the cache or from the web process.
		limits: Counts the questions that are not answered from the cache.
	"""

	def __init__(self, permissions: Permissions, limits: ClientLimits) -> None:
		self._permissions = permissions
		self._limits = limits

	def has_permission(
		self, socket: ServerSocket, doctype: str, name: str = "", ptype: str = "read"
	) -> bool | Awaitable[bool]:
		"""Return whether the user of `socket` has a permission; see `Permissions.has_permission`.

		Raises:
			WebUnavailable: The client has caused too many questions.
		"""
		if not are_names(doctype, name, ptype):
			return False
		# What handlers do after the disconnect is not up to the client.
		if socket.connected and not allows_permission_question(
			self._permissions, self._limits, socket, doctype, name, ptype
		):
			raise WebUnavailable(
				"too many permission questions for this client (realtime_questions_per_second)"
			)
		return self._permissions.has_permission(socket.session, doctype, name, ptype)
