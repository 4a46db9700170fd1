"""The wiring of the sidecar: its components, their dependencies, and the order in which they start and stop.

Components are created from the bottom to the top and depend only on components below them. A component that notifies
others has a `Signal`, to which they connect. docs/architecture.md describes the same graph.
"""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from random import randrange
from typing import TYPE_CHECKING

from frappe_realtime.contract.calls import CALLS
from frappe_realtime.contract.channels import ACCESS_CHANNEL, QUESTIONS_CHANNEL, SIDECARS_CHANNEL

from .access.failed_logins import KnownCredentials
from .access.limits import ClientLimits
from .access.proxies import TrustedProxies
from .application import FrappeApplication
from .bus.subscription import EventSubscriber
from .cluster.adapter import ClusterAdapter
from .cluster.members import RemoteMembers
from .cluster.peer_address import peer_address
from .cluster.publisher import ClusterPublisher
from .cluster.sockets import SocketTable
from .config import Config
from .engine import Engine
from .forwarding.forwarder import SessionForwarder
from .handlers.files import HandlerFiles
from .handlers.installed_apps import InstalledApps
from .layers import (
	AccessLayer,
	Backends,
	HandlerLayer,
	MonitorLayer,
	PresenceLayer,
	RecoveryLayer,
	SharedEditingLayer,
	engine_settings,
)
from .listener import Listener
from .monitor.events import MonitorEvents
from .pages import Pages
from .presence.members import PresenceTable
from .presence.online_reporter import OnlineReporter
from .presence.questions import PresenceQuestions
from .socketio.fanout import Fanout
from .socketio.namespace import CALL_NUMBERS, Namespaces
from .socketio.server import SocketIOServer
from .usage import Usage
from .workers.handover import WorkerHandover
from .workers.shared_questions import SharedQuestions
from .workers.worker import Reporter, Worker

if TYPE_CHECKING:
	from aiohttp.web import AppRunner

logger = logging.getLogger("realtime.server")

READY_SECONDS = 5.0
"""Seconds that `run` waits for the subscription before it reports that it serves: without Redis it serves too."""

ANNOUNCE_SECONDS = 1.0
"""Seconds that `start` waits until this process and the other sidecars know each other, if Redis can be reached."""

DRAIN_SECONDS = 5.0
"""Seconds that `stop` waits for clients that are between two polls, so that their next one does not fail."""

HANDOVER_SECONDS = 2.0
"""Seconds that `stop` waits for TCP connections that other workers of the host take over: a worker receives only some at a time."""

FLUSH_SECONDS = 3.0
"""Seconds that `stop` waits until pending writes to clients and to Redis are done."""

PAGE_PATHS = frozenset((b"/health", b"/metrics"))
"""The paths that the aiohttp application answers."""


class RealtimeServer:
	"""The sidecar of one bench. Must be created in a running event loop.

	Args:
		config: The configuration.
		load_pages: Imports the aiohttp application that answers `PAGE_PATHS`, and returns the function that creates it.
		worker: The place of this process among the workers of the host; None if it is the only one.
	"""

	def __init__(
		self,
		config: Config,
		load_pages: Callable[[], Callable[[RealtimeServer], AppRunner]],
		worker: Worker | None = None,
	) -> None:
		self.config = config
		self.worker = worker
		self.backends = Backends(config)
		store = self.backends.store
		proxies = TrustedProxies(config.realtime_trusted_proxies)
		known_credentials = KnownCredentials(config.realtime_cache_size)
		self.namespaces = Namespaces({CALLS: True}, first_call=randrange(1, CALL_NUMBERS // 2))
		usage = Usage(config.realtime_sidecar_counts)
		self.limits = ClientLimits(config, proxies, known_credentials, self.namespaces, usage)
		on_limit = self.limits.record

		# Sockets and rooms, in this process and in other sidecars
		max_remote, on_full = config.realtime_sidecar_members, partial(on_limit, "realtime_sidecar_members")
		table = PresenceTable(max_remote, on_full)
		sockets = SocketTable(self.namespaces, max_remote, on_full)
		publisher = ClusterPublisher(
			config,
			self.namespaces,
			store,
			table,
			sockets,
			on_limit,
			usage,
			worker.name if worker else "",
			worker.predecessor if worker else "",
			self._link_address,
		)
		members = RemoteMembers(max_remote, on_full)
		self.fanout = Fanout(self.namespaces, publisher)

		files = HandlerFiles(config.bench)
		apps = InstalledApps(self.backends.web, files, config.sites)
		self.shared_questions = SharedQuestions(worker.folder, worker.name) if worker else None
		self.access = AccessLayer(
			config,
			self.backends,
			self.namespaces,
			self.fanout,
			apps,
			known_credentials,
			on_limit,
			self.shared_questions,
		)
		self.recovery = RecoveryLayer(config, store, self.namespaces, self.access, on_limit)
		self.presence = PresenceLayer(
			config, table, members, self.namespaces, self.fanout, self.limits, self.access
		)
		self.shared = SharedEditingLayer(
			config, self.backends, self.namespaces, self.fanout, members, self.limits, self.access
		)
		self.handlers = HandlerLayer(
			config,
			self.backends,
			self.namespaces,
			self.fanout,
			members,
			sockets,
			self.limits,
			self.access,
			self.presence,
			self.recovery.rewind,
			files,
		)

		# From the bytes of a client to its handler
		monitor_events = MonitorEvents()
		application = FrappeApplication(
			publisher,
			self.access.sites,
			self.access.authenticator,
			self.recovery.recovery,
			self.access.revalidator,
			self.limits,
			[self.presence.events, self.shared.events, *self.handlers.all, monitor_events],
			config.developer_mode,
		)
		self.socketio = SocketIOServer(
			application,
			self.namespaces,
			self.limits,
			config.realtime_connect_timeout,
			config.realtime_namespaces_per_connection,
		)
		self.recovery.sessions.recovered_elsewhere.connect(self.socketio.supersede)
		self.cluster = ClusterAdapter(
			config,
			self.socketio,
			self.fanout,
			publisher,
			members,
			usage,
			table,
			sockets,
			self.presence.viewers.on_remote_change,
			on_limit,
		)
		self.handover = (
			WorkerHandover(worker.folder, worker.name, config.realtime_handovers_waiting, on_limit)
			if worker
			else None
		)
		self.forwarder = SessionForwarder(
			publisher.id,
			self._link_address,
			self.cluster.link_address,
			self.backends.secret.get,
			config.realtime_forwarded_connections,
			on_limit,
			self.handover,
		)
		self._pages = Pages(lambda: partial(load_pages(), self))
		self.engine = Engine(
			engine_settings(config),
			self.socketio,
			self._pages.protocol,
			self.limits.check_handshake,
			self.limits.on_engine_limit,
			PAGE_PATHS,
			self.limits.check_page,
			self.forwarder,
		)

		# From Redis to the sockets
		self._subscribed = asyncio.Event()
		self.questions = PresenceQuestions(
			store, self.presence.feed, self.presence.online, self.cluster.is_settled
		)
		self.online_reporter = OnlineReporter(
			publisher.id,
			store,
			self.backends.web,
			self.presence.online,
			self.access.sites,
			self.cluster.is_settled,
		)
		self.subscriber = EventSubscriber(
			self.backends.endpoint,
			self.recovery.history.take,
			{
				ACCESS_CHANNEL: self.access.invalidator.on_message,
				SIDECARS_CHANNEL: self.cluster.take,
				QUESTIONS_CHANNEL: self.questions.on_message,
			},
			[
				# First: the others send commands.
				self.backends.store.on_subscribed,
				self.access.invalidator.on_subscribed,
				self.shared.grants.on_subscribed,
				self.access.tasks.on_subscribed,
				self.recovery.history.on_subscribed,
				self.recovery.sessions.on_subscribed,
				self.cluster.on_subscribed,
				self.online_reporter.on_subscribed,
				self._subscribed.set,
			],
			self.recovery.history.needs,
		)
		self._may_accept = asyncio.Event()
		"""Set when this process and the other sidecars know each other, or Redis is away."""
		self.cluster.announced.connect(self._may_accept.set)
		self.subscriber.lost.connect(lambda reason: self._may_accept.set())
		self.monitor = MonitorLayer(
			config,
			self.backends,
			self.namespaces,
			self.fanout,
			self.limits,
			self.access,
			self.handlers,
			self.engine,
			self.cluster,
			self.subscriber,
			monitor_events,
		)
		self._listener = Listener(config, self.engine.protocol, worker.listening if worker else None)

	async def start(self) -> None:
		"""Listen first, so that clients can reconnect while the rest starts.

		Connections are accepted when this process and the other sidecars know each other: they would refuse requests for its sessions
		before, and this process those for theirs.

		Raises:
			ConfigError: The address cannot be listened on.
		"""
		self._listener.listen()
		self.forwarder.start(self.engine)
		if self.handover is not None:
			self.handover.start(self.engine.next_protocol)
		if self.shared_questions is not None:
			await self.shared_questions.start()
		self.handlers.python.start()
		self.access.revalidator.start()
		self.subscriber.start()
		self.recovery.sessions.start()
		self.cluster.start()
		self.online_reporter.start()
		self.shared.start()
		self.monitor.start()
		self.handlers.javascript.start()
		with suppress(asyncio.TimeoutError):
			await asyncio.wait_for(self._may_accept.wait(), ANNOUNCE_SECONDS)
		await self._listener.start()
		if self.worker is not None:
			# The other workers ask this one for its part of a page.
			await self._pages.start()

	async def stop(self) -> None:
		"""Close all connections so that the clients reconnect at once, and release everything."""
		await self._listener.close()
		self.access.joiner.flush()
		if self.handover is not None:
			self.handover.leave()
		if self.shared_questions is not None:
			self.shared_questions.stop()
		if self._has_others():
			await self.engine.drain(DRAIN_SECONDS)
		self.engine.close()
		if self.handover is not None:
			await self.handover.drain(HANDOVER_SECONDS)
			self.handover.stop()
		await asyncio.gather(
			self.engine.flush(FLUSH_SECONDS),
			self.recovery.sessions.stop(FLUSH_SECONDS),
			self.cluster.stop(FLUSH_SECONDS),
		)
		await self.forwarder.drain(FLUSH_SECONDS)
		self.forwarder.close()
		self._listener.remove_socket()
		self.monitor.stop()
		self.presence.stop()
		self.questions.stop()
		self.online_reporter.stop()
		self.shared.stop()
		await self.handlers.python.stop()
		await self.subscriber.stop()
		self.recovery.history.stop()
		await self.access.revalidator.stop()
		await self.handlers.javascript.stop()
		await self._pages.stop()
		await self.backends.web.close()
		self.access.session_cache.close()
		await self.backends.store.close()

	async def run(self, reporter: Reporter) -> None:
		"""Serve until SIGTERM or SIGINT, as a worker also until the supervisor has ended.

		Args:
			reporter: Reports to the supervisor, or to systemd, that this process serves or ends, and that its event loop runs.
		"""
		loop = asyncio.get_running_loop()
		stopped = asyncio.Event()
		loop.add_signal_handler(signal.SIGTERM, stopped.set)
		if self.worker is None:
			loop.add_signal_handler(signal.SIGINT, stopped.set)
		else:
			self.worker.on_supervisor_gone(stopped.set)
		# If the address cannot be listened on, nothing was started that must be stopped.
		await self.start()
		reports = loop.create_task(self._report(reporter))
		try:
			await stopped.wait()
			reporter.stopping()
			logger.info("stopping; %d clients will reconnect", len(self.engine.connections))
		finally:
			reports.cancel()
			await self.stop()

	async def _report(self, reporter: Reporter) -> None:
		alive = asyncio.get_running_loop().create_task(_report_alive(reporter))
		try:
			with suppress(asyncio.TimeoutError):
				await asyncio.wait_for(self._subscribed.wait(), READY_SECONDS)
			reporter.ready()
			await alive
		finally:
			alive.cancel()

	def _has_others(self) -> bool:
		"""Return True if another process of this host, or another host, takes the requests of the clients."""
		if self.handover is not None and self.handover.has_others():
			return True
		own = self._link_address()
		return any(peer.link not in ("", own) for peer in self.cluster.peers.values())

	def _link_address(self) -> str:
		return peer_address(self.config, self.backends.endpoint.local_host)


async def _report_alive(reporter: Reporter) -> None:
	while reporter.watchdog_seconds:
		reporter.alive()
		await asyncio.sleep(reporter.watchdog_seconds / 3)
