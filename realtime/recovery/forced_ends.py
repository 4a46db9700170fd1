"""Ends the sessions of connected clients that may have missed events or a change of access: they reconnect to new sessions."""

from __future__ import annotations

from frappe_realtime.contract.users import GUEST

from ..access.authentication import Session
from ..socketio.namespace import Namespaces, ServerSocket
from .access_log import Subject, room_subjects, session_subject
from .history import History
from .sessions import SessionStore


class ForcedEnds:
	"""Closes the connections of clients and deletes their sessions when the history says so.

	Args:
		namespaces: The sockets of this process.
		history: Reports what a site has lost or missed.
		sessions: The sessions of clients.
	"""

	def __init__(self, namespaces: Namespaces, history: History, sessions: SessionStore) -> None:
		self._namespaces = namespaces
		self._sessions = sessions
		history.lost.connect(self.end_all)
		history.access_missed.connect(self.end_concerned)

	def end_concerned(self, site: str, changes: frozenset[Subject]) -> None:
		"""Close the connections of the clients of `site` whose access these missed changes concern.

		They reconnect to new sessions: events from before the permission is requested again do not reach them.
		"""
		for socket in self._sockets(site):
			session: Session = socket.session
			if (
				session.user != GUEST and session_subject(session.credential.sid_hash) in changes
			) or not changes.isdisjoint(
				subject for room in socket.rooms for subject in room_subjects(session.user, room)
			):
				self._end(socket)

	def end_all(self, site: str) -> None:
		"""Close the connections of all clients of `site`, which reconnect to new sessions: events were lost."""
		for socket in self._sockets(site):
			self._end(socket)

	def _sockets(self, site: str) -> list[ServerSocket]:
		namespace = self._namespaces.get(f"/{site}")
		return [] if namespace is None else list(namespace.sockets.values())

	def _end(self, socket: ServerSocket) -> None:
		self._sessions.delete(socket)
		socket.pid = None
		socket.connection.close("forced close")
