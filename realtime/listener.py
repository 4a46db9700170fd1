"""The address that the sidecar listens on: a TCP port, or a Unix socket."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
from collections.abc import Callable

from .config import EXIT_LISTEN, Config, ConfigError

logger = logging.getLogger("realtime.server")

BACKLOG = 4096
"""Connections that may wait to be accepted when all clients reconnect at once; the kernel bounds it by `somaxconn`."""


class Listener:
	"""Accepts connections.

	Args:
		config: `socketio_port`, `socketio_uds` and `realtime_host`.
		protocol: Creates the protocol of a new connection.
	"""

	def __init__(self, config: Config, protocol: Callable[[], asyncio.Protocol]) -> None:
		self._config = config
		self._protocol = protocol
		# The working directory may change before the socket is removed.
		self._socket_path = os.path.abspath(config.socketio_uds) if config.socketio_uds else ""
		self._server: asyncio.AbstractServer | None = None

	async def start(self) -> None:
		"""Begin to listen.

		Raises:
			ConfigError: The address cannot be listened on; the message names the configuration key.
		"""
		loop = asyncio.get_running_loop()
		path = self._config.socketio_uds
		try:
			if path:
				_remove_socket(path)
				self._server = await loop.create_unix_server(self._protocol, path, backlog=BACKLOG)
				where = path
			else:
				listening = _listening_socket(self._config.realtime_host, self._config.socketio_port)
				self._server = await loop.create_server(self._protocol, sock=listening, backlog=BACKLOG)
				where = "{}:{}".format(*listening.getsockname()[:2])
		except OSError as error:
			raise ConfigError(self._cannot_listen(error), EXIT_LISTEN) from error
		logger.info("listening on %s for the bench %s", where, self._config.bench)

	def close(self) -> None:
		"""Accept no more connections."""
		if self._server is not None:
			self._server.close()

	def remove_socket(self) -> None:
		"""Remove the file of the Unix socket."""
		if self._socket_path:
			_remove_socket(self._socket_path)

	def _cannot_listen(self, error: OSError) -> str:
		config = self._config
		where = (
			f"socket {config.socketio_uds} (socketio_uds)"
			if config.socketio_uds
			else f"port {config.socketio_port} (socketio_port)"
		)
		reason = f"cannot listen on {where}: {error.strerror or error}"
		if error.errno == errno.EADDRINUSE:
			reason += ". Is the Node server, or another sidecar, still running?"
		return reason


def _listening_socket(host: str, port: int) -> socket.socket:
	"""Return a bound TCP socket, for IPv4 and IPv6 where the machine has both.

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
	try:
		listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
		listening.setblocking(False)
		listening.bind(address)
	except OSError:
		listening.close()
		raise
	return listening


def _remove_socket(path: str) -> None:
	"""Remove the socket that a killed process has left behind; a regular file is not touched."""
	try:
		if os.path.exists(path) and not os.path.isfile(path):
			os.unlink(path)
	except OSError:
		pass
