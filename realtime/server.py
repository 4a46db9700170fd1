"""Puts the parts together, starts them and stops them."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import signal
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from frappe_realtime.contract import ACCESS_CHANNEL, OPEN_IN_EDITOR_CHANNEL, SIDECARS_CHANNEL

from .access.authentication import Authenticator
from .access.invalidation import AccessInvalidator
from .access.limits import ClientLimits
from .access.list_update_filter import ListUpdateFilter
from .access.permissions import Permissions
from .access.proxies import TrustedProxies
from .access.revalidation import Revalidator
from .access.sites import Sites
from .access.tasks import TaskAccess
from .application import EventHandler, FrappeApplication
from .bus.endpoint import RedisEndpoint
from .bus.store import RedisStore
from .bus.subscription import EventSubscriber
from .cluster.adapter import ClusterAdapter
from .config import EXIT_CONFIG, EXIT_LISTEN, Config, ConfigError
from .engine import Engine, EngineSettings
from .handlers.core import CoreHandlers
from .handlers.files import HandlerFiles
from .handlers.frappe_requests import FrappeRequests
from .handlers.installed_apps import InstalledApps
from .handlers.python import HandlerLimits, PythonHandlers
from .javascript import JavaScriptHandlers
from .recovery.history import History
from .recovery.recovery import Recovery
from .recovery.sessions import SessionStore
from .socketio import packets
from .socketio.fanout import Fanout
from .socketio.namespace import Socket
from .socketio.server import SocketIOServer
from .web.frappe_client import FrappeClient

if TYPE_CHECKING:
	from aiohttp.web import AppRunner

logger = logging.getLogger("realtime.server")

BACKLOG = 4096
"""Connections that may wait to be accepted when all clients come back at once; the kernel's somaxconn bounds it too."""


FLUSH_SECONDS = 3.0
"""Seconds that a stop waits for what has been sent, also to other sidecars, and for the sessions of its clients to be written."""


class RealtimeServer:
	"""The sidecar of one bench. `make_pages` makes what answers every path but `/socket.io/`."""

	def __init__(self, config: Config, make_pages: Callable[[RealtimeServer], AppRunner]) -> None:
		self.config = config
		self._make_pages = make_pages
		self.endpoint = RedisEndpoint(config)
		self.store = RedisStore(self.endpoint)
		self.web = FrappeClient(config, self.store.secret)
		self.permissions = Permissions(config, self.web)
		self.authenticator = Authenticator(config, self.web)
		sites = Sites(config)
		try:
			self.proxies = TrustedProxies(config.realtime_trusted_proxies)
		except ValueError as error:
			raise ConfigError(f"realtime_trusted_proxies: {error}", EXIT_CONFIG) from error
		self.limits = ClientLimits(config, self.proxies)
		self._tasks: set[asyncio.Task[Any]] = set()
		# Each layer knows the one below; the application is the only one that is told of the layer above it.
		self.sockets = SocketIOServer(
			None,  # type: ignore[arg-type]
			connect_timeout=config.realtime_connect_timeout,
			max_namespaces=config.realtime_namespaces_per_connection,
			guard=self.limits,
		)
		self.fanout = Fanout(self.sockets)
		self.adapter = ClusterAdapter(config, self.sockets, self.fanout, self.store, self.limits.meet)
		self.tasks = TaskAccess(config, self.store)
		self.lists = ListUpdateFilter(self.sockets, self.fanout, self.permissions)
		self.core = CoreHandlers(
			self.permissions,
			self.fanout,
			self.limits,
			self.tasks,
			self.adapter.members,
			self._open_in_editor if config.developer_mode else None,
		)
		self.adapter.changed = self.core.on_viewers_changed
		seconds = config.realtime_recovery_seconds
		self.history = History(
			self.store,
			self.lists.deliver,
			lambda site: "/" + site in self.sockets.namespaces,
			self._start_anew,
			seconds,
		)
		self.sessions = SessionStore(self.store, seconds, self._all_sockets)
		self.recovery = Recovery(
			config, self.history, self.sessions, self.permissions, self.lists, self.tasks
		)
		self.app_handlers = HandlerFiles(config.bench)
		self.authenticator.ask_apps_of(InstalledApps(self.web, self.app_handlers, config.sites))
		self.site_requests = FrappeRequests(self.web, self.store.secret)
		self.python = PythonHandlers(
			self.app_handlers,
			config.sites,
			self.sockets,
			self.fanout,
			self.permissions.may,
			self.site_requests.send,
			HandlerLimits(
				queue=config.realtime_handler_queue,
				seconds=config.realtime_handler_seconds,
				blocking=config.realtime_handler_blocking,
				threads=config.realtime_handler_threads,
			),
			config.developer_mode,
			self.adapter.members,
		)
		self.javascript = JavaScriptHandlers(
			config, self.app_handlers, self.sockets, self.fanout, self.permissions, self.store.secret
		)
		self.responders: list[EventHandler] = [self.core, self.python, self.javascript]
		self.recheck = Revalidator(
			config, self.sockets, self.authenticator, self.permissions, self.core.on_room_withdrawn
		)
		self.permissions.on_session_ended = self.recheck.session
		self.access = AccessInvalidator(self.sockets, self.authenticator, self.permissions, self.recheck)
		self.access.others["task"] = self.tasks.take
		self.application = FrappeApplication(
			sites, self.authenticator, self.recovery, self.recheck, self.limits, self.responders
		)
		self.application.server = self.sockets
		self.sockets.application = self.application
		self.sockets.changed = self.sessions.changed
		self.engine = Engine(
			EngineSettings(
				ping_interval=config.realtime_ping_interval,
				ping_timeout=config.realtime_ping_timeout,
				max_payload=config.realtime_max_payload,
				max_unsent=config.realtime_max_unsent,
				max_packets=config.realtime_max_packets,
				transports=config.realtime_transports,
			),
			self.sockets,
			self._page_protocol,
			self.limits.check_handshake,
		)
		self.bus = EventSubscriber(
			self.endpoint,
			self.history.take,
			{ACCESS_CHANNEL: self.access.take, SIDECARS_CHANNEL: self.adapter.take},
		)
		self.bus.on_subscribed += [
			self.access.missed,
			self.tasks.on_subscribed,
			self.history.subscribed,
			self.sessions.rewrite,
			self.adapter.on_subscribed,
		]
		self._listener: asyncio.AbstractServer | None = None
		self._pages: AppRunner | None = None

	async def start(self) -> None:
		"""Listen first, then all that may be slow. Raises `ConfigError` when the address cannot be listened on."""
		self._listener = await self._listen()
		# Before the loop turns again: no socket connects while handlers are missing.
		self.python.start()
		self.recheck.start()
		self.bus.start()
		self.sessions.start()
		self.adapter.start()
		self.javascript.start()
		await self._start_pages()

	def handlers_health(self) -> dict[str, Any]:
		"""What `/health` says about the apps' handlers, by language."""
		return {"python": self.python.health(), "javascript": self.javascript.health()}

	async def stop(self) -> None:
		"""Close the clients so that they come back at once, and let go of everything."""
		if self._listener is not None:
			self._listener.close()
		self.engine.close()
		await asyncio.gather(
			self.engine.flush(FLUSH_SECONDS),
			self.sessions.stop(FLUSH_SECONDS),
			self.adapter.stop(FLUSH_SECONDS),
		)
		if self.config.socketio_uds:
			_remove_socket(self.config.socketio_uds)
		await self.python.stop()
		await self.bus.stop()
		self.history.stop()
		await self.recheck.stop()
		await self.javascript.stop()
		for task in self._tasks:
			task.cancel()
		if self._pages is not None:
			await self._pages.cleanup()
		await self.web.close()
		await self.store.close()

	async def run(self) -> None:
		"""Serve until SIGTERM or SIGINT."""
		loop = asyncio.get_running_loop()
		stopped = asyncio.Event()
		for number in (signal.SIGTERM, signal.SIGINT):
			loop.add_signal_handler(number, stopped.set)
		# When it cannot listen, nothing has been started that would have to be stopped.
		await self.start()
		try:
			await stopped.wait()
			logger.info("stopping; %d clients will come back", len(self.engine.connections))
		finally:
			await self.stop()

	async def _listen(self) -> asyncio.AbstractServer:
		loop = asyncio.get_running_loop()
		path = self.config.socketio_uds
		try:
			if path:
				_remove_socket(path)
				server = await loop.create_unix_server(self.engine.protocol, path, backlog=BACKLOG)
				where = path
			else:
				listening = _listening_sockets(self.config.realtime_host, self.config.socketio_port)
				server = await loop.create_server(self.engine.protocol, sock=listening, backlog=BACKLOG)
				where = "{}:{}".format(*listening.getsockname()[:2])
		except OSError as error:
			raise ConfigError(self._cannot_listen(error), EXIT_LISTEN) from error
		logger.info("listening on %s for the bench %s", where, self.config.bench)
		return server

	def _cannot_listen(self, error: OSError) -> str:
		where = (
			f"socket {self.config.socketio_uds} (socketio_uds)"
			if self.config.socketio_uds
			else f"port {self.config.socketio_port} (socketio_port)"
		)
		reason = f"cannot listen on {where}: {error.strerror or error}"
		if error.errno == errno.EADDRINUSE:
			reason += ". Is the Node server, or another sidecar, still running?"
		return reason

	async def _start_pages(self) -> None:
		# Made only now: nobody asks for a page in the first moments, and clients connect in them.
		self._pages = self._make_pages(self)
		await self._pages.setup()

	def _page_protocol(self) -> asyncio.Protocol | None:
		server = None if self._pages is None else self._pages.server
		return None if server is None else server()

	def _all_sockets(self) -> list[Socket]:
		return [
			socket for namespace in self.sockets.namespaces.values() for socket in namespace.sockets.values()
		]

	def _start_anew(self, site: str) -> None:
		namespace = self.sockets.namespaces.get("/" + site)
		if namespace is not None:
			self.recovery.start_anew(
				list(namespace.sockets.values()), lambda socket: socket.connection.close("forced close")
			)

	def _open_in_editor(self, data: dict[str, Any]) -> None:
		task = asyncio.get_running_loop().create_task(
			self.store.publish(OPEN_IN_EDITOR_CHANNEL, packets.dumps(data))
		)
		self._tasks.add(task)
		task.add_done_callback(self._tasks.discard)


def _listening_sockets(host: str, port: int) -> socket.socket:
	"""A TCP socket for IPv4 and IPv6 where the machine has both.

	It is made with its protocol named, since asyncio sets TCP_NODELAY only on the connections of such a socket.
	"""
	if host:
		family, kind, protocol, _, address = socket.getaddrinfo(
			host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP, flags=socket.AI_PASSIVE
		)[0]
		listening = socket.socket(family, kind, protocol)
	else:
		try:
			listening = socket.socket(socket.AF_INET6, socket.SOCK_STREAM, socket.IPPROTO_TCP)
			listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
			address = ("::", port)
		except OSError:
			listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
			address = ("0.0.0.0", port)
	try:
		listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
		listening.setblocking(False)
		listening.bind(address)
	except OSError:
		listening.close()
		raise
	return listening


def _remove_socket(path: str) -> None:
	"""Remove what a killed process has left; a file that is no socket is not ours."""
	try:
		if os.path.exists(path) and not os.path.isfile(path):
			os.unlink(path)
	except OSError:
		pass
