"""Which client met a limit."""

from __future__ import annotations

from typing import NamedTuple

from ..engine import Connection
from ..socketio.client import Client
from ..socketio.namespace import ServerSocket
from .authentication import Session


class Source(NamedTuple):
	"""Which client met a limit, as far as it is known.

	Args:
		site: The site of its socket.
		user: The user of its socket.
		address: The address of its connection.
		socket: The id of its socket.
	"""

	site: str = ""
	user: str = ""
	address: str = ""
	socket: str = ""

	@classmethod
	def of_socket(cls, socket: ServerSocket) -> Source:
		"""Return the source of what a socket does."""
		session: Session = socket.session
		return cls(session.site, session.user, socket.connection.request.remote, socket.id)

	@classmethod
	def of_connection(cls, connection: Connection) -> Source:
		"""Return the source of what a connection does: its first socket with a session."""
		client: Client | None = connection.data
		for socket in [] if client is None else client.sockets.values():
			if socket.session is not None:
				return cls.of_socket(socket)
		return cls(address=connection.request.remote)


UNKNOWN_SOURCE = Source()
