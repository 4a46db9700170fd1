"""Opens a link, from both ends: the HTTP request, and the proofs. See `proofs.py`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import cast

from ..engine.owners import LINK_PATH, LINK_UPGRADE
from . import proofs
from .link import Link

MAX_UNREAD = 4096
"""Bytes that are kept until they are read; beyond, the TCP connection is not read."""

Secret = Callable[[bool], Awaitable[str]]
"""Returns the shared secret; with True it is read from Redis again."""


class HandshakeError(Exception):
	"""The other end does not accept the link, or has not proved itself."""


class HandshakeConnection(asyncio.Protocol):
	"""A TCP connection from which a coroutine reads."""

	def __init__(self) -> None:
		self.transport: asyncio.Transport
		self._unread = bytearray()
		self._ended = False
		self._changed = asyncio.Event()

	def connection_made(self, transport: asyncio.BaseTransport) -> None:
		# uvloop's transports do not inherit from asyncio's.
		self.transport = cast(asyncio.Transport, transport)

	def data_received(self, data: bytes) -> None:
		self._unread += data
		if len(self._unread) > MAX_UNREAD:
			self.transport.pause_reading()
		self._changed.set()

	def connection_lost(self, error: Exception | None) -> None:
		self._ended = True
		self._changed.set()

	async def read(self, size: int) -> bytes:
		"""Return the next `size` bytes.

		Raises:
			HandshakeError: The TCP connection is closed, or too many bytes have arrived.
		"""
		while len(self._unread) < size:
			await self._more()
		data = bytes(self._unread[:size])
		del self._unread[:size]
		return data

	async def read_head(self) -> str:
		"""Return the head of an HTTP response; raises as `read`."""
		while (end := self._unread.find(b"\r\n\r\n")) < 0:
			await self._more()
		return (await self.read(end + 4)).decode("latin-1")

	async def _more(self) -> None:
		if len(self._unread) > MAX_UNREAD:
			raise HandshakeError("it sends what is no handshake")
		self.check_open()
		self._changed.clear()
		await self._changed.wait()

	def check_open(self) -> None:
		"""Raise HandshakeError if the TCP connection is closed."""
		if self._ended or self.transport.is_closing():
			raise HandshakeError("it has closed the connection")

	def attach(self, link: Link) -> None:
		"""Let a link use the TCP connection, with the frames that have arrived already.

		Raises:
			HandshakeError: The TCP connection is closed.
		"""
		self.check_open()
		link.attach(self.transport)
		self.transport.resume_reading()
		if self._unread:
			link.data_received(bytes(self._unread))


def request_head(own: str, peer: str, host: str) -> bytes:
	"""Return the request with which `own` opens a link to `peer`."""
	return (
		f"GET {LINK_PATH.decode()}?from={own}&to={peer} HTTP/1.1\r\nHost: {host}\r\n"
		f"Connection: Upgrade\r\nUpgrade: {LINK_UPGRADE}\r\n\r\n"
	).encode()


RESPONSE_HEAD = (
	f"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: {LINK_UPGRADE}\r\n\r\n".encode()
)


async def connect(connection: HandshakeConnection, own: str, peer: str, host: str, secret: str) -> None:
	"""Open a link on a TCP connection to `peer`.

	Raises:
		HandshakeError: The peer refuses, or does not know the secret.
	"""
	connection.transport.write(request_head(own, peer, host))
	head = await connection.read_head()
	if not head.startswith("HTTP/1.1 101 "):
		raise HandshakeError(f"it has answered {head.partition(chr(13))[0]!r}")
	names = (own, peer)
	nonces = (proofs.new_nonce(), await connection.read(proofs.NONCE_SIZE))
	connection.transport.write(nonces[0] + proofs.proof(secret, proofs.CONNECTS, names, nonces))
	try:
		received = await connection.read(proofs.PROOF_SIZE)
	except HandshakeError:
		raise HandshakeError("it does not accept the shared secret (socketio_auth_secret)") from None
	if not proofs.is_valid(received, secret, proofs.ACCEPTS, names, nonces):
		raise HandshakeError("it does not know the shared secret (socketio_auth_secret)")


async def accept(connection: HandshakeConnection, own: str, peer: str, secret: Secret) -> None:
	"""Accept a link on a TCP connection whose request was read.

	Raises:
		HandshakeError: The peer does not know the secret.
	"""
	nonce = proofs.new_nonce()
	connection.transport.write(RESPONSE_HEAD + nonce)
	names = (peer, own)
	nonces = (await connection.read(proofs.NONCE_SIZE), nonce)
	received = await connection.read(proofs.PROOF_SIZE)
	for renew in (False, True):
		value = await secret(renew)
		if proofs.is_valid(received, value, proofs.CONNECTS, names, nonces):
			break
	else:
		raise HandshakeError("it does not know the shared secret (socketio_auth_secret)")
	connection.transport.write(proofs.proof(value, proofs.ACCEPTS, names, nonces))
