"""The application: admission to a site, the rooms of a new socket, and the order of handlers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Collection
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import Mock

import pytest

from realtime.access.failed_logins import LoginAttempt
from realtime.application import EventHandler, FrappeApplication
from realtime.engine import Encoded
from realtime.socketio.errors import ConnectRefused
from realtime.socketio.namespace import Admission, Namespaces, ServerSocket
from tests.unit.socketio.fakes import SITE, add_socket


class RecordingHandler:
	"""A handler that records calls, and closes the socket in `on_connect` if `closes` is true."""

	def __init__(
		self,
		name: str,
		calls: list[tuple[Any, ...]],
		closes: bool = False,
		events: Collection[str] | None = None,
	) -> None:
		self.name = name
		self.events = events
		self.closes = closes
		self.calls = calls

	def on_connect(self, socket: Any, auth: dict[str, Any]) -> None:
		self.calls.append((self.name, "connect", auth))
		if self.closes:
			socket.namespace.sockets.pop(socket.id)

	def on_event(self, socket: ServerSocket, event: str, arguments: list[Any], ack: Any) -> None:
		self.calls.append((self.name, event, arguments, ack))

	def on_disconnect(self, socket: ServerSocket, reason: str, rooms: Collection[str]) -> None:
		self.calls.append((self.name, "disconnect", reason, rooms))


class Setting:
	"""An application whose dependencies are mocks."""

	def __init__(self, closes: bool = False) -> None:
		self.calls: list[tuple[Any, ...]] = []
		self.namespaces = Namespaces()
		self.cluster, self.sites, self.authenticator = Mock(), Mock(), Mock()
		self.recovery, self.revalidator, self.limits = Mock(), Mock(), Mock()
		self.sites.resolve.return_value = SITE
		self.recovery.restore.return_value = []
		self.recovery.is_outdated.return_value = False
		self.application = FrappeApplication(
			self.cluster,
			self.sites,
			self.authenticator,
			self.recovery,
			self.revalidator,
			self.limits,
			[
				cast(EventHandler, RecordingHandler("first", self.calls, closes)),
				cast(EventHandler, RecordingHandler("named", self.calls, events=("named",))),
				cast(EventHandler, RecordingHandler("last", self.calls)),
			],
		)
		self.session = SimpleNamespace(
			admits=lambda request: True,
			site=SITE,
			user="ann@example.com",
			user_type="System User",
			credential="credential",
		)
		self.authenticator.cached.return_value = self.session
		self.connection = Mock()
		self.connection.request.remote = "192.0.2.1"
		self.connection.request.headers = {"cookie": "sid=secret"}
		self.connection.data.refused = 1

	def connect(self, admission: Admission | None = None) -> ServerSocket:
		"""Add a socket, and pass it to the application."""
		socket = add_socket(self.namespaces)
		socket.session = self.session
		self.application.on_connect(socket, {"auth": 1}, admission or Admission(self.session))
		return socket

	def authorize(self) -> Admission | Awaitable[Admission]:
		"""Authorize a client with a session cookie."""
		return self.application.authorize(self.connection, f"/{SITE}", {})


def test_a_cached_user_is_admitted_at_once() -> None:
	it = Setting()
	admission = Admission(it.session)
	it.recovery.admit.return_value = admission
	assert it.authorize() is admission
	it.limits.check_socket.assert_called_once_with(it.session, it.connection)
	it.sites.check_fetch_site.assert_called_once()


def test_another_user_is_authenticated_first() -> None:
	it = Setting()
	it.authenticator.cached.return_value = None

	async def session(site: str, credential: Any, attempt: LoginAttempt) -> Any:
		assert (site, credential.sid) == (SITE, "secret")
		assert attempt == LoginAttempt("192.0.2.1", has_failed=True)
		return it.session

	it.authenticator.authenticate = session
	admission = Admission(it.session)
	it.recovery.admit.return_value = admission

	async def run() -> Admission:
		answer = it.authorize()
		assert not isinstance(answer, Admission)
		return await answer

	assert asyncio.run(run()) is admission
	it.limits.check_socket.assert_called_once()


def test_a_connection_may_close_before_the_web_process_is_asked() -> None:
	it = Setting()
	it.authenticator.cached.return_value = None

	async def refuse(site: str, credential: Any, attempt: LoginAttempt) -> Any:
		raise ConnectRefused("the client has left")

	it.authenticator.authenticate = refuse

	async def run() -> None:
		answer = it.authorize()
		assert not isinstance(answer, Admission)
		it.connection.data = None
		with pytest.raises(ConnectRefused):
			await answer

	asyncio.run(run())


@pytest.mark.parametrize("cached", [False, True])
def test_the_limits_are_checked_again_after_waiting(cached: bool) -> None:
	"""Others of the same user have connected meanwhile."""
	it = Setting()

	async def later(value: Any) -> Any:
		return value

	if not cached:
		it.authenticator.cached.return_value = None
		it.authenticator.authenticate = lambda site, credential, attempt: later(it.session)
	it.recovery.admit.side_effect = lambda *_: later(Admission(it.session))
	it.limits.check_socket.side_effect = [None, ConnectRefused("Too many connections")]

	async def run() -> None:
		answer = it.authorize()
		assert not isinstance(answer, Admission)
		with pytest.raises(ConnectRefused):
			await answer

	asyncio.run(run())


def test_a_user_beyond_the_limits_is_refused() -> None:
	it = Setting()
	it.limits.check_socket.side_effect = ConnectRefused("Too many connections")
	with pytest.raises(ConnectRefused):
		it.authorize()
	it.recovery.admit.assert_not_called()


def test_the_namespace_without_site_is_open() -> None:
	it = Setting()
	admission = it.application.authorize(it.connection, "/", {})
	assert isinstance(admission, Admission)
	assert admission.session is None
	it.sites.resolve.assert_not_called()
	it.session = None  # type: ignore[assignment]
	socket = it.connect()
	connection: Any = socket.connection
	assert len(connection.sent) == 1
	it.application.on_event(socket, "event", [], None)
	it.application.on_disconnect(socket, "transport close", {})
	assert it.calls == []
	assert socket.rooms == set()
	it.limits.on_connect.assert_not_called()
	it.limits.on_disconnect.assert_not_called()


@pytest.mark.parametrize(
	("user_type", "rooms"),
	[
		("System User", {"user:ann@example.com", "website", "all"}),
		("Website User", {"user:ann@example.com", "website"}),
	],
)
def test_the_rooms_of_a_new_socket(user_type: str, rooms: set[str]) -> None:
	it = Setting()
	it.session.user_type = user_type
	assert it.connect().rooms == rooms


def test_a_client_that_recovers_is_announced_to_other_sidecars() -> None:
	it = Setting()
	it.connect()
	it.cluster.socket_moved.assert_not_called()
	socket = it.connect(Admission(it.session, "pid", "id"))
	it.cluster.socket_moved.assert_called_once_with(socket)


@pytest.mark.parametrize(
	("replaced", "outdated", "checked"),
	[(False, False, False), (True, False, True), (False, True, True), (True, True, True)],
)
def test_access_that_changed_while_a_client_connected_is_checked_again(
	replaced: bool, outdated: bool, checked: bool
) -> None:
	it = Setting()
	if replaced:
		it.authenticator.cached.return_value = SimpleNamespace(admits=lambda request: True)
	it.recovery.is_outdated.return_value = outdated
	it.connect()
	assert it.revalidator.check_sessions.call_args_list == ([(([it.session],),)] if checked else [])


def test_a_new_socket_is_answered_first() -> None:
	"""With what it has missed; then the limits and the revalidator count it."""
	it = Setting()
	it.recovery.restore.return_value = [Encoded("missed")]
	socket = it.connect()
	connection: Any = socket.connection
	assert [str(text)[:2] for text in connection.sent] == ["0/", "mi"]
	it.limits.on_connect.assert_called_once_with(socket)
	it.revalidator.on_connect.assert_called_once_with(socket)


def test_handlers_of_an_event_are_called_in_order() -> None:
	it = Setting()
	socket = it.connect()
	assert it.calls == [(name, "connect", {"auth": 1}) for name in ("first", "named", "last")]
	it.calls.clear()
	ack = Mock()
	it.application.on_event(socket, "event", [1], ack)
	it.application.on_event(socket, "named", [2], None)
	it.application.on_disconnect(socket, "transport close", {"room": "5-0"})
	assert it.calls == [
		("first", "event", [1], ack),
		("last", "event", [1], ack),
		("first", "named", [2], None),
		("named", "named", [2], None),
		("last", "named", [2], None),
		("first", "disconnect", "transport close", {"room": "5-0"}),
		("named", "disconnect", "transport close", {"room": "5-0"}),
		("last", "disconnect", "transport close", {"room": "5-0"}),
	]
	it.recovery.on_disconnect.assert_called_once_with(socket, "transport close", {"room": "5-0"})
	it.limits.on_disconnect.assert_called_once_with(socket)


def test_a_socket_that_ends_in_on_connect_is_not_passed_to_the_next_handler() -> None:
	"""The handler would never be notified of the end, which was reported already."""
	it = Setting(closes=True)
	it.connect()
	assert [call[0] for call in it.calls] == ["first"]
