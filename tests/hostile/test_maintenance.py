"""A site in maintenance mode: its clients wait behind one probe, and the other sites notice nothing."""

from __future__ import annotations

import time
from typing import Any

import pytest
from aiohttp import web

from tests.wire.bench import APP_SITE, STOCK_SITE, Bench
from tests.wire.conditions import until
from tests.wire.conftest import LONG, Connect, MakeBench, StartConnecting

CLIENTS = 5
SECONDS = 8.0


def begin_maintenance(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
	"""Answer as Frappe does for a site with `maintenance_mode`: HTTP 503 for every path, and 404 for other hosts."""
	respond = bench.web._respond

	async def stopped(request: web.Request, host: str, *rest: Any) -> web.Response:
		if host == APP_SITE:
			return web.json_response({"exc_type": "SessionStopped"}, status=503)
		return await respond(request, host, *rest)

	monkeypatch.setattr(bench.web, "_respond", stopped)


def test_maintenance_is_one_probe_and_one_line(
	make_bench: MakeBench,
	start_connecting: StartConnecting,
	connect: Connect,
	monkeypatch: pytest.MonkeyPatch,
) -> None:
	bench = make_bench()
	with monkeypatch.context() as maintenance:
		begin_maintenance(bench, maintenance)
		waiting = [start_connecting(bench, bench.user())[1] for _ in range(CLIENTS)]
		until(lambda: len(bench.web.requests) >= CLIENTS, "the questions")
		time.sleep(SECONDS)
		requests = len(bench.web.requests)
		connect(bench, bench.user(STOCK_SITE), STOCK_SITE).fence()
	for one in waiting:
		one.result(LONG)
	# One question for each client, and probes with growing pauses.
	assert requests <= CLIENTS + 8, requests
	lines = [line for line in bench.sidecar.log.splitlines() if "realtime.web" in line]
	assert len(lines) == 2, lines
	assert f"the site {APP_SITE} is in maintenance mode (HTTP 503); its clients wait" in lines[0]
	assert f"serves {APP_SITE} again" in lines[1]
