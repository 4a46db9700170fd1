"""Fakes for the tests of handlers in JavaScript: sockets without a connection, and a channel without a process."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from realtime.access.authentication import Session
from realtime.cluster.members import RemoteMembers
from realtime.cluster.sockets import SocketTable
from realtime.engine import Connection, Request
from realtime.handlers.files import HandlerFiles
from realtime.handlers.reply import Reply
from realtime.javascript.app_loader import AppLoader
from realtime.javascript.channel import Channel
from realtime.javascript.ipc import FrameDecoder
from realtime.javascript.remote_replication import RemoteReplicator
from realtime.javascript.replication import SocketReplicator
from realtime.socketio.namespace import Admission, Namespaces, ServerSocket
from realtime.web.frappe_client import Credential

SITE = "site.test"


class FakeProcess(asyncio.WriteTransport):
	"""The transport to a process, which records the operations that it is sent."""

	def __init__(self) -> None:
		super().__init__()
		self.unread = 0
		"""What `get_write_buffer_size` returns."""
		self._decoder = FrameDecoder()
		self._operations: list[list[Any]] = []

	def write(self, data: bytes | bytearray | memoryview) -> None:
		for operations, _ in self._decoder.feed(bytes(data)):
			self._operations += operations

	def get_write_buffer_size(self) -> int:
		return self.unread

	async def operations(self) -> list[list[Any]]:
		"""Return the operations that were sent since the last call."""
		await asyncio.sleep(0)
		operations, self._operations = self._operations, []
		return operations


class JavaScriptBench:
	"""A bench with apps, of which some have a handlers.js, and what replicates sockets to a process.

	Args:
		folder: An empty folder.
		apps: The apps with a handlers.js.
	"""

	def __init__(self, folder: Path, *apps: str) -> None:
		for app in apps:
			file = folder / "apps" / app / "realtime" / "handlers.js"
			file.parent.mkdir(parents=True)
			file.touch()
		self.channel = Channel()
		self.process = FakeProcess()
		self.apps = AppLoader(folder, HandlerFiles(folder), self.channel)
		namespaces = Namespaces()
		self.namespace = namespaces.open(f"/{SITE}")
		self.table = SocketTable(namespaces, 1000)
		self.members = RemoteMembers(1000)
		remote = RemoteReplicator(self.channel, self.table, self.members)
		self.sockets = SocketReplicator(self.channel, self.apps, remote)

	def start_process(self) -> None:
		"""Connect a process, and bring it up to date."""
		self.channel.connect(self.process)
		self.apps.on_process_started()
		self.sockets.on_process_started()

	def connect(self, id: str, *installed_apps: str) -> ServerSocket:
		"""Return a new socket with an id, on a site with these apps besides frappe."""
		session = Session(
			site=SITE,
			credential=Credential(sid=id),
			user=f"{id}@example.com",
			user_type="System User",
			full_name=id,
			installed_apps=("frappe", *installed_apps),
		)
		request = Request("GET", b"/socket.io/?transport=websocket", {"host": SITE}, b"", "127.0.0.1")
		connection = SimpleNamespace(request=request, send=lambda encoded: None)
		socket = ServerSocket(self.namespace, cast(Connection, connection), Admission(session, id=id))
		self.namespace.sockets[id] = socket
		self.sockets.add(socket, {})
		return socket


def call() -> tuple[Reply, list[tuple[Any, ...]]]:
	"""Return the reply to a call that the application has passed to all handlers, and what the client is answered."""
	answers: list[tuple[Any, ...]] = []
	reply = Reply(lambda *answer: answers.append(answer), "event", SITE, False)
	return reply, answers
