"""The addresses of Redis: a URL, or for redis_queue the master that Sentinels report. The keys are those that Frappe itself reads."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast
from urllib.parse import parse_qsl, unquote, urlsplit

from ..config import Config

if TYPE_CHECKING:
	# Imported where it is needed, because it is a tenth of the memory of a sidecar that has just started.
	from redis.asyncio.sentinel import Sentinel

ProtocolT = TypeVar("ProtocolT", bound=asyncio.Protocol)

TIMEOUT = 5.0
"""Seconds for connecting, and for each reply."""

SENTINEL_TIMEOUT = 1.0
"""The same for a Sentinel; shorter, because there are others."""


@dataclass(frozen=True, slots=True)
class Address:
	"""The address of a Redis server: `path` of a Unix socket, or `host` and `port` if it is empty."""

	host: str = "localhost"
	port: int = 6379
	path: str = ""
	username: str = ""
	password: str = ""
	tls: ssl.SSLContext | None = None
	database: int = 0


class Endpoint(Protocol):
	"""The address of a Redis server."""

	async def connect(self, protocol: Callable[[], ProtocolT]) -> tuple[ProtocolT, Address]:
		"""Connect, and return the protocol of the connection with the address that it leads to."""


class CacheEndpoint:
	"""The address of redis_cache.

	Args:
		config: The configuration.
	"""

	def __init__(self, config: Config) -> None:
		self._url: str = config.redis_cache

	def __str__(self) -> str:
		"""Return the address without its password, and its configuration key, for logs."""
		return f"Redis at {safe_url(self._url)} (redis_cache)"

	async def connect(self, protocol: Callable[[], ProtocolT]) -> tuple[ProtocolT, Address]:
		"""Connect, and return the protocol of the connection with the address that it leads to.

		Raises:
			OSError, asyncio.TimeoutError: Redis cannot be reached within `TIMEOUT` seconds.
			ValueError: The URL is invalid.
		"""
		address = parse_address(self._url)
		connection, _ = await _open(protocol, address)
		return connection, address


class RedisEndpoint:
	"""The address of redis_queue.

	Args:
		config: The configuration.
	"""

	def __init__(self, config: Config) -> None:
		self._url: str = config.redis_queue
		self._service: str = config.redis_queue_master_service
		self._config = config
		self.local_host = ""
		"""The local address of the last connection; empty before the first one, and for a Unix socket."""
		self.sentinels: list[tuple[str, int]] = []
		if config.redis_queue_sentinel_enabled:
			self.sentinels = [_node(node) for node in config.redis_queue_sentinels]

	def __str__(self) -> str:
		"""Return the address without its password, and its configuration key, for logs and errors."""
		if self.sentinels:
			nodes = ", ".join(f"{host}:{port}" for host, port in self.sentinels)
			return f"Redis {self._service!r} of the Sentinels {nodes} (redis_queue_sentinels)"
		return f"Redis at {safe_url(self._url)} (redis_queue)"

	async def connect(self, protocol: Callable[[], ProtocolT]) -> tuple[ProtocolT, Address]:
		"""Connect, and return the protocol of the connection with the address that it leads to.

		Raises:
			OSError, asyncio.TimeoutError: No Sentinel reports a master, or Redis cannot be reached within `TIMEOUT` seconds.
			ValueError: The URL is invalid.
		"""
		address = await self.address()
		connection, self.local_host = await _open(protocol, address)
		return connection, address

	async def address(self) -> Address:
		"""Return the address to connect to now; Sentinels are queried each time.

		Raises:
			OSError: No Sentinel reports a master, or a file that the URL names does not exist.
			ValueError: The URL is invalid.
		"""
		if self.sentinels:
			host, port = await self.master()
			return Address(
				host,
				port,
				username=self._config.redis_queue_master_username,
				password=self._config.redis_queue_master_password,
			)
		return parse_address(self._url)

	async def master(self) -> tuple[str, int]:
		"""Return host and port of the master.

		Raises:
			OSError: No Sentinel reports a master.
		"""
		from redis.exceptions import RedisError

		sentinel = self._sentinel()
		try:
			host, port = await sentinel.discover_master(self._service)
			return str(host), int(port)
		except (RedisError, asyncio.TimeoutError) as error:
			raise OSError(str(error)) from error
		finally:
			for each in sentinel.sentinels:
				await each.connection_pool.disconnect()

	def _sentinel(self) -> Sentinel:
		from redis.asyncio.sentinel import Sentinel

		return Sentinel(
			self.sentinels,
			sentinel_kwargs={
				"socket_timeout": SENTINEL_TIMEOUT,
				"socket_connect_timeout": SENTINEL_TIMEOUT,
				"username": self._config.redis_queue_sentinel_username or None,
				"password": self._config.redis_queue_sentinel_password or None,
			},
			username=self._config.redis_queue_master_username or None,
			password=self._config.redis_queue_master_password or None,
			socket_timeout=TIMEOUT,
			socket_connect_timeout=TIMEOUT,
		)


async def _open(protocol: Callable[[], ProtocolT], address: Address) -> tuple[ProtocolT, str]:
	"""Connect, and return the protocol of the connection with its local address; empty for a Unix socket."""
	loop = asyncio.get_running_loop()
	attempt: Any = (
		loop.create_unix_connection(protocol, address.path)
		if address.path
		else loop.create_connection(protocol, address.host, address.port, ssl=address.tls)
	)
	transport, connection = await asyncio.wait_for(attempt, timeout=TIMEOUT)
	local = transport.get_extra_info("sockname")
	return cast(ProtocolT, connection), local[0] if isinstance(local, tuple) else ""


def _node(node: str) -> tuple[str, int]:
	host, _, port = node.rpartition(":")
	return (host, int(port)) if host and port.isdigit() else (node, 26379)


def parse_address(url: str) -> Address:
	"""Return the address that a URL of Redis names.

	Args:
		url: `redis://[USER:PASSWORD@]HOST[:PORT][/DATABASE]`, the same with `rediss://` for TLS, or `unix://[USER:PASSWORD@]/PATH`,
			with the options of redis-py in the query: `db`, `ssl_ca_certs`, `ssl_certfile`, `ssl_keyfile`, `ssl_cert_reqs` and
			`ssl_check_hostname`. Other options are ignored.

	Raises:
		FileNotFoundError: There is no file that an option names.
		ValueError: The port or the database is not a number.
	"""
	parts = urlsplit(url)
	options = dict(parse_qsl(parts.query))
	is_socket = parts.scheme == "unix"
	database = options.get("db") or ("" if is_socket else parts.path.strip("/")) or "0"
	if not database.isdecimal():
		raise ValueError(f"the database must be a number, not {database!r}")
	return Address(
		host=unquote(parts.hostname or "localhost"),
		port=parts.port or 6379,
		path=unquote(parts.path) if is_socket else "",
		username=unquote(parts.username or ""),
		password=unquote(parts.password or ""),
		tls=_tls(options) if parts.scheme == "rediss" else None,
		database=int(database),
	)


def _tls(options: Mapping[str, str]) -> ssl.SSLContext:
	files = [options.get(key) for key in ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")]
	for file in files:
		if file and not os.path.isfile(file):
			# The error of the ssl module does not name the file.
			raise FileNotFoundError(f"there is no file {file}")
	authorities, certificate, key = files
	context = ssl.create_default_context(cafile=authorities)
	if certificate:
		context.load_cert_chain(certificate, key)
	if options.get("ssl_check_hostname", "").lower() in ("false", "no", "0"):
		context.check_hostname = False
	if options.get("ssl_cert_reqs") == "none":
		context.check_hostname = False
		context.verify_mode = ssl.CERT_NONE
	return context


def safe_url(url: str) -> str:
	"""Return `url` without user name and password, for logs."""
	scheme, separator, rest = url.partition("://")
	return f"{scheme}{separator}{rest.rpartition('@')[2]}"
