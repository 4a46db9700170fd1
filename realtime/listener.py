"""The address that the sidecar listens on: a TCP port, or a Unix socket."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from .config import EXIT_LISTEN, Config, ConfigError

logger = logging.getLogger("realtime.server")

BACKLOG = 4096
"""Connections that may wait to be accepted when all clients reconnect at once; the kernel bounds it by `somaxconn`."""


def address_of(config: Config) -> str:
	"""Return where the sidecar listens, as a text that is different for every address."""
	if config.socketio_uds:
		return os.path.abspath(config.socketio_uds)
	return f"{config.realtime_host}:{config.socketio_port}"


def bind(config: Config) -> socket.socket:
	"""Return a bound socket for a process that is the only one on its address.

	Raises:
		ConfigError: The address cannot be listened on; the message names the configuration key.
	"""
	try:
		if config.socketio_uds:
			return _unix_socket(config.socketio_uds)
		return _tcp_socket(config.realtime_host, config.socketio_port, share=False)
	except (OSError, UnicodeError) as error:
		raise ConfigError(_cannot_listen(config, error), EXIT_LISTEN) from error


def bind_shared(config: Config, count: int) -> list[socket.socket]:
	"""Return the listening sockets of `count` workers, which accept connections by themselves.

	On a TCP port each has a queue of its own, to which the kernel assigns a connection by its addresses (SO_REUSEPORT). On
	a Unix socket it is one queue for all.

	Raises:
		ConfigError: The address cannot be listened on; the message names the configuration key.
	"""
	if config.socketio_uds:
		listening = bind(config)
		listening.listen(BACKLOG)
		return [listening] * count
	# Without SO_REUSEPORT, to which the kernel would admit any further process of this user.
	with bind(config) as first:
		port = first.getsockname()[1]
	try:
		return [_shared_tcp_socket(config.realtime_host, port) for _ in range(count)]
	except (OSError, UnicodeError) as error:
		raise ConfigError(_cannot_listen(config, error), EXIT_LISTEN) from error


def bind_again(config: Config, others: Sequence[socket.socket]) -> socket.socket:
	"""Return one more listening socket on the TCP port of `others`, or on the configured one if there are none.

	Raises:
		OSError: The port cannot be listened on.
	"""
	port = others[0].getsockname()[1] if others else config.socketio_port
	return _shared_tcp_socket(config.realtime_host, port)


def remove_socket(path: str) -> None:
	"""Remove the file of a Unix socket, which a killed process leaves behind; a regular file is not touched."""
	try:
		if os.path.exists(path) and not os.path.isfile(path):
			os.unlink(path)
	except OSError:
		pass


class Listener:
	"""Accepts connections.

	Args:
		config: `socketio_port`, `socketio_uds` and `realtime_host`.
		protocol: Creates the protocol of a new connection.
		listening: The listening socket that this process has got from its supervisor; None to make one.
	"""

	def __init__(
		self,
		config: Config,
		protocol: Callable[[], asyncio.Protocol],
		listening: socket.socket | None = None,
	) -> None:
		self._config = config
		self._protocol = protocol
		self._listening = listening
		# The supervisor removes the file of a socket that it has made. The working directory may change before.
		own = config.socketio_uds if listening is None else ""
		self._socket_path = os.path.abspath(own) if own else ""
		self._server: asyncio.AbstractServer | None = None

	def listen(self) -> None:
		"""Let connections wait until they are accepted.

		Raises:
			ConfigError: The address cannot be listened on; the message names the configuration key.
		"""
		if self._listening is None:
			self._listening = bind(self._config)
			self._listening.listen(BACKLOG)

	async def start(self) -> None:
		"""Begin to accept; listen first, if that was not done. Raises as `listen`."""
		self.listen()
		loop = asyncio.get_running_loop()
		listening = self._listening
		assert listening is not None
		if listening.family == socket.AF_UNIX:
			self._server = await loop.create_unix_server(self._protocol, sock=listening, backlog=BACKLOG)
			where = self._config.socketio_uds
		else:
			self._server = await loop.create_server(self._protocol, sock=listening, backlog=BACKLOG)
			where = "{}:{}".format(*listening.getsockname()[:2])
		logger.info("listening on %s for the bench %s", where, self._config.bench)

	async def close(self) -> None:
		"""Accept the connections that wait, and no more: with the last descriptor of the socket, the kernel resets what waits in it."""
		if self._server is None:
			return
		assert self._listening is not None
		waiting: list[socket.socket] = []
		with self._listening.dup() as listening:
			self._server.close()
			# uvloop closes its descriptor at the end of this turn.
			await asyncio.sleep(0)
			with suppress(OSError):
				while True:
					waiting.append(listening.accept()[0])
		for connection in waiting:
			connection.setblocking(False)
			try:
				await asyncio.get_running_loop().connect_accepted_socket(self._protocol, connection)
			except OSError:
				# The client has closed it.
				connection.close()

	def remove_socket(self) -> None:
		"""Remove the file of the Unix socket, if this process has made it."""
		if self._socket_path:
			remove_socket(self._socket_path)


def _cannot_listen(config: Config, error: OSError | UnicodeError) -> str:
	where = f"port {config.socketio_port} (socketio_port)"
	if config.socketio_uds:
		where = f"socket {config.socketio_uds} (socketio_uds)"
	elif config.realtime_host:
		where += f" of {config.realtime_host} (realtime_host)"
	reason = f"cannot listen on {where}: {getattr(error, 'strerror', None) or error}"
	if isinstance(error, UnicodeError | socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
		reason += (
			". realtime_host must be an address of this machine, without brackets, or empty for all of them"
		)
	elif error.errno == errno.EADDRINUSE:
		reason += ". Is the Node server, or another sidecar, still running?"
	return reason


def _unix_socket(path: str) -> socket.socket:
	with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
		probe.setblocking(False)
		# The file of a process that still listens would be replaced without an error, and be removed when that one ends.
		if probe.connect_ex(path) in (0, errno.EAGAIN):
			raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
	remove_socket(path)
	listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
	return _bind(listening, path)


def _tcp_socket(host: str, port: int, share: bool) -> socket.socket:
	"""Return a bound TCP socket, for IPv4 and IPv6 where the machine has both; with `share`, further ones may follow.

	It is created with an explicit protocol, because asyncio sets TCP_NODELAY only on connections of such a socket.
	"""
	if host:
		family, kind, protocol, _, address = socket.getaddrinfo(
			host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP, flags=socket.AI_PASSIVE
		)[0]
		listening = socket.socket(family, kind, protocol)
	else:
		try:
			listening = socket.socket(socket.AF_INET6, socket.SOCK_STREAM, socket.IPPROTO_TCP)
			listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
			address = ("::", port)
		except OSError:
			listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
			address = ("0.0.0.0", port)
	listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
	if share:
		listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
	return _bind(listening, address)


def _shared_tcp_socket(host: str, port: int) -> socket.socket:
	"""Return a listening socket: connections wait in it until its worker accepts."""
	listening = _tcp_socket(host, port, share=True)
	listening.listen(BACKLOG)
	return listening


def _bind(listening: socket.socket, address: Any) -> socket.socket:
	try:
		listening.setblocking(False)
		listening.bind(address)
	except OSError:
		listening.close()
		raise
	return listening
