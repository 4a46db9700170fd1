"""The doctor's checks of what a sidecar says about itself in `/health`."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from ..bus.store import RedisStore
from ..config import Config
from .bench_files import BenchFiles
from .findings import FAILED, NOTE, Finding

MIN_DESCRIPTORS = 4096
"""Open files that the sidecar may have at least: each connection of a client is one."""

MAX_DESCRIPTOR_USE = 0.8
"""The part of the limit from which the open files are reported."""

MAX_NAMED = 5
"""Sidecars that are not reached, and sites without a history, that are named."""

SIDECAR = "the sidecar"

Health = Mapping[str, Any]
"""The body of `/health`."""


class HealthChecks:
	"""Checks of the history, the open files, the links to other sidecars, and the handlers.

	Args:
		config: The configuration of the bench.
		files: The files of the bench.
		store: redis_queue.
	"""

	def __init__(self, config: Config, files: BenchFiles, store: RedisStore) -> None:
		self._config = config
		self._files = files
		self._store = store

	def findings(self, health: Health) -> Iterator[Finding]:
		"""Return what an operator should know of the body of `/health`."""
		yield from self._history(health)
		yield from self._descriptors(health)
		yield from self._links(health)
		yield from self._handlers(health)

	def _history(self, health: Health) -> Iterator[Finding]:
		history = health["history"]
		if not history["ok"]:
			refused = sorted((history.get("refused") or {}).items())[:MAX_NAMED]
			denied = [f"the history of {site} ({reason})" for site, reason in refused]
			if reason := history.get("sessions_refused"):
				denied.append(f"the sessions of clients ({reason})")
			yield Finding(
				"history.denied",
				NOTE,
				f"Redis denies the sidecar {'; '.join(denied)}",
				f"the rights of the user of redis_queue at {self._store.endpoint}",
				self._files.restart_sidecar,
				"clients do not get missed events; if the rights are right now, the sidecar tries again within a minute",
			)

	def _descriptors(self, health: Health) -> Iterator[Finding]:
		descriptors = health.get("descriptors")
		if not descriptors:
			return
		limit, number = descriptors["limit"], descriptors["open"]
		# -1 means no limit.
		if limit < 0 or (limit >= MIN_DESCRIPTORS and number < limit * MAX_DESCRIPTOR_USE):
			return
		state = FAILED if number >= limit * MAX_DESCRIPTOR_USE else NOTE
		where, command = self._files.descriptor_limit
		yield Finding(
			"descriptors.few",
			state,
			f"the sidecar may have {limit} open files, each connection of a client is one, and it has {number}",
			where,
			command,
		)

	def _links(self, health: Health) -> Iterator[Finding]:
		unreachable = health.get("unreachable_sidecars") or {}
		if unreachable:
			first = sorted(unreachable.items())[:MAX_NAMED]
			named = "; ".join(f"{address} ({reason})" for address, reason in first)
			yield Finding(
				"sidecar.links",
				NOTE,
				f"the sidecar does not reach {named}: behind a balancer that sends the requests of one client to several "
				"hosts, clients that poll lose their connection",
				"realtime_peer_address of that host, and the network between the hosts",
				"curl " + shlex.quote(f"http://{first[0][0]}/health"),
				"the command shows whether this host reaches that one. Let them reach each other on socketio_port; until then, "
				"let the balancer send each client to one host (sticky sessions)",
			)

	def _handlers(self, health: Health) -> Iterator[Finding]:
		handlers = health.get("handlers", {})
		for app, error in handlers.get("python", {}).get("errors", {}).items():
			yield Finding(
				"handlers.import",
				FAILED,
				f"the handlers of the app {app} are not loaded: {error['error']}",
				error["file"],
				self._files.restart_sidecar,
				"correct the file before; no client gets an answer from these handlers until then",
			)
		for app, problem in handlers.get("javascript", {}).get("left_out", {}).items():
			yield self._left_out(app, problem, health)

	def _left_out(self, app: str, problem: str, health: Health) -> Finding:
		where = str(self._config.bench / "apps" / app / "realtime" / "handlers.js")
		command, advice = self._files.restart_sidecar, "correct the file before"
		if "realtime_node" in problem:
			overrides = health.get("overrides", {})
			where = self._files.place("realtime_node", overrides, SIDECAR)
			advice = "the PATH of a process manager is not that of a shell: name Node by its absolute path"
			if origin := overrides.get("realtime_node"):
				# It comes before the file.
				command = self._files.restart_sidecar_without(origin)
				advice = self._files.left_in_files("realtime_node", origin) or advice
			command = self._files.then('bench set-config -g realtime_node "$(command -v node)"', command)
		return Finding(
			"handlers.javascript",
			NOTE,
			f"the JavaScript handlers of the app {app} are left out: {problem}",
			where,
			command,
			advice,
		)
