"""The doctor's checks of the web process: whether Frappe answers, and what it says about each site."""

from __future__ import annotations

import asyncio
import json
import shlex
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from email.utils import parsedate_to_datetime
from time import time
from typing import Any, NamedTuple

import aiohttp

from frappe_realtime.contract.http import SITE_HEADER
from frappe_realtime.errors import WebUnavailable

from ..access.authentication import USER_INFO, names_no_user
from ..access.sites import Sites
from ..bus.endpoint import safe_url
from ..bus.store import RedisStore
from ..config import Config
from ..web.frappe_client import GUEST_CREDENTIAL, FrappeClient
from ..web.secret import SharedSecret
from .bench_files import BenchFiles, without_password
from .findings import FAILED, NOTE, OK, TIMEOUT, CheckFailed, Finding
from .redis_checks import MAX_CLOCK_SKEW

PING = "/api/method/ping"


class Pong(NamedTuple):
	"""How a web server answers a ping for a site.

	Args:
		kind: `frappe`, `maintenance`, `other` (an answer that is not Frappe's), `silent` or `refused`.
		reason: The error or the status, for operators.
		skew: Seconds by which the server's clock is ahead of this machine's; 0 if it does not tell.
	"""

	kind: str
	reason: str
	skew: float = 0.0


class WebChecks:
	"""Checks of the web process; each returns a `Finding` or raises `CheckFailed`.

	Args:
		config: The configuration of the bench.
		files: The files of the bench.
		store: redis_queue.
		http: Used for pings.
	"""

	def __init__(
		self, config: Config, files: BenchFiles, store: RedisStore, http: aiohttp.ClientSession
	) -> None:
		self._config = config
		self._files = files
		self._store = store
		self._http = http
		self._sites = Sites(config)

	# -- for all sites

	async def web(self, sites: Sequence[str]) -> Finding:
		"""Ping the web process for some sites; one that serves any of them is Frappe's.

		Args:
			sites: Names of sites.
		"""
		url = self._config.web_url
		pongs = await asyncio.gather(*[self._ping(url, site) for site in list(sites)[:8]])
		if any(pong.kind in ("frappe", "maintenance") for pong in pongs):
			skew = next((pong.skew for pong in pongs if abs(pong.skew) > MAX_CLOCK_SKEW), 0.0)
			if skew:
				return Finding(
					"clock.web",
					FAILED,
					f"the clock of the web process at {url} is {abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} this machine's",
					"the system clocks of the two machines",
					"sudo timedatectl set-ntp true",
				)
			return Finding("web.ok", OK, f"the web process answers at {url}")
		if not pongs:
			return Finding(
				"web.unknown", NOTE, "the web process was not asked, because the bench has no site"
			)
		raise CheckFailed(await self._not_frappe(url, pongs[0], sites[0]))

	async def _not_frappe(self, url: str, pong: Pong, site: str) -> Finding:
		key = self._files.web_key
		what = {
			"refused": f"the web process does not answer at {url}: {pong.reason}",
			"silent": f"the web process does not answer at {url}: {pong.reason}",
		}.get(pong.kind, f"the server at {url} is not the web process of this bench: {pong.reason}")
		where = self._files.place(key)
		ports = self._files.web_ports() if key == "webserver_port" else []
		for port in ports:
			other = replace(self._config, webserver_port=port)
			if (await self._ping(other.web_url, site)).kind in ("frappe", "maintenance"):
				return Finding(
					"web.port",
					FAILED,
					f"{what}; it answers at {other.web_url}",
					where,
					self._files.set_key(key, port),
					fix=self._files.change(key, port),
				)
		if pong.kind == "other":
			value = "PORT" if key == "webserver_port" else "URL"
			return Finding(
				"web.foreign",
				FAILED,
				what,
				where,
				self._files.then(f"bench set-config -g {key} {value}", self._files.restart_sidecar),
				f"{value} is that of Frappe: {PING} for a site of the bench answers pong there; the sidecar calls no other address",
			)
		if pong.kind == "silent":
			return Finding(
				"web.silent",
				FAILED,
				what,
				where,
				self._files.restart,
				"the process accepts connections and does not answer: all its workers may be busy or blocked",
			)
		return Finding(
			"web.down",
			FAILED,
			what,
			where,
			self._files.start,
			"start the web process, or correct webserver_host and webserver_port: the sidecar calls no other address",
		)

	async def _ping(self, url: str, site: str) -> Pong:
		headers = {"Host": site, SITE_HEADER: site, "Accept": "application/json"}
		started = time()
		try:
			async with self._http.get(f"{url}{PING}", headers=headers, allow_redirects=False) as answer:
				body = await answer.text(errors="replace")
				skew = _skew(answer.headers.get("Date", ""), started)
		except asyncio.TimeoutError:
			return Pong("silent", f"no answer within {TIMEOUT:g} s")
		except (aiohttp.ClientConnectorError, OSError) as error:
			return Pong("refused", str(error))
		except aiohttp.ClientError as error:
			return Pong("other", str(error) or type(error).__name__)
		if answer.status == 503 and ("SessionStopped" in body or "maintenance" in body.lower()):
			return Pong("maintenance", "maintenance mode", skew)
		content: Any = None
		with suppress(ValueError):
			content = json.loads(body)
		if isinstance(content, dict) and (content.get("message") == "pong" or "exc_type" in content):
			return Pong("frappe", "", skew)
		server = answer.headers.get("Server", "")
		return Pong(
			"other", f"it answers HTTP {answer.status} to {PING}" + (f" ({server})" if server else "")
		)

	# -- for one site

	def folder(self, site: str) -> Finding:
		"""Check that the bench has the site."""
		if self._sites.exists(site):
			return Finding("folder.ok", OK, "the bench has this site", site=site)
		known = ", ".join(self._sites.names()) or "none"
		raise CheckFailed(
			Finding(
				"folder.missing",
				FAILED,
				f"{self._config.bench} has no site {site!r}",
				str(self._config.sites),
				"frappe-realtime doctor",
				f"it has: {known}. A site is named by its folder",
			)
		)

	async def answer(self, site: str) -> Finding:
		"""Ask the web process who a Guest is, as the sidecar does for each client."""
		# Do not wait until the web process comes back, as the sidecar does.
		config = replace(self._config, realtime_web_patience=0.0, realtime_web_timeout=TIMEOUT)
		web = FrappeClient(config, SharedSecret(self._store).get)
		try:
			answer = await asyncio.wait_for(
				web.call(site, USER_INFO, GUEST_CREDENTIAL, secret_rejected=names_no_user), TIMEOUT + 1
			)
		except (WebUnavailable, asyncio.TimeoutError) as error:
			reason = str(error) or f"no answer within {TIMEOUT:g} s"
			if "maintenance mode" in reason:
				raise CheckFailed(self._maintenance(site)) from error
			raise CheckFailed(
				Finding(
					"answer.none",
					FAILED,
					f"the web process does not answer: {reason}",
					"the log of the web process",
					self._files.restart,
					site=site,
				)
			) from error
		finally:
			await web.close()
		info = answer.message
		if names_no_user(answer):
			raise CheckFailed(self._other_secret(site))
		if answer.status != 200 or not isinstance(info, dict) or "user" not in info:
			raise CheckFailed(
				Finding(
					"answer.refused",
					FAILED,
					f"the web process answers HTTP {answer.status} to {USER_INFO}",
					"the log of the web process; " + self._files.place(self._files.web_key),
					self._files.restart,
					"404: its bench has no such site. 401 or 403: an app or a proxy refuses the request",
					site=site,
				)
			)
		apps = info.get("installed_apps")
		if apps is None or "frappe_realtime" not in apps:
			return Finding(
				"app.missing",
				NOTE,
				"the web process answers; the app is not installed on the site",
				advice="install it, so that no event is lost and access ends at once: "
				f"bench --site {site} install-app frappe_realtime",
				site=site,
			)
		return Finding("app.ok", OK, "the web process answers, and the app is installed", site=site)

	def _maintenance(self, site: str) -> Finding:
		file = self._config.sites / site / "site_config.json"
		command = f"bench --site {site} set-maintenance-mode off"
		if not self._files.site_value(site, "maintenance_mode"):
			file = self._files.common
			if self._files.read_json(file).get("maintenance_mode"):
				command = "bench set-config -g maintenance_mode 0"
		return Finding(
			"maintenance.on",
			FAILED,
			"the site is in maintenance mode (HTTP 503), and its clients wait",
			f"maintenance_mode in {file}",
			command,
			site=site,
		)

	def _other_secret(self, site: str) -> Finding:
		what = "the web process does not accept the shared secret: it reads another Redis than the sidecar"
		own = self._files.site_value(site, "redis_queue")
		if isinstance(own, str) and own != self._config.redis_queue:
			url = safe_url(self._config.redis_queue)
			return Finding(
				"secret.site",
				FAILED,
				f"{what}: {safe_url(own)} and not {url}",
				f"redis_queue in {self._config.sites / site / 'site_config.json'}",
				self._files.then(
					f"bench --site {site} set-config redis_queue {shlex.quote(without_password(self._config.redis_queue))}",
					self._files.restart,
				),
				site=site,
			)
		return Finding(
			"secret.other",
			FAILED,
			what,
			f"{self._files.place(self._files.redis_key)}; FRAPPE_REDIS_QUEUE in the environment of the web process",
			self._files.restart,
			"the web process was started with another redis_queue",
			site=site,
		)


def _skew(date: str, started: float) -> float:
	"""Return the seconds by which a Date header is ahead of the time between `started` and now."""
	with suppress(ValueError, TypeError):
		# The header has whole seconds.
		there = parsedate_to_datetime(date).timestamp() + 0.5
		return there - (started + time()) / 2
	return 0.0
