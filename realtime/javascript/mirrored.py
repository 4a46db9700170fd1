"""A socket that the Node process knows."""

from __future__ import annotations

from typing import Any

from ..access.authentication import Session, cookie
from ..socketio.namespace import ServerSocket
from ..socketio.server import Ack

MAX_ACKS = 1000
"""Acknowledgements of one socket that handlers owe; the oldest go when there are more."""


class Mirrored:
	"""A socket that the process knows, and what it takes to show it to the next process."""

	__slots__ = ("acks", "apps", "auth", "last_ack", "since", "socket")

	def __init__(self, socket: ServerSocket, apps: list[str], auth: dict[str, Any], since: float) -> None:
		self.socket = socket
		self.apps = apps
		self.auth = auth
		self.since = since
		self.acks: dict[int, Ack] = {}
		self.last_ack = 0

	def owe(self, ack: Ack) -> int:
		"""Keep `ack` until a handler answers; returns the token it answers with."""
		self.last_ack += 1
		self.acks[self.last_ack] = ack
		if len(self.acks) > MAX_ACKS:
			del self.acks[next(iter(self.acks))]
		return self.last_ack

	def about(self) -> dict[str, Any]:
		"""What a handler can read of a socket beside its rooms."""
		socket = self.socket
		session: Session = socket.session
		request = socket.connection.request
		headers = dict(request.headers)
		secure = headers.get("x-forwarded-proto", "http") == "https"
		# Proxies drop the Origin; Frappe's get_url needs it.
		headers.setdefault("origin", f"{'https' if secure else 'http'}://{headers.get('host', session.site)}")
		credential = session.credential
		return {
			"site": session.site,
			"user": session.user,
			"user_type": session.user_type,
			"installed_apps": session.installed_apps,
			"sid": cookie(headers.get("cookie", ""), "sid") or None,
			"authorization": credential.authorization or None,
			"credential": credential.headers,
			"headers": headers,
			"query": request.query,
			"url": request.target.decode("latin-1"),
			"address": request.remote,
			"secure": secure,
			"auth": self.auth,
			"since": self.since,
		}
