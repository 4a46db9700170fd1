"""Limits of connections and sockets, by address and by user, in one sidecar and over all."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest

from frappe_realtime.contract.rooms import user_room
from realtime.access.failed_logins import KnownCredentials
from realtime.access.limits import KNOWN_HANDSHAKES, ClientLimits
from realtime.access.proxies import TrustedProxies
from realtime.config import PRIVATE_NETWORKS
from realtime.engine import RequestRefused
from realtime.socketio.client import Client
from realtime.socketio.errors import ConnectRefused
from realtime.socketio.namespace import Namespaces
from realtime.usage import Usage, connections_key, guests_key, user_key
from realtime.web.frappe_client import Credential
from tests.unit.access.fakes import FakeConnection, FakeRequest, config, connected, session
from tests.unit.access.limits.subjects import (
	ADDRESS,
	ANN,
	GUEST,
	leave,
	limits,
	limits_over,
	opened,
	socket_of,
)


@pytest.mark.parametrize(
	("remote", "headers", "count"),
	[
		(ADDRESS, {}, 0),
		("192.168.0.7", {}, 0),
		("127.0.0.1", {}, 1),
		("127.0.0.1", {"x-frappe-site-name": "one.test"}, 1),
		("127.0.0.1", {"x-real-ip": "127.0.0.1"}, 0),
		("127.0.0.1", {"x-forwarded-for": ADDRESS}, 0),
	],
)
def test_clients_without_an_address_are_counted(remote: str, headers: dict[str, str], count: int) -> None:
	subject = limits()
	connection: Any = FakeConnection(remote)
	connection.request.headers.update(headers)
	server: Any = None
	client = connection.data = Client(connection, server)
	subject.check_handshake(connection.request)
	subject.on_open(client)
	assert subject.without_address == count


def test_the_oldest_unknown_connection_gives_way(clock: list[float]) -> None:
	subject = limits(realtime_unknown_connections=2)
	namespaces = Namespaces()
	known, oldest, second = opened(subject), opened(subject), None
	closed = [client.connection.closed for client in (known, oldest)]
	assert not any(closed)
	socket = socket_of(subject, known, ANN, namespaces)
	second = opened(subject)
	close: Any = oldest.connection
	close.close = lambda reason, abort=False: subject.on_close(oldest)
	third = opened(subject)
	assert list(subject._unknown) == [second, third]
	assert subject.reached == {"realtime_unknown_connections": 1}
	# A client that leaves its last namespace is the newest of them.
	leave(known, socket)
	subject.on_disconnect(socket)
	assert list(subject._unknown) == [second, third, known]


def test_connections_from_one_address(clock: list[float]) -> None:
	subject = limits(realtime_connections_per_address=2)
	clients = [opened(subject) for _ in range(2)]
	with pytest.raises(RequestRefused) as refused:
		opened(subject)
	assert refused.value.status == 429
	assert "realtime_connections_per_address" in str(refused.value)
	assert subject.reached == {"realtime_connections_per_address": 1}
	opened(subject, "198.51.100.8")
	subject.on_close(clients[0])
	opened(subject)


def test_the_other_connections_of_an_address_go_on_counting(clock: list[float]) -> None:
	subject = limits(realtime_connections_per_address=2)
	first, _ = opened(subject), opened(subject)
	subject.on_close(first)
	assert subject.counts.addresses == {ADDRESS: 1}
	opened(subject)
	with pytest.raises(RequestRefused):
		opened(subject)


def test_new_connections_of_an_address_have_a_rate(clock: list[float]) -> None:
	"""The burst is that of a NAT whose clients all reconnect."""
	subject = limits(realtime_handshakes_per_second=0.4, realtime_connections_per_address=4)
	for _ in range(4):
		subject.on_close(opened(subject))
	with pytest.raises(RequestRefused) as refused:
		opened(subject)
	assert (refused.value.status, refused.value.retry_after) == (429, 3)
	assert "realtime_handshakes_per_second" in str(refused.value)
	assert subject.reached == {"realtime_handshakes_per_second": 1}
	opened(subject, "198.51.100.8")
	clock[0] += 5
	for _ in range(2):
		subject.on_close(opened(subject))
	with pytest.raises(RequestRefused):
		opened(subject)


def test_requests_for_pages_have_a_rate_of_their_own(clock: list[float]) -> None:
	subject = limits(realtime_pages_per_second=0.4)
	page: Any = FakeRequest(ADDRESS)
	for _ in range(4):
		subject.check_page(page)
	with pytest.raises(RequestRefused) as refused:
		subject.check_page(page)
	assert (refused.value.status, refused.value.retry_after) == (429, 3)
	assert "realtime_pages_per_second" in str(refused.value)
	assert subject.reached == {"realtime_pages_per_second": 1}
	other: Any = FakeRequest("198.51.100.8")
	subject.check_page(other)
	opened(subject)
	clock[0] += 3
	subject.check_page(page)


def test_a_valid_session_connects_although_its_address_has_used_up_the_rate(clock: list[float]) -> None:
	known = KnownCredentials(10)
	known.add(Credential(sid="ann"))
	subject = ClientLimits(
		config(realtime_handshakes_per_second=0.1, realtime_connections_per_address=1),
		TrustedProxies(PRIVATE_NETWORKS),
		known,
		Namespaces(),
		Usage(100),
	)
	first: Any = FakeRequest(ADDRESS)
	subject.check_handshake(first)
	accepted = []
	for cookie in [*["sid=invented"] * 3, *["a=b; sid=ann"] * 30]:
		request: Any = FakeRequest(ADDRESS, cookie=cookie)
		with suppress(RequestRefused):
			subject.check_handshake(request)
			accepted.append(cookie)
	assert accepted == ["a=b; sid=ann"] * int(KNOWN_HANDSHAKES[1])


def test_an_unknown_address_has_no_rate(clock: list[float]) -> None:
	subject = limits(
		realtime_handshakes_per_second=0.1, realtime_connections_per_address=1, realtime_pages_per_second=0.1
	)
	page: Any = FakeRequest("127.0.0.1")
	for _ in range(3):
		subject.on_close(opened(subject, "127.0.0.1"))
		subject.check_page(page)


def test_an_ipv6_network_is_one_address(clock: list[float]) -> None:
	subject = limits(realtime_connections_per_address=1)
	opened(subject, "2001:db8::1")
	with pytest.raises(RequestRefused):
		opened(subject, "2001:db8::2")
	opened(subject, "2001:db8:0:1::1")


def test_counters_return_to_zero(clock: list[float]) -> None:
	subject = limits()
	namespaces = Namespaces()
	for user in (ANN, GUEST):
		client = opened(subject)
		socket = socket_of(subject, client, user, namespaces)
		assert not subject._unknown
		assert subject.counts.addresses == {ADDRESS: 1}
		assert subject.counts.guests == ({ADDRESS: 1} if user is GUEST else {})
		leave(client, socket)
		subject.on_disconnect(socket)
		assert list(subject._unknown) == [client]
		subject.on_close(client)
		assert not subject._unknown
		assert not subject.counts.addresses
		assert not subject.counts.guests


def test_a_trusted_proxy_names_the_address(clock: list[float]) -> None:
	subject = limits()
	request: Any = FakeRequest("127.0.0.1", x_forwarded_for=ADDRESS)
	subject.check_handshake(request)
	assert (request.remote, request.proxied) == (ADDRESS, True)
	request = FakeRequest("198.51.100.8", x_forwarded_for=ADDRESS)
	subject.check_handshake(request)
	assert (request.remote, request.proxied) == ("198.51.100.8", False)


# -- sockets


def test_sockets_of_a_user(clock: list[float]) -> None:
	namespaces = Namespaces()
	subject = limits_over(Usage(100), namespaces, realtime_sockets_per_user=2)
	connection: Any = FakeConnection(ADDRESS)
	subject.check_socket(ANN, connection)
	for _ in range(2):
		subject.check_socket(ANN, connection)
		connected(namespaces, ANN).join(user_room(ANN.user))
	with pytest.raises(ConnectRefused, match=r"Too many connections of ann@example\.com") as refused:
		subject.check_socket(ANN, connection)
	assert refused.value.data == {
		"code": "too_many_connections",
		"reason": "realtime_sockets_per_user is 2",
		"limit": "realtime_sockets_per_user",
		"most": 2,
	}
	subject.check_socket(session("bob"), connection)
	assert subject.reached == {"realtime_sockets_per_user": 1}


def test_guests_of_an_address(clock: list[float]) -> None:
	subject = limits(realtime_guests_per_address=1)
	namespaces = Namespaces()
	client = opened(subject)
	subject.check_socket(GUEST, client.connection)
	socket_of(subject, client, GUEST, namespaces)
	with pytest.raises(ConnectRefused, match=f"Too many connections from {ADDRESS}"):
		subject.check_socket(GUEST, client.connection)
	subject.check_socket(ANN, client.connection)
	unknown: Any = FakeConnection("")
	subject.check_socket(GUEST, unknown)


# -- over all sidecars


def admitted(subject: ClientLimits, client: Client, user: Any, namespaces: Namespaces) -> Any:
	"""Admit a socket that has joined the room of its user."""
	socket = connected(namespaces, user)
	socket.join(user_room(user.user))
	socket.connection = client.connection
	client.sockets[socket.namespace.name] = socket
	subject.on_connect(socket)
	return socket


def test_the_limits_of_users_and_addresses_hold_over_all_sidecars() -> None:
	usage, namespaces = Usage(100), Namespaces()
	subject = limits_over(
		usage,
		namespaces,
		realtime_connections_per_address=4,
		realtime_guests_per_address=3,
		realtime_sockets_per_user=3,
	)
	usage.set_sidecars(2)
	usage.take(
		"other",
		[(connections_key(ADDRESS), 2), (guests_key(ADDRESS), 2), (user_key(ANN.site, ANN.user), 2)],
		more=False,
	)
	client = opened(subject)
	subject.check_socket(GUEST, client.connection)
	subject.check_socket(ANN, client.connection)
	guest, socket = (admitted(subject, client, user, namespaces) for user in (GUEST, ANN))
	for user in (GUEST, ANN):
		with pytest.raises(ConnectRefused):
			subject.check_socket(user, client.connection)
	opened(subject)
	with pytest.raises(RequestRefused):
		opened(subject)
	assert usage.to_publish() == {
		connections_key(ADDRESS): 2,
		guests_key(ADDRESS): 1,
		user_key(ANN.site, ANN.user): 1,
	}
	for one in (guest, socket):
		one.leave(user_room(one.session.user))
		subject.on_disconnect(one)
	assert usage.to_publish() == {connections_key(ADDRESS): 2}
	usage.forget("other")
	subject.check_socket(ANN, client.connection)


def test_the_counts_are_complete_for_a_sidecar_that_appears_later() -> None:
	usage, namespaces = Usage(100), Namespaces()
	subject = limits_over(usage, namespaces, realtime_sockets_per_user=3)
	client = opened(subject)
	admitted(subject, client, ANN, namespaces)
	assert usage.to_publish() is None, "there is no other sidecar"
	usage.set_sidecars(2)
	assert usage.to_publish() == {user_key(ANN.site, ANN.user): 1}
