"""The layers of the sidecar: each creates the objects of one task, from those of the layers below it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .access.authentication import Authenticator
from .access.client_questions import ClientQuestions
from .access.document_checks import DocumentRevalidator
from .access.document_rooms import DocumentRooms
from .access.failed_logins import FailedLoginLimit, KnownCredentials
from .access.invalidation import AccessInvalidator
from .access.limits import ClientLimits
from .access.list_update_filter import ListUpdateFilter
from .access.list_update_joiner import ListUpdateJoiner
from .access.monitor_access import MonitorAccess
from .access.permission_requests import PermissionRequests
from .access.permissions import Permissions
from .access.revalidation import Revalidator
from .access.session_cache import SessionCache
from .access.shared_cache import Workers
from .access.sites import Sites
from .access.tasks import TaskAccess
from .application import EventHandler
from .bus.endpoint import RedisEndpoint
from .bus.store import RedisStore
from .bus.subscription import EventSubscriber
from .cluster.adapter import ClusterAdapter
from .cluster.members import RemoteMembers
from .cluster.sockets import SocketTable
from .config import Config
from .engine import Engine, EngineSettings
from .handlers.announcer import SocketAnnouncer
from .handlers.app_rewinds import AppRewinds
from .handlers.core import CoreHandlers
from .handlers.editor import EditorRequests
from .handlers.executor import HandlerLimits
from .handlers.files import HandlerFiles
from .handlers.frappe_requests import FrappeRequests
from .handlers.installed_apps import InstalledApps
from .handlers.python import PythonHandlers
from .handlers.rewinds import Rewinds
from .javascript import JavaScriptHandlers
from .monitor.bench import BenchMonitor
from .monitor.collector import ActivityCollector
from .monitor.events import MonitorEvents
from .monitor.incidents import Incidents
from .monitor.lookups import Lookups
from .monitor.process import ProcessMonitor
from .monitor.sampler import Sampler
from .monitor.watchers import Watchers
from .presence.app_presence import AppPresence
from .presence.events import PresenceEvents
from .presence.feed import PresenceFeed
from .presence.members import PresenceTable
from .presence.online import OnlineUsers
from .presence.presence import Presence
from .presence.sender import ChangeSender
from .presence.viewers import DocumentViewers
from .recovery.forced_ends import ForcedEnds
from .recovery.history import History
from .recovery.recovery import Recovery
from .recovery.replay_limit import ReplayLimit
from .recovery.rewind import RewindReader
from .recovery.room_access import RoomAccess
from .recovery.sessions import SessionStore
from .shared_editing import crdt
from .shared_editing.events import SharedEvents
from .shared_editing.members import SharedMembers
from .shared_editing.states import SharedStates
from .shared_editing.storage import AppStates, SharedStorage
from .shared_editing.write_grants import WriteGrants
from .socketio.fanout import Fanout
from .socketio.namespace import Namespaces
from .web.frappe_client import FrappeClient
from .web.secret import SharedSecret


class Backends:
	"""Redis and the web process."""

	def __init__(self, config: Config) -> None:
		self.endpoint = RedisEndpoint(config)
		self.store = RedisStore(self.endpoint)
		self.secret = SharedSecret(self.store)
		self.web = FrappeClient(config, self.secret.get)


class AccessLayer:
	"""Authentication, authorization, and their revocation."""

	def __init__(
		self,
		config: Config,
		backends: Backends,
		namespaces: Namespaces,
		fanout: Fanout,
		installed_apps: InstalledApps,
		known_credentials: KnownCredentials,
		on_limit: Callable[[str, str], None],
		workers: Workers | None,
	) -> None:
		self.sites = Sites(config)
		self.session_cache = SessionCache(config, self.sites)
		failed_logins = FailedLoginLimit(config, known_credentials, self.session_cache, on_limit)
		self.authenticator = Authenticator(config, backends.web, installed_apps, failed_logins, workers)
		requests = PermissionRequests(backends.web)
		self.permissions = Permissions(config, requests, workers)
		self.tasks = TaskAccess(config, backends.store)
		self.monitor = MonitorAccess(config, requests, self.permissions)
		self.list_updates = ListUpdateFilter(namespaces, fanout, self.permissions)
		self.joiner = ListUpdateJoiner(config, namespaces, self.list_updates)
		self.revalidator = Revalidator(config, namespaces, self.authenticator, self.permissions)
		self.invalidator = AccessInvalidator(
			namespaces,
			self.authenticator,
			self.permissions,
			self.revalidator,
			DocumentRevalidator(DocumentRooms(namespaces), self.permissions, self.revalidator),
			self.tasks,
		)


class RecoveryLayer:
	"""Event history, sessions, and connection state recovery."""

	def __init__(
		self,
		config: Config,
		store: RedisStore,
		namespaces: Namespaces,
		access: AccessLayer,
		on_limit: Callable[[str], None],
	) -> None:
		seconds = config.realtime_recovery_seconds
		self.history = History(store, access.joiner.deliver, namespaces, seconds)
		access.invalidator.received.connect(self.history.take_access)
		self.sessions = SessionStore(store, namespaces, seconds)
		limit = ReplayLimit(config, on_limit)
		self.rewind = RewindReader(config, self.history, access.list_updates, access.revalidator, limit)
		ForcedEnds(namespaces, self.history, self.sessions)
		self.recovery = Recovery(
			config,
			namespaces,
			self.history,
			self.sessions,
			access.permissions,
			RoomAccess(access.permissions, access.tasks),
			access.list_updates,
			access.joiner,
			access.revalidator,
			limit,
		)


class PresenceLayer:
	"""Who is in a place, with what state."""

	def __init__(
		self,
		config: Config,
		table: PresenceTable,
		remote: RemoteMembers,
		namespaces: Namespaces,
		fanout: Fanout,
		limits: ClientLimits,
		access: AccessLayer,
	) -> None:
		self.table = table
		self.sender = ChangeSender(config, namespaces, fanout)
		self.viewers = DocumentViewers(namespaces, self.sender, remote.users)
		self.feed = PresenceFeed(config, table, self.sender)
		self.members = Presence(config, table)
		namespaces.observe(self.members)
		self.apps = AppPresence(self.members, self.feed)
		self.online = OnlineUsers(config, table)
		namespaces.observe(self.online)
		access.revalidator.session_renewed.connect(self.online.on_session)
		self.events = PresenceEvents(
			config, self.members, self.online, self.feed, access.permissions, limits, access.revalidator
		)

	def stop(self) -> None:
		"""Cancel all timers."""
		self.sender.stop()
		self.members.stop()
		self.online.stop()


class SharedEditingLayer:
	"""Documents that several clients change at once; their states, if the extra `shared-editing` is installed."""

	def __init__(
		self,
		config: Config,
		backends: Backends,
		namespaces: Namespaces,
		fanout: Fanout,
		remote: RemoteMembers,
		limits: ClientLimits,
		access: AccessLayer,
	) -> None:
		self.members = SharedMembers(config, remote)
		namespaces.observe(self.members)
		self.states: SharedStates | None = None
		self.storage: SharedStorage | None = None
		if config.realtime_shared_states and crdt.is_installed():
			app = AppStates(backends.web)
			self.states = SharedStates(config, backends.store, app.load, limits.record)
			self.storage = SharedStorage(config, backends.store, self.states, app)
			self.members.abandoned.connect(self.states.forget)
			access.invalidator.received.connect(self.states.on_access)
		self.grants = WriteGrants(namespaces, self.members, access.permissions)
		access.invalidator.received.connect(self.grants.on_access)
		self.events = SharedEvents(config, self.members, fanout, access.permissions, limits, self.states)

	def start(self) -> None:
		"""Start to hand states to the apps."""
		if self.storage is not None:
			self.storage.start()

	def stop(self) -> None:
		"""Keep no more states."""
		self.grants.stop()
		if self.storage is not None:
			self.storage.stop()
		if self.states is not None:
			self.states.stop()


class HandlerLayer:
	"""Handlers of client events: the core's, and the apps' in Python and JavaScript."""

	def __init__(
		self,
		config: Config,
		backends: Backends,
		namespaces: Namespaces,
		fanout: Fanout,
		members: RemoteMembers,
		sockets: SocketTable,
		limits: ClientLimits,
		access: AccessLayer,
		presence: PresenceLayer,
		rewind: RewindReader,
		files: HandlerFiles,
	) -> None:
		rewinds = Rewinds(rewind, config.realtime_rewind_events)
		self.core = CoreHandlers(
			access.permissions,
			limits,
			access.tasks,
			presence.viewers,
			rewinds,
			EditorRequests(backends.store).send if config.developer_mode else None,
		)
		questions = ClientQuestions(access.permissions, limits)
		app_rewinds = AppRewinds(rewinds, questions.has_permission, access.tasks.may_follow)
		sockets.leaving.connect(app_rewinds.cancel)
		self.python = PythonHandlers(
			files,
			config.sites,
			namespaces,
			fanout,
			questions.has_permission,
			FrappeRequests(backends.web, backends.secret.get).send,
			presence.apps,
			app_rewinds,
			HandlerLimits(
				queue=config.realtime_handler_queue,
				queue_bytes=config.realtime_handler_queue_bytes,
				seconds=config.realtime_handler_seconds,
				blocking=config.realtime_handler_blocking,
				threads=config.realtime_handler_threads,
			),
			config.developer_mode,
			members,
			sockets,
		)
		self.javascript = JavaScriptHandlers(
			config,
			files,
			namespaces,
			sockets,
			members,
			fanout,
			questions,
			presence.apps,
			app_rewinds,
			backends.secret,
		)
		announcer = SocketAnnouncer(
			sockets,
			lambda session: self.python.has_handlers(session) or self.javascript.has_handlers(session),
		)
		self.all: list[EventHandler] = [announcer, self.core, self.python, self.javascript]

	def health(self) -> dict[str, Any]:
		"""Return the state of the apps' handlers, by language, for `/health`."""
		return {"python": self.python.health(), "javascript": self.javascript.health()}


class MonitorLayer:
	"""What the sidecars of the bench do, for those who watch it."""

	def __init__(
		self,
		config: Config,
		backends: Backends,
		namespaces: Namespaces,
		fanout: Fanout,
		limits: ClientLimits,
		access: AccessLayer,
		handlers: HandlerLayer,
		engine: Engine,
		cluster: ClusterAdapter,
		subscriber: EventSubscriber,
		events: MonitorEvents,
	) -> None:
		executor = handlers.python.executor
		collector = ActivityCollector(fanout, executor, handlers.javascript.calls)
		self.sampler = Sampler(namespaces, fanout, collector.expire)
		process = ProcessMonitor(
			cluster.publisher.id,
			namespaces,
			engine,
			backends.web,
			subscriber,
			self.sampler,
			collector,
			Incidents(
				config,
				access.sites,
				limits,
				executor,
				handlers.javascript.handler_failed,
				backends.web,
				subscriber,
			),
		)
		lookups = Lookups(process.id, namespaces)
		bench = BenchMonitor(process, lookups, cluster)
		self.watchers = Watchers(events, bench, access.monitor, limits)

	def start(self) -> None:
		"""Start to take samples."""
		self.sampler.start()

	def stop(self) -> None:
		"""Take no more samples, and answer no requests."""
		self.sampler.stop()
		self.watchers.stop()


def engine_settings(config: Config) -> EngineSettings:
	"""Return the settings of the engine."""
	return EngineSettings(
		ping_interval=config.realtime_ping_interval,
		ping_timeout=config.realtime_ping_timeout,
		max_payload=config.realtime_max_payload,
		max_unsent=config.realtime_max_unsent,
		max_packets=config.realtime_max_packets,
		# Each event is a frame at least: a limit of frames below that of events would count instead of it.
		frames_per_second=max(config.realtime_frames_per_second, config.realtime_events_per_second),
		initial_frames_per_second=config.realtime_unknown_frames_per_second,
		transports=config.realtime_transports,
	)
