"""The sidecar's own HTTP endpoints: `/health` for load balancers and operators, `/metrics` for Prometheus."""

from __future__ import annotations

import asyncio
import logging
import os
import resource
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.typedefs import Handler

from frappe_realtime import __version__

from ..bus.endpoint import safe_url
from ..bus.outages import OutageReport
from ..bus.store import StoreDenied, StoreUnavailable
from ..log_budget import LogBudget
from ..server import RealtimeServer
from ..web.cache import SingleFlightCache
from ..workers import counters
from ..workers.counters import Family
from ..workers.siblings import Siblings
from . import host as merge

if TYPE_CHECKING:
	LoggerAdapter = logging.LoggerAdapter[logging.Logger]
else:
	# Python 3.10 has no subscript for it.
	LoggerAdapter = logging.LoggerAdapter

CACHE_SECONDS = 1.0
"""Seconds for which the state of Redis and the web process is reused. `/health` is public, so it must not be a way to
load either of them."""


class Dependencies(NamedTuple):
	"""The state of Redis and the web process at one time."""

	redis: bool
	"""True if Redis answers."""
	web_process: bool
	"""True if the web process answers."""
	outages: list[OutageReport]
	"""What publishing processes reported in the last 24 hours; empty if it cannot be read."""


class Endpoints:
	"""Answers requests for paths other than `/socket.io/`.

	Args:
		server: The running server that the answers are about.
	"""

	def __init__(self, server: RealtimeServer) -> None:
		self._server = server
		worker = server.worker
		self.siblings = (
			Siblings(worker.folder, worker.name, {"health": self._own_health, "metrics": self._own_metrics})
			if worker
			else None
		)
		"""The other workers of the host; None if this process is the only one."""
		self._dependencies: SingleFlightCache[str, Dependencies] = SingleFlightCache(CACHE_SECONDS, 1)

	async def health(self, request: web.Request) -> web.Response:
		"""Answer 200 if Redis and the web process answer and the sidecar is subscribed, else 503.

		With several workers, any of them answers for all: counts are sums, and 503 if one is not subscribed or does not answer
		within a second. One that has ended, and is being started again, is only missing in `workers`.

		The body is a JSON object:

		| key | value |
		| --- | --- |
		| `status` | `"ok"` or `"error"` |
		| `version` | the version of this package, as in `frappe-realtime --version` |
		| `overrides` | by key, the environment variable, or the command line, that it comes from instead of a file |
		| `descriptors` | `{open, limit}`: open files and connections, and the limit of the system, of the worker with least left |
		| `redis` | `{ok, subscribed, url, url_key}`: `subscribed` is true while events arrive; `url` has no password |
		| `history` | `{ok, refused, sessions_refused}`: what Redis has denied when it was asked last, by site, and why; clients cannot recover then |
		| `publishers` | `{outages, held, dropped, since, until}` of the outage reports of the last 24 hours: `held` is the most of one process, `dropped` the sum |
		| `web` | `{ok, url, url_key}`: the web process |
		| `connections` | Engine.IO connections |
		| `clients_without_address` | connections so far for which no proxy names the client's address |
		| `sidecars` | the other sidecars of the bench, as `host:port`, or `host:path` for a Unix socket |
		| `unreachable_sidecars` | `{address: reason}`: sidecars to which no link can be opened |
		| `workers` | `[{worker, name, pid, subscribed, connections}]`; session ids begin with the name; empty for a single process |
		| `handlers` | `{python, javascript}`: apps, load errors, and counts of events, failures and drops |

		`url_key` names the configuration keys to check. `since` and `until` are seconds since 1970, or null. `history`,
		`publishers` and `handlers` do not change the status: the sidecar works without them.
		"""
		server = self._server
		(redis, web_process, outages), own, answers = await asyncio.gather(
			self._check_dependencies(), self._own_health(), self._ask("health")
		)
		# One that is stopping serves no client any more.
		parts = [own, *(answer for answer in answers.values() if answer is not None and answer["accepting"])]
		host = merge.health(parts, silent=list(answers.values()).count(None))
		subscribed = host["subscribed"]
		healthy = redis and web_process and subscribed
		body: dict[str, Any] = {
			"status": "ok" if healthy else "error",
			"version": __version__,
			"overrides": dict(server.config.origins),
			"descriptors": host["descriptors"],
			"redis": {
				"ok": redis and subscribed,
				"subscribed": subscribed,
				"url": safe_url(server.config.redis_queue),
				"url_key": "redis_queue",
			},
			"history": host["history"],
			"publishers": {
				"outages": len(outages),
				"held": max((outage.held for outage in outages), default=0),
				"dropped": sum(outage.dropped for outage in outages),
				"since": min((outage.since for outage in outages), default=None),
				"until": max((outage.until for outage in outages), default=None),
			},
			"web": {
				"ok": web_process,
				"url": server.config.web_url,
				"url_key": "webserver_host, webserver_port",
			},
			"connections": host["connections"],
			"clients_without_address": host["clients_without_address"],
			"sidecars": server.cluster.health(without=answers),
			"unreachable_sidecars": host["unreachable_sidecars"],
			"workers": host["workers"],
			"handlers": host["handlers"],
		}
		return web.json_response(body, status=200 if healthy else 503)

	async def _own_health(self) -> dict[str, Any]:
		"""Return what `/health` says of this process alone, see `host.health`."""
		server = self._server
		return {
			"worker": server.worker.slot if server.worker else 0,
			"name": server.worker.name if server.worker else "",
			"pid": os.getpid(),
			"accepting": server.engine.accepting,
			"subscribed": server.subscriber.connected,
			"descriptors": {
				"open": await asyncio.to_thread(_open_descriptors),
				"limit": resource.getrlimit(resource.RLIMIT_NOFILE)[0],
			},
			"history": {
				"refused": server.recovery.history.unavailable,
				"sessions_refused": server.recovery.sessions.denied,
			},
			"connections": len(server.engine.connections),
			"clients_without_address": server.limits.without_address,
			"unreachable_sidecars": server.forwarder.unreachable(),
			"handlers": server.handlers.health(),
		}

	async def metrics(self, request: web.Request) -> web.Response:
		"""Answer with all metrics in the text format of Prometheus; 403 for addresses outside `realtime_trusted_proxies`."""
		if not self._server.limits.proxies.trusts(request.remote or ""):
			raise web.HTTPForbidden(text="add this address or network to realtime_trusted_proxies\n")
		worker = self._server.worker
		kept = counters.read_kept(worker.folder) if worker else None
		own, answers = await asyncio.gather(self._metrics_with_outages(), self._ask("metrics"))
		known = {name: answer for name, answer in answers.items() if answer is not None}
		parts = [own, *known.values()]
		if worker and kept:
			parts += kept.without((worker.name, *known))
		metrics = await asyncio.to_thread(_import_metrics)
		return web.Response(
			body=metrics.render(merge.metrics(parts)),
			headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"},
		)

	async def _metrics_with_outages(self) -> list[Family]:
		"""Return the metrics of this process, with what publishing processes reported, which is the same for all workers of the host."""
		return await self._own_metrics((await self._check_dependencies()).outages)

	async def _own_metrics(self, outages: Sequence[OutageReport] = ()) -> list[Family]:
		"""Return the metrics of this process alone.

		Without a question to Redis or to the web process: another worker that asks would not wait as long as they may take.

		Args:
			outages: What publishing processes reported, for the worker that answers for the host.
		"""
		# In a thread, because the first import takes 20 ms.
		metrics = await asyncio.to_thread(_import_metrics)
		names = self.siblings.names() if self.siblings else ()
		families: list[Family] = metrics.families(self._server, outages, names)
		if worker := self._server.worker:
			counters.keep(worker.folder, worker.name, families)
		return families

	async def answer_siblings(self, app: web.Application) -> AsyncIterator[None]:
		"""Answer the other workers while the application runs, and leave them the counters at its end."""
		worker = self._server.worker
		if self.siblings is not None and worker is not None:
			await self.siblings.start()
			yield
			await self.siblings.stop()
			if counters.is_kept(worker.folder, worker.name):
				counters.keep(worker.folder, worker.name, _import_metrics().families(self._server, (), ()))
		else:
			yield

	async def _ask(self, question: str) -> dict[str, Any]:
		return await self.siblings.ask(question) if self.siblings else {}

	async def _check_dependencies(self) -> Dependencies:
		"""Return the state of Redis and the web process; requests at the same time share one check."""
		return await self._dependencies.get("", self._ask_dependencies)

	async def _ask_dependencies(self) -> Dependencies:
		server = self._server
		return Dependencies(
			*await asyncio.gather(
				server.backends.store.ping(),
				server.backends.web.ping(server.config.default_site),
				self._outages(),
			)
		)

	async def _outages(self) -> list[OutageReport]:
		with suppress(StoreUnavailable, StoreDenied):
			return await self._server.backends.store.outages()
		return []


def _open_descriptors() -> int:
	"""Return the number of open files and connections of this process; 0 where the system does not tell."""
	with suppress(OSError):
		return len(os.listdir("/proc/self/fd"))
	return 0


def _import_metrics() -> ModuleType:
	"""Import prometheus_client with the first request for metrics: it takes 2 MB of memory."""
	from . import metrics

	return metrics


class HTTPLog(LoggerAdapter):
	"""Bounds what aiohttp logs about requests: a line for each malformed one, with a traceback, which any client can cause."""

	def __init__(self) -> None:
		super().__init__(logging.getLogger("realtime.http"), {})
		self._budget = LogBudget()

	def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:
		"""Write a line unless the rate does not allow it, and that of a malformed request without a traceback."""
		if not self.isEnabledFor(level) or (note := self._budget.take()) is None:
			return
		error = kwargs.get("exc_info")
		if isinstance(error, HttpProcessingError):
			self.logger.info("a request is not valid HTTP: %.200r%s", error.message, note)
		else:
			self.logger.log(level, f"{msg}%s", *args, note, **kwargs)


def pages(server: RealtimeServer) -> web.AppRunner:
	"""Return the HTTP application for `server`, not yet set up."""
	endpoints = Endpoints(server)
	app = web.Application(middlewares=[_close_after_response])
	app.router.add_get("/health", endpoints.health)
	app.router.add_get("/metrics", endpoints.metrics)
	app.cleanup_ctx.append(endpoints.answer_siblings)
	return web.AppRunner(app, access_log=None, handle_signals=False, logger=HTTPLog())


@web.middleware
async def _close_after_response(request: web.Request, handler: Handler) -> web.StreamResponse:
	"""Close the connection after each response: the next request of a proxy on it may be one for the engine."""
	try:
		response: web.StreamResponse = await handler(request)
	except web.HTTPException as error:
		error.force_close()
		raise
	response.force_close()
	return response
