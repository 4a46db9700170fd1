"""The address of redis_queue: a URL, or the master that Sentinels report. The keys are those that Frappe itself reads."""

from __future__ import annotations

import asyncio
import os
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..config import Config

if TYPE_CHECKING:
	from redis.asyncio import Redis
	from redis.asyncio.sentinel import Sentinel

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


class RedisEndpoint:
	"""The address of redis_queue.

	Args:
		config: The configuration.
	"""

	def __init__(self, config: Config) -> None:
		self._url: str = config.redis_queue
		self._service: str = config.redis_queue_master_service
		self._config = config
		self.sentinels: list[tuple[str, int]] = []
		if config.redis_queue_sentinel_enabled:
			self.sentinels = [_node(node) for node in config.redis_queue_sentinels]

	def __str__(self) -> str:
		"""Return the address without its password, and its configuration key, for logs and errors."""
		if self.sentinels:
			nodes = ", ".join(f"{host}:{port}" for host, port in self.sentinels)
			return f"Redis {self._service!r} of the Sentinels {nodes} (redis_queue_sentinels)"
		return f"Redis at {safe_url(self._url)} (redis_queue)"

	def client(self) -> Redis:
		"""Return a client for commands; they raise `redis.RedisError` and OSError."""
		if self.sentinels:
			client: Redis = self._sentinel().master_for(self._service)
			return client
		from redis.asyncio import Redis

		return Redis.from_url(self._url, socket_timeout=TIMEOUT, socket_connect_timeout=TIMEOUT)

	async def address(self) -> Address:
		"""Return the address to connect to now; Sentinels are queried each time.

		Raises:
			OSError: No Sentinel reports a master.
		"""
		if self.sentinels:
			host, port = await self.master()
			return Address(
				host,
				port,
				username=self._config.redis_queue_master_username,
				password=self._config.redis_queue_master_password,
			)
		from redis.asyncio.connection import parse_url

		options: dict[str, Any] = dict(parse_url(self._url))
		return Address(
			options.get("host", "localhost"),
			options.get("port", 6379),
			options.get("path", ""),
			options.get("username") or "",
			options.get("password") or "",
			_tls(options) if self._url.startswith("rediss:") else None,
		)

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


def _node(node: str) -> tuple[str, int]:
	host, _, port = node.rpartition(":")
	return (host, int(port)) if host and port.isdigit() else (node, 26379)


def _tls(options: dict[str, Any]) -> ssl.SSLContext:
	files = [options.get(key) for key in ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")]
	for file in files:
		if file and not os.path.isfile(file):
			# The error of the ssl module does not name the file.
			raise FileNotFoundError(f"there is no file {file}")
	authorities, certificate, key = files
	context = ssl.create_default_context(cafile=authorities)
	if certificate:
		context.load_cert_chain(certificate, key)
	if str(options.get("ssl_check_hostname")).lower() in ("false", "no", "0"):
		context.check_hostname = False
	if options.get("ssl_cert_reqs") in ("none", ssl.CERT_NONE):
		context.check_hostname = False
		context.verify_mode = ssl.CERT_NONE
	return context


def safe_url(url: str) -> str:
	"""Return `url` without user name and password, for logs."""
	scheme, separator, rest = url.partition("://")
	return f"{scheme}{separator}{rest.rpartition('@')[2]}"
