"""What Frappe makes of a socket: who gets in, which rooms it has from the start, who answers its events."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Sequence
from typing import Any, Protocol

from frappe_realtime.contract import SITE_ROOM, SYSTEM_USER, WEBSITE_ROOM, user_room

from .access.authentication import Authenticator, Session, credential_of
from .access.limits import ClientLimits
from .access.proxies import address_for_restriction
from .access.revalidation import Revalidator
from .access.sites import Sites
from .cluster.publisher import ClusterPublisher
from .engine import Connection
from .recovery.recovery import Recovery
from .socketio.errors import ConnectRefused
from .socketio.namespace import Admission, Namespaces, ServerSocket
from .socketio.server import Ack
from .web.frappe_client import Credential

logger = logging.getLogger("realtime.application")


class EventHandler(Protocol):
	"""One of those who answer the sockets of sites: the core, the apps' handlers in Python, those in JavaScript.

	All responders get everything, in this order: the core, Python, JavaScript. Each of them decides which apps it runs
	for a socket, in the order of the session's `installed_apps`; `HandlerFiles` says which file an app has. None of the
	three methods may wait or raise.
	"""

	def on_connect(self, socket: ServerSocket, auth: dict[str, Any]) -> None:
		"""`socket` is in its namespace and in the rooms that every socket has."""

	def on_event(self, socket: ServerSocket, event: str, arguments: list[Any], ack: Ack | None) -> None:
		"""The client has sent `event`; it wants an answer when `ack` is given, and gets the first one."""

	def on_disconnect(self, socket: ServerSocket, reason: str, rooms: set[str]) -> None:
		"""`socket` has left its namespace and all its `rooms`."""


class FrappeApplication:
	"""Decides over the sockets of all sites. The namespace `/` is open and has no handlers, as in Node."""

	def __init__(
		self,
		namespaces: Namespaces,
		cluster: ClusterPublisher,
		sites: Sites,
		authenticator: Authenticator,
		recovery: Recovery,
		revalidator: Revalidator,
		limits: ClientLimits,
		responders: Sequence[EventHandler],
	) -> None:
		self._namespaces = namespaces
		self._cluster = cluster
		self._sites = sites
		self._limits = limits
		self._revalidator = revalidator
		self._authenticator = authenticator
		self._recovery = recovery
		self._responders = responders

	def authorize(
		self, connection: Connection, namespace: str, auth: dict[str, Any]
	) -> Admission | Awaitable[Admission]:
		"""Let a client in on the site of `namespace`, at once when the web process told its user a moment ago.

		Raises `ConnectRefused` or `ConnectPostponed`.
		"""
		if namespace == "/":
			return Admission(None)
		headers = connection.request.headers
		behind_proxy = connection.request.proxied
		site = self._sites.resolve(namespace, headers, behind_proxy)
		credential = credential_of(headers, auth)
		if credential.sid:
			self._sites.check_fetch_site(headers, behind_proxy)
		able = self._recovery.is_able(connection.request, auth)
		session = self._authenticator.cached(site, credential)
		if session is None:
			return self._authenticated(connection, site, credential, auth, able)
		self._check_limits(connection, session)
		admission = self._recovery.admit(session, auth, able)
		return admission if isinstance(admission, Admission) else self._counted(connection, admission)

	async def _authenticated(
		self, connection: Connection, site: str, credential: Credential, auth: dict[str, Any], able: bool
	) -> Admission:
		session = await self._authenticator.authenticate(site, credential)
		self._check_limits(connection, session)
		admission = self._recovery.admit(session, auth, able)
		return admission if isinstance(admission, Admission) else await self._counted(connection, admission)

	async def _counted(self, connection: Connection, awaited: Awaitable[Admission]) -> Admission:
		"""The admission; others may have come first while it was waited for."""
		admission = await awaited
		self._check_limits(connection, admission.session)
		return admission

	def _check_limits(self, connection: Connection, session: Session) -> None:
		if not session.admits(connection.request):
			address = address_for_restriction(connection.request)
			reason = address or "the proxy does not name the client's address (X-Forwarded-For)"
			raise ConnectRefused(
				"Unauthorized: access is not allowed from this IP address", {"reason": reason}
			)
		self._limits.check_socket(session, self._namespaces.get("/" + session.site), connection)

	def on_connect(self, socket: ServerSocket, auth: dict[str, Any], admission: Admission) -> None:
		session: Session | None = socket.session
		if session is None:
			socket.send_connect()
			return
		if admission.id:
			self._cluster.socket_moved(socket)
		socket.send_connect(self._recovery.welcome(socket, admission))
		socket.join(user_room(session.user))
		socket.join(WEBSITE_ROOM)
		if session.user_type == SYSTEM_USER:
			socket.join(SITE_ROOM)
		self._limits.on_connect(socket)
		self._revalidator.on_connect(socket)
		if self._authenticator.cached(
			session.site, session.credential
		) is not session or self._recovery.is_doubtful(admission):
			# A change of access came while the client was waited for.
			self._revalidator.check_sessions([session])
		for responder in self._responders:
			# What one of them sends may be too much for a client that has missed a lot.
			if socket.connected:
				responder.on_connect(socket, auth)

	def on_event(self, socket: ServerSocket, event: str, arguments: list[Any], ack: Ack | None) -> None:
		if socket.session is not None:
			for responder in self._responders:
				responder.on_event(socket, event, arguments, ack)

	def on_disconnect(self, socket: ServerSocket, reason: str, rooms: set[str]) -> None:
		if socket.session is not None:
			self._limits.on_disconnect(socket)
			self._recovery.left(socket, reason, rooms)
			for responder in self._responders:
				responder.on_disconnect(socket, reason, rooms)
