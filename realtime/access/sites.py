"""The sites of the bench: which site a request is for, and whether its origin may connect to it."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from functools import lru_cache
from sys import intern
from time import monotonic
from typing import Any

from frappe_realtime.contract.refusals import ORIGIN_HIDDEN, ORIGIN_NOT_ALLOWED, SITE_NOT_SERVED

from ..config import Config
from ..socketio.errors import ConnectRefused

CACHE_SECONDS = 1.0
"""Seconds for which the existence of a site is cached: a reconnect of all clients asks thousands of times."""

MAX_CACHED = 300
"""Characters of an address whose host is cached: a name of 253 with its scheme and its port."""

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,252}\Z")


def hostname(address: str) -> str:
	"""Return the host of a URL, an Origin or a Host header, in lower case and without its port."""
	# A client chooses the address, and could fill the cache with long ones.
	return _hostname(address) if len(address) <= MAX_CACHED else _hostname.__wrapped__(address)


@lru_cache(maxsize=4096)
def _hostname(address: str) -> str:
	host = address.partition("://")[2].partition("/")[0] if "://" in address else address
	host = host.strip().lower()
	if host.startswith("["):
		return host[1:].partition("]")[0]
	return host.partition(":")[0]


def _is_other_port(origin: str, host: str) -> bool:
	"""Return True if the Origin has another port than the Host, as in development; no proxy writes such an Origin."""
	return host.rpartition(":")[2].isdigit() and origin.partition("://")[2].lower() != host.strip().lower()


class Sites:
	"""The sites of the bench: the folders in `sites` that have a `site_config.json`.

	Args:
		config: The configuration.
	"""

	def __init__(self, config: Config) -> None:
		self._folder = config.sites
		self._default = config.default_site
		self._allowed = {hostname(origin) for origin in config.realtime_allowed_origins}
		self._configs: dict[str, tuple[int, dict[str, Any]]] = {}
		self._existing: dict[str, float] = {}
		self._only: tuple[float, str | None] = (0.0, None)

	def exists(self, name: str) -> bool:
		"""Return True if the bench has a site of this name."""
		now = monotonic()
		if self._existing.get(name, 0) > now:
			return True
		exists = _NAME.match(name) is not None and os.path.isfile(f"{self._folder}/{name}/site_config.json")
		if exists:
			self._existing[name] = now + CACHE_SECONDS
		else:
			self._existing.pop(name, None)
		return exists

	def names(self) -> list[str]:
		"""Return all sites of the bench, in alphabetical order."""
		return sorted(path.parent.name for path in self._folder.glob("*/site_config.json"))

	def address(self, site: str) -> str | None:
		"""Return the site's URL without a path (`host_name` of its configuration); None if it has none."""
		name = self._config(site).get("host_name")
		if not isinstance(name, str) or not name:
			return None
		return (name if "://" in name else f"http://{name}").rstrip("/")

	def database(self, site: str) -> str | None:
		"""Return the name of the site's database (`db_name` of its configuration); None if it has none."""
		name = self._config(site).get("db_name")
		return name if isinstance(name, str) and name else None

	def resolve(self, namespace: str, headers: Mapping[str, str], behind_proxy: bool) -> str:
		"""Return the site of `namespace`, after a check that the request is for it.

		An absent Origin is accepted: proxies may drop it, and a browser always sends one with a cross-site request.

		Args:
			namespace: With its slash.
			headers: The headers of the request, by lower-case name.
			behind_proxy: True if the peer is a trusted proxy; only then `X-Frappe-Site-Name` and `X-Forwarded-Host` count.

		Raises:
			ConnectRefused: "Invalid namespace" if the bench has no such site or the request is for another one,
				"Invalid origin" if the page belongs to another host.
		"""
		site = namespace.removeprefix("/")
		named = headers.get("x-frappe-site-name", "") if behind_proxy else ""
		host = hostname(headers.get("host", ""))
		forwarded = hostname(headers.get("x-forwarded-host", "").partition(",")[0]) if behind_proxy else ""
		requested = self._requested(named, forwarded or host, headers)
		if not self.exists(site) or (requested != site and not self._is_other_name(requested, site, named)):
			# The same answer for both, so that an outsider cannot find out the names of other sites.
			raise ConnectRefused(
				"Invalid namespace",
				SITE_NOT_SERVED,
				f"the request is for {requested!r}; this bench serves no site {site!r} under it",
			)
		origin = headers.get("origin")
		if origin and not self._is_allowed_origin(hostname(origin), {host, forwarded}, site):
			raise ConnectRefused(
				"Invalid origin",
				ORIGIN_NOT_ALLOWED,
				f"the page is from {hostname(origin)!r}; add it to realtime_allowed_origins to allow it",
				origin=hostname(origin),
			)
		# One string for all clients of the site, which keep it.
		return intern(site)

	def check_fetch_site(self, headers: Mapping[str, str], behind_proxy: bool) -> None:
		"""Check `Sec-Fetch-Site` of a request with a cookie, where the proxy replaces the Origin of the page.

		The nginx configuration of bench does that. Not all browsers send `Sec-Fetch-Site`.

		Raises:
			ConnectRefused: The page is of another origin.
		"""
		if not behind_proxy or headers.get("sec-fetch-site") not in ("cross-site", "same-site"):
			return
		origin, host = headers.get("origin"), headers.get("host", "")
		if not origin or (hostname(origin) == hostname(host) and not _is_other_port(origin, host)):
			raise ConnectRefused(
				"Invalid origin",
				ORIGIN_HIDDEN,
				"the page is of another origin, which the proxy hides: let it pass the browser's Origin",
			)

	def _requested(self, named: str, host: str, headers: Mapping[str, str]) -> str:
		if named:
			# The name of a folder, which may have capitals; only a host is in lower case.
			return named if self.exists(named) else hostname(named)
		if self._default and host in ("localhost", "127.0.0.1"):
			return self._default
		# A page of an allowed origin elsewhere asks for the site that the Host names.
		return host if self.exists(host) else hostname(headers.get("origin") or host)

	def _is_other_name(self, requested: str, site: str, named: str) -> bool:
		"""Return True if `site` is served under the host `requested`, which is not a site itself."""
		if self.exists(requested):
			return False
		if requested in self._other_names(site):
			return True
		# Without a proxy that names the site, the only site of a bench is served under every host.
		return not named and (self._default or self._only_site()) == site

	def _only_site(self) -> str | None:
		# Cached: it reads the folder, and any client can cause it with a wrong host.
		now = monotonic()
		if self._only[0] <= now:
			names = self.names()
			self._only = (now + CACHE_SECONDS, names[0] if len(names) == 1 else None)
		return self._only[1]

	def _is_allowed_origin(self, origin: str, hosts: set[str], site: str) -> bool:
		if not origin:
			return False
		return (
			origin in hosts or origin == site or origin in self._allowed or origin in self._other_names(site)
		)

	def _other_names(self, site: str) -> set[str]:
		"""Return the hosts in the site's configuration: `host_name` and `domains`."""
		config = self._config(site)
		names = {hostname(config["host_name"])} if isinstance(config.get("host_name"), str) else set()
		for domain in config.get("domains") or ():
			name = domain.get("domain") if isinstance(domain, dict) else domain
			if isinstance(name, str):
				names.add(hostname(name))
		return names

	def _config(self, site: str) -> dict[str, Any]:
		path = self._folder / site / "site_config.json"
		try:
			changed = path.stat().st_mtime_ns
			cached = self._configs.get(site)
			if cached is not None and cached[0] == changed:
				return cached[1]
			content = json.loads(path.read_text())
		except (OSError, ValueError):
			return {}
		config = content if isinstance(content, dict) else {}
		self._configs[site] = (changed, config)
		return config
