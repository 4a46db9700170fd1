"""Session ids that name their owner, for several processes behind one address.

A request that another process of the host has accepted travels to the owner with its TCP connection (`workers/handover.py`); from
another host, the bytes of the TCP connection are forwarded (`forwarding/`).
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Mapping
from typing import Protocol

from .errors import RequestRefused

RANDOM_BYTES = 15
"""Bytes of the random part of a session id, as in Engine.IO; the name of the owner does not count."""

SEPARATOR = "."
"""Ends the name of the owner. The random part never contains it, and it needs no encoding in a query."""

LINK_PATH = b"/frappe-realtime/link"
"""The path at which another sidecar opens a link. Proxies do not pass it on: bench's nginx passes on `/socket.io` only."""

LINK_UPGRADE = "frappe-realtime-link"
"""The protocol in the Upgrade header of a request for `LINK_PATH`."""


def new_sid(owner: str) -> str:
	"""Return a new session id.

	Args:
		owner: The name of this process; empty if it is the only one.
	"""
	random = secrets.token_urlsafe(RANDOM_BYTES)
	return f"{owner}{SEPARATOR}{random}" if owner else random


def owner_of(sid: str) -> str:
	"""Return the name of the process that has made a session id; empty if it names none."""
	return sid.rpartition(SEPARATOR)[0]


class IncomingRequest(Protocol):
	"""A request whose session belongs to another process, and its TCP connection."""

	transport: asyncio.Transport

	@property
	def received(self) -> bytes:
		"""All bytes of the request that have been read."""

	def handed_over(self) -> None:
		"""Release the TCP connection, which another process has received."""

	def release(self, protocol: asyncio.Protocol) -> None:
		"""Let `protocol` read the TCP connection from now on; it is responsible for it."""

	def refuse(self, refused: RequestRefused) -> None:
		"""Respond with an error, and close the TCP connection."""


class RequestPasser(Protocol):
	"""Passes requests on to other processes: the TCP connection itself, or its bytes."""

	def send(self, owner: str, request: IncomingRequest) -> bool:
		"""Pass the TCP connection of `request` to the process `owner`, now or as soon as it can receive it.

		Returns:
			False if there is no such process; the request is then answered here.
		"""

	def send_to_any(self, request: IncomingRequest) -> bool:
		"""Pass the TCP connection of `request`, which belongs to no session, to any other process.

		Returns:
			False if there is none.
		"""


class Handover(RequestPasser, Protocol):
	"""Takes the requests that the engine does not answer itself."""

	name: str
	"""The name of this process."""

	def accept_link(self, query: Mapping[str, str], request: IncomingRequest) -> None:
		"""Take the TCP connection of a request for `LINK_PATH`.

		Args:
			query: The query parameters of the request.
			request: The request, whose head is complete.

		Raises:
			RequestRefused: There is no such process here, or it accepts no link.
		"""
