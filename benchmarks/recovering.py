"""A client that recovers its session after a reconnect, as a browser does."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

CONNECT_SECONDS = 10.0
"""Seconds that the server has to accept a connection, and to admit the client."""


class RecoveringClient:
	"""One client of a site.

	Args:
		site: The site.
		session: The session id of its user in Frappe.
	"""

	def __init__(self, site: str, session: str) -> None:
		self.id = ""
		"""Its Socket.IO id, which stays the same while its session is recovered."""
		self._site = site
		self._session = session
		self._pid = self._offset = ""
		self._socket: ClientConnection | None = None

	async def connect(self, port: int) -> bool:
		"""Connect to a server on this machine; return True if the session is recovered.

		Raises:
			OSError, WebSocketException, TimeoutError: The server does not admit the client.
		"""
		# Only a client that recovers is sent offsets; a browser is one.
		headers = {"Cookie": f"sid={self._session}", "User-Agent": "Mozilla/5.0 benchmark"}
		headers |= {"Origin": f"http://{self._site}", "X-Frappe-Site-Name": self._site}
		connecting = connect(
			f"ws://127.0.0.1:{port}/socket.io/?EIO=4&transport=websocket",
			additional_headers=headers,
			user_agent_header=None,
			compression=None,
			max_queue=None,
		)
		self._socket = await asyncio.wait_for(connecting, CONNECT_SECONDS)
		await asyncio.wait_for(self._socket.recv(), CONNECT_SECONDS)
		auth = json.dumps({"pid": self._pid, "offset": self._offset}) if self._pid else ""
		await self._socket.send(f"40/{self._site},{auth}")
		while not (text := str(await asyncio.wait_for(self._socket.recv(), CONNECT_SECONDS))).startswith(
			"40/"
		):
			pass
		answer = json.loads(text.partition(",")[2])
		recovered = bool(self._pid) and answer.get("pid") == self._pid
		self.id, self._pid = answer["sid"], answer.get("pid", "")
		return recovered

	async def emit(self, *event: Any, ack: int | None = None) -> None:
		"""Send an event, its name and its arguments; with `ack` it is acknowledged."""
		assert self._socket is not None
		await self._socket.send(f"42/{self._site},{'' if ack is None else ack}{json.dumps(event)}")

	async def received(self) -> AsyncIterator[list[Any]]:
		"""Yield each event as a list of its name and its arguments, and each acknowledgement with an empty name."""
		assert self._socket is not None
		socket = self._socket
		with suppress(ConnectionClosed):
			async for message in socket:
				text = str(message)
				if text == "2":
					await socket.send("3")
				elif text.startswith("43/"):
					_, bracket, arguments = text.partition("[")
					yield ["", *json.loads(bracket + arguments)]
				elif text.startswith("42/"):
					event = json.loads(text.partition(",")[2])
					if len(event) > 1 and isinstance(event[-1], str):
						self._offset = event[-1]
					yield event

	async def leave(self) -> None:
		"""Disconnect as a page that is closed; the next connection has a new session."""
		assert self._socket is not None
		await self._socket.send(f"41/{self._site},")
		await self._socket.close()
		self._pid = self._offset = ""

	def drop(self) -> None:
		"""Lose the connection by a reset, as in a broken network."""
		if self._socket is not None:
			self._socket.transport.abort()
