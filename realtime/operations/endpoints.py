"""The HTTP pages of the sidecar beside `/socket.io/`: health for a balancer and an operator."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import NamedTuple

from aiohttp import web

from ..bus.store import Outage, StoreDenied, StoreUnavailable
from ..server import RealtimeServer
from ..web.cache import SingleFlightCache
from .metrics import render

HEALTH_SECONDS = 1.0
"""Seconds for which `/health`, which is open to everybody, does not ask Redis and the web process again."""


class Seen(NamedTuple):
	"""What Redis and the web process have answered."""

	redis: bool
	web_process: bool
	outages: list[Outage]


def pages(server: RealtimeServer) -> web.AppRunner:
	"""What answers for `server`, to be set up by it."""
	app = web.Application(middlewares=[_one_request])
	answers: SingleFlightCache[str, Seen] = SingleFlightCache(HEALTH_SECONDS, 1)
	app.router.add_get("/health", lambda request: health(server, answers))
	app.router.add_get("/metrics", lambda request: metrics(server, answers, request))
	return web.AppRunner(app, access_log=None, handle_signals=False)


@web.middleware
async def _one_request(request: web.Request, handler: web._Middleware) -> web.StreamResponse:  # type: ignore[name-defined]
	"""Close the connection after the answer, since the next request of a proxy on it may be one for the engine."""
	try:
		response: web.StreamResponse = await handler(request)
	except web.HTTPException as error:
		error.force_close()
		raise
	response.force_close()
	return response


async def metrics(
	server: RealtimeServer, answers: SingleFlightCache[str, Seen], request: web.Request
) -> web.Response:
	"""The numbers for Prometheus; 403 for one who is not in a network of ours."""
	if not server.limits.proxies.trusts(request.remote or ""):
		raise web.HTTPForbidden(text="name the address or network in realtime_trusted_proxies\n")
	seen = await _look(server, answers)
	return web.Response(
		text=render(server, seen.outages),
		headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"},
	)


async def _look(server: RealtimeServer, answers: SingleFlightCache[str, Seen]) -> Seen:
	"""What is seen of Redis and the web process, for all who ask in the same moment."""

	async def outages() -> list[Outage]:
		with suppress(StoreUnavailable, StoreDenied):
			return await server.backends.store.outages()
		return []

	async def ask() -> Seen:
		return Seen(
			*await asyncio.gather(
				server.backends.store.answers(),
				server.backends.web.answers(server.config.default_site),
				outages(),
			)
		)

	return await answers.get("", ask)


async def health(server: RealtimeServer, answers: SingleFlightCache[str, Seen]) -> web.Response:
	"""200 when Redis and the web process answer, else 503; the body says which, and what to look at.

	`publishers` sums up what web processes, workers and commands have reported of the last 24 hours: outages in which
	they could not publish. It has no part in the status: the sidecar works.
	"""
	redis, web_process, outages = await _look(server, answers)
	healthy = redis and web_process and server.subscriber.connected
	body = {
		"status": "ok" if healthy else "error",
		"redis": {
			"ok": redis and server.subscriber.connected,
			"subscribed": server.subscriber.connected,
			"url_key": "redis_queue",
		},
		"history": {
			"ok": not server.recovery.history.trouble and not server.recovery.sessions.refused,
			"refused": server.recovery.history.trouble,
			"sessions_refused": server.recovery.sessions.refused,
		},
		"publishers": {
			"outages": len(outages),
			"held": max((outage.held for outage in outages), default=0),
			"dropped": sum(outage.dropped for outage in outages),
			"since": min((outage.since for outage in outages), default=None),
			"until": max((outage.until for outage in outages), default=None),
		},
		"web": {"ok": web_process, "url": server.config.web_url, "url_key": "webserver_host, webserver_port"},
		"connections": len(server.engine.connections),
		"sidecars": server.cluster.health(),
		"handlers": server.handlers.health(),
	}
	return web.json_response(body, status=200 if healthy else 503)
