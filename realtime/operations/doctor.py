"""`frappe-realtime doctor`: finds out why realtime does not work.

It follows the path of an event: the configuration, Redis, the sidecar, the web process, a client on the sidecar's own port,
and a client on the site's public address. Each line says what was checked; a line that failed says what to do. The checks
change nothing, except that a missing shared secret is created, as the sidecar does.

Checks that do not depend on each other run at the same time, and each waits a few seconds at most, so that the whole run
takes about 15 seconds even if nothing answers. The findings are printed in the order of the path.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import aiohttp

from frappe_realtime import __version__

from ..config import Config
from .bench_checks import BenchChecks
from .findings import FAILED, NOTE, TIMEOUT, CheckFailed, Finding
from .site_checks import SiteChecks

MAX_CONCURRENT_SITES = 16
"""Sites that are checked at the same time; each opens up to eight connections."""


def doctor(config: Config, site: str | None) -> None:
	"""Print the findings, then exit with 0, or with 1 if a check failed.

	Args:
		config: The configuration of the bench.
		site: The site to check; by default all sites of the bench.
	"""
	# The findings say what these log lines would.
	logging.getLogger("realtime").setLevel(logging.ERROR)
	print(f"frappe-realtime {__version__} on Python {sys.version.split()[0]}, bench {config.bench}")
	findings = asyncio.run(examine(config, site))
	failed = sum(finding.state == FAILED for finding in findings)
	print(
		f"\n{failed} of {len(findings)} checks failed"
		if failed
		else "\nEverything that could be checked works."
	)
	sys.exit(1 if failed else 0)


async def examine(
	config: Config, site: str | None, report: Callable[[Finding], None] = print
) -> list[Finding]:
	"""Return all findings.

	Args:
		config: The configuration of the bench.
		site: The site to check; by default all sites of the bench.
		report: Called with each finding, as soon as those before it are known.
	"""
	async with _open_checks(config) as (bench, sites):
		redis = _start(bench.redis())
		sidecar = _start(bench.sidecar())
		checks = [_start(bench.configuration()), redis, _start(bench.publishers()), sidecar]
		names = [site] if site else sites.names()
		limit = asyncio.Semaphore(MAX_CONCURRENT_SITES)
		of_sites = [asyncio.create_task(_examine_site(sites, name, redis, sidecar, limit)) for name in names]
		findings: list[Finding] = []
		for check in checks:
			findings.append(await check)
			report(findings[-1])
		if not names:
			findings.append(
				Finding(FAILED, f"{config.sites} has no site", "create one with bench new-site NAME")
			)
			report(findings[-1])
		for of_site in of_sites:
			for finding in await of_site:
				findings.append(finding)
				report(finding)
	return findings


@asynccontextmanager
async def _open_checks(config: Config) -> AsyncIterator[tuple[BenchChecks, SiteChecks]]:
	async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT)) as http:
		bench = BenchChecks(config)
		try:
			yield bench, SiteChecks(config, bench.store, http)
		finally:
			await bench.store.close()


async def _examine_site(
	checks: SiteChecks,
	site: str,
	redis: asyncio.Task[Finding],
	sidecar: asyncio.Task[Finding],
	limit: asyncio.Semaphore,
) -> list[Finding]:
	async with limit:
		folder = await _run(checks.folder(site))
		if folder.blocks:
			return [folder]
		local = asyncio.create_task(_examine_locally(checks, site, redis, sidecar))

		async def works_locally() -> bool:
			return all(finding.state != FAILED and not finding.blocks for finding in await local)

		public = await _run(checks.public(site, works_locally))
		return [*await local, public]


async def _examine_locally(
	checks: SiteChecks, site: str, redis: asyncio.Task[Finding], sidecar: asyncio.Task[Finding]
) -> list[Finding]:
	"""Check the web process and the sidecar's own port, without what cannot work because something else does not."""
	if (await redis).blocks:
		what = f"{site}: neither the web process nor a client was tried, because both need Redis"
		return [Finding(NOTE, what, blocks=True)]
	web = await _run(checks.web_process(site))
	if web.blocks or (await sidecar).blocks:
		missing = "the web process" if web.blocks else "the sidecar"
		what = f"{site}: no client was connected, because {missing} does not answer"
		return [web, Finding(NOTE, what, blocks=True)]
	return [web, await _run(checks.delivery(site))]


def _start(check: Awaitable[Finding]) -> asyncio.Task[Finding]:
	return asyncio.create_task(_run(check))


async def _run(check: Awaitable[Finding]) -> Finding:
	try:
		return await check
	except CheckFailed as failed:
		return Finding(FAILED, str(failed), failed.advice, failed.blocks)
