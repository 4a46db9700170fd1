"""Frappe's part of Socket.IO: who is admitted, which rooms a socket joins at connect, and which handlers answer its events."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Any, Protocol

from frappe_realtime.contract.calls import CALL
from frappe_realtime.contract.events import RESERVED_EVENTS, is_own_event
from frappe_realtime.contract.refusals import ADDRESS_NOT_ALLOWED
from frappe_realtime.contract.rooms import SITE_ROOM, WEBSITE_ROOM, user_room
from frappe_realtime.contract.users import SYSTEM_USER

from .access.authentication import Authenticator, Session, credential_of
from .access.failed_logins import LoginAttempt
from .access.limits import ClientLimits
from .access.proxies import address_for_restriction, network_of
from .access.revalidation import Revalidator
from .access.sites import Sites
from .cluster.publisher import ClusterPublisher
from .engine import Connection
from .handlers.reply import Reply
from .recovery.recovery import Recovery
from .socketio.client import Client
from .socketio.errors import ConnectRefused
from .socketio.namespace import Admission, ServerSocket
from .socketio.server import Ack
from .web.frappe_client import Credential

logger = logging.getLogger("realtime.application")


class EventHandler(Protocol):
	"""Answers events of the sockets of sites: the core, the apps' handlers in Python, or those in JavaScript.

	Each event is passed to those that handle it, in this order. The handlers of apps run in the order of the session's
	`installed_apps`; `HandlerFiles` finds the file of an app. The methods must neither block nor raise.
	"""

	@property
	def events(self) -> Collection[str] | None:
		"""The names of the events that it handles, which never change; None if it looks at all events, as apps do."""

	def on_connect(self, socket: ServerSocket, auth: dict[str, Any]) -> None:
		"""Handle a new socket, which has joined the rooms that every socket joins; `auth` is the payload of CONNECT."""

	def on_event(self, socket: ServerSocket, event: str, arguments: list[Any], ack: Ack | None) -> None:
		"""Handle one of `events`; `ack` is None if the client does not ask for an acknowledgement."""

	def on_disconnect(self, socket: ServerSocket, reason: str, rooms: Collection[str]) -> None:
		"""Handle the end of a socket, which has left its namespace and all its `rooms`."""


def _network(connection: Connection) -> str:
	return network_of(connection.request.remote)


OnEvent = Callable[[ServerSocket, str, list[Any], Ack | None], None]
"""The method `on_event` of an `EventHandler`."""


def _on_event_of(handlers: Sequence[EventHandler], event: str) -> list[OnEvent]:
	"""Return the methods that handle `event`."""
	return [handler.on_event for handler in handlers if handler.events is None or event in handler.events]


class FrappeApplication:
	"""Admits clients to the namespaces of sites. The namespace `/` is open and has no handlers, as in Node.

	Args:
		cluster: Publishes that a client has reconnected here.
		sites: Decides which site a namespace is.
		authenticator: Knows the user of a credential.
		recovery: Admits authenticated clients.
		revalidator: Checks sessions again whose access has changed.
		limits: Bounds the sockets of a user or address.
		handlers: Answer the events, in this order.
		developer_mode: True to send exceptions of handlers to System Users who have called them.
	"""

	def __init__(
		self,
		cluster: ClusterPublisher,
		sites: Sites,
		authenticator: Authenticator,
		recovery: Recovery,
		revalidator: Revalidator,
		limits: ClientLimits,
		handlers: Sequence[EventHandler],
		developer_mode: bool = False,
	) -> None:
		self._cluster = cluster
		self._sites = sites
		self._limits = limits
		self._revalidator = revalidator
		self._authenticator = authenticator
		self._recovery = recovery
		self._handlers = handlers
		named = {event for handler in handlers for event in handler.events or ()}
		self._by_event = {event: _on_event_of(handlers, event) for event in named}
		"""The methods `on_event` of the handlers of each event that a handler names."""
		self._of_other_events = [handler.on_event for handler in handlers if handler.events is None]
		self._developer_mode = developer_mode

	def authorize(
		self, connection: Connection, namespace: str, auth: dict[str, Any]
	) -> Admission | Awaitable[Admission]:
		"""Return the decision to admit a client to a site; at once if its user is cached (see `Application`)."""
		if namespace == "/":
			return Admission(None)
		headers = connection.request.headers
		behind_proxy = connection.request.proxied
		site = self._sites.resolve(namespace, headers, behind_proxy)
		credential = credential_of(headers, auth)
		if credential.sid:
			self._sites.check_fetch_site(headers, behind_proxy)
		recoverable = self._recovery.can_recover(connection.request, auth)
		session = self._authenticator.cached(site, credential)
		if session is None:
			# Not later, when the connection may be closed and have no client any more.
			client: Client = connection.data
			attempt = LoginAttempt(_network(connection), has_failed=client.refused > 0)
			return self._authenticated(connection, site, credential, auth, recoverable, attempt)
		return self._admit(connection, session, auth, recoverable)

	async def _authenticated(
		self,
		connection: Connection,
		site: str,
		credential: Credential,
		auth: dict[str, Any],
		recoverable: bool,
		attempt: LoginAttempt,
	) -> Admission:
		session = await self._authenticator.authenticate(site, credential, attempt)
		admission = self._admit(connection, session, auth, recoverable)
		return admission if isinstance(admission, Admission) else await admission

	def _admit(
		self, connection: Connection, session: Session, auth: dict[str, Any], recoverable: bool
	) -> Admission | Awaitable[Admission]:
		"""Return the decision about a client whose user is known."""
		self._check_limits(connection, session)
		admission = self._recovery.admit(session, auth, recoverable, _network(connection))
		return (
			admission if isinstance(admission, Admission) else self._check_limits_again(connection, admission)
		)

	async def _check_limits_again(self, connection: Connection, awaited: Awaitable[Admission]) -> Admission:
		"""Return the admission, and check the limits again: other clients may have connected meanwhile."""
		admission = await awaited
		self._check_limits(connection, admission.session)
		return admission

	def _check_limits(self, connection: Connection, session: Session) -> None:
		if not session.admits(connection.request):
			address = address_for_restriction(connection.request)
			reason = address or "the proxy does not name the client's address (X-Forwarded-For)"
			raise ConnectRefused(
				"Unauthorized: access is not allowed from this IP address", ADDRESS_NOT_ALLOWED, reason
			)
		self._limits.check_socket(session, connection)

	def on_connect(self, socket: ServerSocket, auth: dict[str, Any], admission: Admission) -> None:
		session: Session | None = socket.session
		if session is None:
			socket.send_connect()
			return
		if admission.id:
			self._cluster.socket_moved(socket)
		socket.send_connect(self._recovery.restore(socket, admission))
		socket.join(user_room(session.user))
		socket.join(WEBSITE_ROOM)
		if session.user_type == SYSTEM_USER:
			socket.join(SITE_ROOM)
		self._limits.on_connect(socket)
		self._revalidator.on_connect(socket)
		if self._authenticator.cached(
			session.site, session.credential
		) is not session or self._recovery.is_outdated(admission):
			# Access has changed while the client was connecting.
			self._revalidator.check_sessions([session])
		for handler in self._handlers:
			# Sending may close the connection of a client that does not read.
			if socket.connected:
				handler.on_connect(socket, auth)

	def on_event(self, socket: ServerSocket, event: str, arguments: list[Any], ack: Ack | None) -> None:
		if socket.session is None:
			return
		if event == CALL:
			self._on_call(socket, arguments, ack)
			return
		self._handle(socket, event, arguments, ack)

	def _handle(self, socket: ServerSocket, event: str, arguments: list[Any], ack: Ack | None) -> None:
		for on_event in self._by_event.get(event, self._of_other_events):
			on_event(socket, event, arguments, ack)

	def _on_call(self, socket: ServerSocket, arguments: list[Any], ack: Ack | None) -> None:
		"""Handle an event that is to be answered in any case (`CALL` in the contract)."""
		if (
			ack is None
			or not arguments
			or not isinstance(arguments[0], str)
			or arguments[0] in RESERVED_EVENTS
		):
			return
		event, *arguments = arguments
		session: Session = socket.session
		reply = Reply(ack, event, session.site, self._developer_mode and session.user_type == SYSTEM_USER)
		self._handle(socket, event, arguments, reply)
		# The handlers of this project's own events answer each of them, some later.
		if not is_own_event(event):
			reply.end()

	def on_disconnect(self, socket: ServerSocket, reason: str, rooms: Mapping[str, str]) -> None:
		if socket.session is not None:
			self._limits.on_disconnect(socket)
			self._recovery.on_disconnect(socket, reason, rooms)
			for handler in self._handlers:
				handler.on_disconnect(socket, reason, rooms)
