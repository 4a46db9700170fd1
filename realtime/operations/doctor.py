"""`frappe-realtime doctor`: finds out why realtime does not work, and ends with the cause.

It follows the path of an event: the files of the bench, Redis, the web process, the sidecar, a client on the sidecar's own port,
the app's half, and a client on the site's public address. Each line says what was checked. A failure that another explains
(findings.py) is not listed as a failure, so that the last line names the cause, where it is, and the command that mends it.
The checks change nothing, except that a missing shared secret is created, as the sidecar does, and that a key and a session are
written for a moment.

Checks that do not depend on each other run at the same time, and each waits a few seconds at most, so that the whole run
takes about 15 seconds even if nothing answers. The findings are printed in the order of the path.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from frappe_realtime import __version__

from ..access.sites import Sites
from ..config import Config, load
from . import fixes
from .bench_checks import BenchChecks
from .bench_files import BenchFiles
from .client_checks import ClientChecks
from .containers import find_containers
from .findings import FAILED, NOTE, TIMEOUT, CheckFailed, Finding, KeyChange, explanation, verdict
from .public_checks import PublicChecks
from .redis_checks import RedisChecks
from .session_maker import SessionMaker
from .sidecar_checks import SidecarChecks, SidecarReport
from .terminal import print_what_can_be_encoded
from .web_checks import WebChecks

MAX_CONCURRENT_SITES = 16
"""Sites that are checked at the same time; each opens up to eight connections."""

Report = Callable[[Finding], None]


def doctor(config: Config, site: str | None, as_json: bool = False, fix: bool = False) -> None:
	"""Print the findings and the cause, then exit with 0, or with 1 if a check failed.

	Args:
		config: The configuration of the bench.
		site: The site to check; by default all sites of the bench.
		as_json: Print one JSON object at the end, and nothing else.
		fix: Make the changes that can be undone, and check again.
	"""
	print_what_can_be_encoded()
	# The findings say what these log lines would.
	logging.getLogger("realtime").setLevel(logging.ERROR)
	report: Report = (lambda finding: None) if as_json else print
	if not as_json:
		print(f"frappe-realtime {__version__} on Python {sys.version.split()[0]}, bench {config.bench}")
	findings = asyncio.run(examine(config, site, report))
	changes = [finding.fix for finding in findings if finding.is_cause and finding.fix is not None]
	made: list[dict[str, Any]] = []
	if fix and changes:
		try:
			undo = fixes.apply(changes)
		except (OSError, ValueError) as error:
			print(
				f"frappe-realtime: --fix has changed nothing: {error}. Run it as a user who may write this file, "
				"or change the key by the command that the cause names.",
				file=sys.stderr,
			)
		else:
			made = [{**change.shown, "undo": undo[change.file]} for change in changes]
			if not as_json:
				_print_fixed(changes, undo.values())
			findings = asyncio.run(examine(load(config.bench, os.environ), site, report))
	causes = [finding for finding in findings if finding.is_cause]
	if as_json:
		_print_json(config, findings, made)
	else:
		print()
		for change in changes if not fix else ():
			print(f"With --fix this command would {fixes.describe(change)}")
		if fix and not changes:
			print("There is nothing that --fix can mend.")
		if causes:
			print(f"{len(causes)} of {len(findings)} checks failed")
		print(verdict(findings))
	# Here, where a pipe that nobody reads is noticed; at the exit of Python it would be an error.
	sys.stdout.flush()
	sys.exit(1 if causes else 0)


def _print_fixed(changes: Sequence[KeyChange], undo: Iterable[str]) -> None:
	print()
	for change in changes:
		print(f"Fixed: {fixes.describe(change)}")
	for command in undo:
		print(f"       to undo it: {command}")
	print("\nChecked again; processes that read the file at their start must be restarted:")


def _print_json(config: Config, findings: Sequence[Finding], fixed: Sequence[dict[str, Any]]) -> None:
	"""Print `{version, bench, ok, causes, findings, fixed}`; causes and findings as in `Finding.as_json`."""
	causes = [finding for finding in findings if finding.is_cause]
	body = {
		"version": __version__,
		"bench": str(config.bench),
		"ok": not causes,
		"causes": [finding.as_json() for finding in causes],
		"findings": [finding.as_json() for finding in findings],
		"fixed": list(fixed),
	}
	print(json.dumps(body, indent=1))


async def examine(config: Config, site: str | None, report: Report = print) -> list[Finding]:
	"""Return all findings.

	Args:
		config: The configuration of the bench.
		site: The site to check; by default all sites of the bench.
		report: Called with each finding, as soon as those before it are known.
	"""
	async with _open_checks(config) as checks:
		return await Examination(config, checks, report).run(site)


@dataclass(frozen=True, slots=True)
class Checks:
	"""All checks of one run."""

	bench: BenchChecks
	redis: RedisChecks
	web: WebChecks
	sidecar: SidecarChecks
	clients: ClientChecks
	public: PublicChecks
	sessions: SessionMaker


@asynccontextmanager
async def _open_checks(config: Config) -> AsyncIterator[Checks]:
	async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT)) as http:
		files = BenchFiles(config, find_containers(os.environ, Path("/")))
		redis = RedisChecks(config, files)
		sidecar = SidecarChecks(config, files, redis.store)
		clients = ClientChecks(config, files, redis.store, sidecar)
		try:
			yield Checks(
				BenchChecks(config, files),
				redis,
				WebChecks(config, files, redis.store, http),
				sidecar,
				clients,
				PublicChecks(config, files, http, clients.transports),
				SessionMaker(config),
			)
		finally:
			await redis.store.close()


class Examination:
	"""One run of the doctor.

	Args:
		config: The configuration of the bench.
		checks: The checks.
		report: As in `examine`.
	"""

	def __init__(self, config: Config, checks: Checks, report: Report) -> None:
		self._config = config
		self._checks = checks
		self._report = report
		self._findings: list[Finding] = []
		self._limit = asyncio.Semaphore(MAX_CONCURRENT_SITES)

	async def run(self, site: str | None) -> list[Finding]:
		"""Run the checks, and return their findings."""
		checks = self._checks
		if site is not None:
			folder = await _run(_done(checks.bench.sites_folder))
			here = [finding for finding in folder if finding.site in ("", site) and finding.failed]
			if here or (missing := await _run(_done(lambda: checks.web.folder(site))))[0].failed:
				self._add(here or missing)
				return self._findings
		subscribers = asyncio.create_task(checks.redis.subscribers())
		redis = _start(_second(subscribers, checks.redis.redis))
		after_redis = [
			_start(_after(redis, check))
			for check in (checks.redis.rights, checks.redis.clock, checks.redis.outages)
		]
		names = [site] if site is not None else Sites(self._config).names()
		web = _start(checks.web.web(names))
		sidecar = asyncio.create_task(checks.sidecar.sidecar(subscribers))
		of_sites = [
			asyncio.create_task(self._site(name, redis, web, sidecar, is_first=name == names[0]))
			for name in names
		]
		for check in (
			checks.bench.sites_folder,
			checks.bench.has_sites,
			checks.bench.configuration,
			checks.bench.backend,
			checks.bench.environment,
		):
			self._add(await _run(_done(check)))
		for task in (redis, *after_redis, web):
			self._add(await task)
		self._add((await sidecar).findings)
		self._add(await _run(_done(checks.bench.nginx)))
		for of_site in of_sites:
			self._add(await of_site)
		if site is None:
			self._add(self._app_nowhere(names))
		return self._findings

	def _add(self, findings: Sequence[Finding]) -> None:
		for finding in findings:
			if finding.failed:
				finding.follows_from = explanation(finding, self._findings)
			self._findings.append(finding)
			self._report(finding)

	def _app_nowhere(self, names: Sequence[str]) -> list[Finding]:
		states = {finding.code for finding in self._findings if finding.check == "app"}
		if states != {"app.missing"}:
			return []
		site = names[0] if len(names) == 1 else "all"
		return [
			Finding(
				"app.nowhere",
				NOTE,
				"the app frappe_realtime is installed on no site: events have no history, and access ends with a delay",
				"the installed apps of the sites",
				f"bench --site {site} install-app frappe_realtime",
			)
		]

	# -- one site

	async def _site(
		self,
		site: str,
		redis: asyncio.Task[list[Finding]],
		web: asyncio.Task[list[Finding]],
		sidecar: asyncio.Task[SidecarReport],
		is_first: bool,
	) -> list[Finding]:
		async with self._limit:
			local = asyncio.create_task(self._local(site, redis, web, sidecar, is_first))

			async def works_locally() -> bool:
				return not any(
					finding.failed or finding.code == "delivery.left_out" for finding in await local
				)

			public = await _run(self._checks.public.public(site, works_locally))
			return [*await local, *public]

	async def _local(
		self,
		site: str,
		redis: asyncio.Task[list[Finding]],
		web: asyncio.Task[list[Finding]],
		sidecar: asyncio.Task[SidecarReport],
		is_first: bool,
	) -> list[Finding]:
		"""Check the web process and the sidecar's own port, without what cannot work because something else does not."""
		checks = self._checks
		if _fails(await redis):
			return [
				_left_out(site, "neither the web process nor a client was tried, because both need Redis")
			]
		if any(finding.failed and finding.check == "web" for finding in await web):
			return [_left_out(site, "no client was connected, because the web process does not answer")]
		found = await _run(checks.web.answer(site))
		report = await sidecar
		if not report.health:
			return [*found, _left_out(site, "no client was connected, because the sidecar does not answer")]
		if found[0].code == "secret.other" and (difference := checks.sidecar.redis_difference(report.health)):
			# The web process and the sidecar agree, and this process reads another Redis than both.
			return [difference]
		if _fails(found):
			return [
				*found,
				_left_out(site, "no client was connected, because the web process does not serve the site"),
			]
		delivery = await _run(checks.clients.delivery(site, report.health))
		found += delivery
		if _fails(delivery):
			return found
		if is_first:
			found += await _run(checks.clients.session(site, checks.sessions, report.health))
		if any(finding.code == "app.ok" for finding in found):
			found += await _run(checks.clients.publish(site, with_worker=is_first))
		return found


def _left_out(site: str, what: str) -> Finding:
	return Finding("delivery.left_out", NOTE, what, site=site)


def _fails(findings: Sequence[Finding]) -> bool:
	return any(finding.state == FAILED for finding in findings)


def _start(check: Awaitable[Finding | list[Finding]]) -> asyncio.Task[list[Finding]]:
	return asyncio.create_task(_run(check))


async def _second(first: asyncio.Task[int | None], check: Callable[[], Awaitable[Finding]]) -> Finding:
	"""Run a check when another one has ended: the checks that follow it change what the other one counts."""
	await first
	return await check()


async def _after(
	redis: asyncio.Task[list[Finding]], check: Callable[[], Awaitable[Finding]]
) -> list[Finding]:
	"""Run a check of Redis if Redis answers; without it there is nothing to report."""
	return [] if _fails(await redis) else [await check()]


async def _done(check: Callable[[], Finding | list[Finding]]) -> Finding | list[Finding]:
	"""Run a check that does not wait."""
	return check()


async def _run(check: Awaitable[Finding | list[Finding]]) -> list[Finding]:
	try:
		found = await check
	except CheckFailed as failed:
		return [failed.finding]
	return found if isinstance(found, list) else [found]
