"""A fake `frappe` module with the names that the app uses, so that the app can be tested without a bench."""

from __future__ import annotations

import importlib
import json
import logging
import sys
from collections import deque
from collections.abc import Callable, Iterator
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

IMPORT_FRAPPE = (
	"boot",
	"commands",
	"desk",
	"install",
	"members",
	"monitor",
	"online_hooks",
	"publishing.installed",
	"permissions.access_events",
	"permissions.arguments",
	"permissions.endpoints",
	"permissions.secret",
	"permissions.shared_documents",
	"publishing.broadcast_warning",
	"publishing.commit",
	"publishing.document_changes",
	"publishing.jobs",
	"publishing.log",
	"overrides",
	"publishing.process",
	"publishing.progress",
	"publishing.publish",
	"publishing.tasks",
)
"""Modules of the app that import frappe, and are imported anew for each fake."""


class Callbacks:
	"""Like `frappe.utils.CallbackManager`: a callback may add others while they run."""

	def __init__(self) -> None:
		self._functions: deque[Callable[[], None]] = deque()

	def add(self, function: Callable[[], None]) -> None:
		self._functions.append(function)

	def reset(self) -> None:
		self._functions.clear()

	def run(self) -> None:
		while self._functions:
			self._functions.popleft()()


class Database:
	"""A database connection: only what happens at a commit and at a rollback."""

	def __init__(self) -> None:
		self.transaction_writes = 1
		self.after_commit, self.after_rollback = Callbacks(), Callbacks()

	def commit(self, error: Exception | None = None) -> None:
		"""Commit; with `error` as what the database answers."""
		self.after_rollback.reset()
		if error is not None:
			raise error
		self.after_commit.run()

	def rollback(self) -> None:
		self.after_commit.reset()
		self.after_rollback.run()


class Column:
	"""A column of a table. Comparing it with a value gives a condition, as in PyPika."""

	def __eq__(self, value: object) -> Any:
		return value

	__hash__ = None  # type: ignore[assignment]


class Table:
	"""The table `Sessions` of a query."""

	def __init__(self, name: str) -> None:
		assert name == "Sessions"
		self.sid = Column()


class Query:
	"""`frappe.qb.from_(Sessions).select(sid).where(sid == …).limit(1).run()`."""

	def __init__(self, sids: set[str]) -> None:
		self._sids = sids
		self._sid: Any = None

	def select(self, column: Column) -> Query:
		return self

	def where(self, sid: Any) -> Query:
		self._sid = sid
		return self

	def limit(self, count: int) -> Query:
		return self

	def run(self) -> list[tuple[str]]:
		return [(sid,) for sid in self._sids if sid == self._sid]


class Frappe(ModuleType):
	"""The fake module. Tests set the site of the request on `local`."""

	def __init__(self) -> None:
		super().__init__("frappe")
		self.local = SimpleNamespace(site="one", db=Database(), task_id=None)
		self.session = SimpleNamespace(user="alice@example.com")
		self.flags = SimpleNamespace(
			**dict.fromkeys(
				["in_install_db", "in_install", "in_migrate", "in_uninstall", "in_patch", "read_only"]
			)
		)
		self.conf: dict[str, Any] = {"redis_queue": "redis://127.0.0.1:1"}
		self.sids: set[str] = set()
		"""The session ids in the table `Sessions`."""
		self.cached_sids: set[str] = set()
		self.cache = SimpleNamespace(hexists=lambda name, key: name == "session" and key in self.cached_sids)
		self.qb = SimpleNamespace(DocType=lambda name: Table(name), from_=lambda table: Query(self.sids))
		self.log_level: int | None = None
		self.debug_log: list[str] = []
		self.bench = ""
		"""The folder of the bench."""
		self.installed = {"one": ["frappe", "frappe_realtime"], "two": ["frappe"]}

	@property
	def db(self) -> Any:
		return self.local.db

	def as_json(self, value: Any, indent: int | None = 1, separators: tuple[str, str] | None = None) -> str:
		return json.dumps(value, indent=indent, separators=separators, sort_keys=True)

	def get_installed_apps(self) -> list[str]:
		return self.installed[self.local.site]

	def log(self, line: str) -> None:
		self.debug_log.append(line)

	def logger(self, *args: Any, **kwargs: Any) -> Any:
		return SimpleNamespace(
			level=logging.INFO,
			exception=lambda *a: self.logged.append(a),
			error=lambda *a: self.logged.append(a),
			warning=lambda *a: self.logged.append(a),
		)


class Sent:
	"""An outbox that keeps the messages instead of sending them."""

	def __init__(self, connect: Any) -> None:
		self.connect = connect
		self.messages: list[Any] = []
		self.writes = 0

	def send(self, messages: list[Any]) -> None:
		self.messages += messages
		self.writes += bool(messages)

	def events(self) -> list[tuple[str, Any, str | None]]:
		"""Return (event, message, room) of each event that was sent."""
		payloads = [json.loads(message.payload) for message in self.messages if message.channel == "events"]
		return [(payload["event"], payload["message"], payload["room"]) for payload in payloads]


@pytest.fixture
def frappe(monkeypatch: pytest.MonkeyPatch) -> Iterator[Frappe]:
	"""A fake frappe, installed in `sys.modules`. Its own publishing functions record their calls in `stock_calls`."""
	module = Frappe()
	module.logged = []
	module.stock_calls = []

	def stock(name: str) -> Callable[..., Any]:
		def function(*args: Any, **kwargs: Any) -> None:
			module.stock_calls.append((name, args, kwargs))

		function.__name__ = function.__qualname__ = name
		function.__module__ = "frappe.realtime"
		return function

	realtime, sessions = ModuleType("frappe.realtime"), ModuleType("frappe.sessions")
	utils, jobs = ModuleType("frappe.utils"), ModuleType("frappe.utils.background_jobs")
	utils.background_jobs, jobs.Queue = jobs, type("Queue", (), {})
	utils.get_bench_path = lambda: module.bench
	for name in ("publish_realtime", "publish_progress", "emit_via_redis"):
		setattr(realtime, name, stock(name))
	module.publish_realtime, module.publish_progress = realtime.publish_realtime, realtime.publish_progress

	def delete_session(sid: str | None = None, *args: Any, **kwargs: Any) -> None:
		module.stock_calls.append(("delete_session", (sid, *args), kwargs))
		if not module.flags.read_only:
			module.sids.discard(sid)
			module.cached_sids.discard(sid)

	sessions.delete_session = delete_session
	module.clear_cache = stock("clear_cache")
	module.realtime, module.sessions = realtime, sessions
	modules = {
		"frappe": module,
		"frappe.realtime": realtime,
		"frappe.sessions": sessions,
		"frappe.utils": utils,
		"frappe.utils.background_jobs": jobs,
	}
	for name, value in modules.items():
		monkeypatch.setitem(sys.modules, name, value)
	for name in ("frappe.auth", "frappe.cache_manager"):
		monkeypatch.delitem(sys.modules, name, raising=False)
	forget_modules()
	yield module
	forget_modules()


def forget_modules() -> None:
	"""Remove the app's modules that refer to the fake from `sys.modules` and from their packages."""
	for name in IMPORT_FRAPPE:
		sys.modules.pop(f"frappe_realtime.{name}", None)
		package, _, last = f"frappe_realtime.{name}".rpartition(".")
		if hasattr(parent := importlib.import_module(package), last):
			delattr(parent, last)


@pytest.fixture
def publish(frappe: Frappe) -> Any:
	return importlib.import_module("frappe_realtime.publishing.publish")


@pytest.fixture
def sent(frappe: Frappe, publish: Any, monkeypatch: pytest.MonkeyPatch) -> Sent:
	sent = Sent(importlib.import_module("frappe_realtime.publishing.connection").queue_connector(frappe.conf))
	monkeypatch.setattr(importlib.import_module("frappe_realtime.publishing.process"), "_outbox", sent)
	return sent
