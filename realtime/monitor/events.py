"""The events by which clients watch their site, as the application passes them on."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from frappe_realtime.contract.monitoring import MONITOR, MONITOR_QUERY

from ..signals import Signal
from ..socketio.namespace import ServerSocket
from ..socketio.server import Ack


class MonitorEvents:
	"""An event handler of the application; `Watchers`, which needs the whole server, connects to its signals."""

	events = (MONITOR, MONITOR_QUERY)

	def __init__(self) -> None:
		self.requested: Signal[[ServerSocket, str, Any, Ack]] = Signal()
		"""Sent with the socket, the event, its first argument and the acknowledgement."""
		self.disconnected: Signal[[ServerSocket]] = Signal()
		"""Sent with each socket that has left its namespace."""

	def on_connect(self, socket: ServerSocket, auth: dict[str, Any]) -> None:
		"""Do nothing: a client asks to watch."""

	def on_event(self, socket: ServerSocket, event: str, arguments: list[Any], ack: Ack | None) -> None:
		"""Pass on an event that asks for an acknowledgement: without one there is no answer."""
		if ack is not None:
			self.requested.send(socket, event, arguments[0] if arguments else None, ack)

	def on_disconnect(self, socket: ServerSocket, reason: str, rooms: Collection[str]) -> None:
		"""Pass on that a socket has left."""
		self.disconnected.send(socket)
