"""Limits of clients without an engine: what opens connections and admits sockets."""

from __future__ import annotations

from typing import Any

from realtime.access.failed_logins import KnownCredentials
from realtime.access.limits import ClientLimits
from realtime.access.proxies import TrustedProxies
from realtime.config import PRIVATE_NETWORKS
from realtime.socketio.client import Client
from realtime.socketio.namespace import Namespaces
from realtime.usage import Usage
from tests.unit.access.fakes import FakeConnection, config, connected, session

ANN = session()
GUEST = session("Guest")
ADDRESS = "198.51.100.7"


def limits(**keys: Any) -> ClientLimits:
	"""Return limits with these configuration keys."""
	return limits_over(Usage(100), Namespaces(), **keys)


def limits_over(usage: Usage, namespaces: Namespaces, **keys: Any) -> ClientLimits:
	"""Return limits with these configuration keys, over given counts and namespaces."""
	return ClientLimits(
		config(**keys), TrustedProxies(PRIVATE_NETWORKS), KnownCredentials(10), namespaces, usage
	)


def opened(subject: ClientLimits, remote: str = ADDRESS) -> Client:
	"""Open a connection, as the engine does."""
	connection: Any = FakeConnection(remote)
	server: Any = None
	client = connection.data = Client(connection, server)
	subject.check_handshake(connection.request)
	subject.on_open(client)
	return client


def socket_of(subject: ClientLimits, client: Client, user: Any, namespaces: Namespaces) -> Any:
	"""Admit a socket on the connection of `client`."""
	socket = connected(namespaces, user)
	socket.connection = client.connection
	client.sockets[socket.namespace.name] = socket
	subject.on_connect(socket)
	return socket


def leave(client: Client, socket: Any) -> None:
	"""Remove a socket from its connection, as the Socket.IO server does before it reports the end."""
	del client.sockets[socket.namespace.name]
