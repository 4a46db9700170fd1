"""Permission questions that the handlers of apps ask about a client, bounded by the client's rate."""

from __future__ import annotations

from collections.abc import Awaitable

from frappe_realtime.errors import WebUnavailable

from ..socketio.namespace import ServerSocket
from .limits import ClientLimits
from .permissions import Permissions


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
		session = socket.session
		if (
			# What handlers do after the disconnect is not up to the client.
			socket.connected
			and not self._permissions.is_cached(session, doctype, name, ptype)
			and not self._limits.allows_question(socket)
		):
			raise WebUnavailable(
				"too many permission questions for this client (realtime_questions_per_second)"
			)
		return self._permissions.has_permission(session, doctype, name, ptype)
