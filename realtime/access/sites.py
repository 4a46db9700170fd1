"""Which site a request is for, and whether the page that sent it may."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from time import monotonic
from typing import Any

from ..config import Config
from ..socketio.errors import ConnectRefused

SEEN_SECONDS = 1.0
"""How long a site counts as there without another look: when all clients come back, they ask thousands of times."""

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,252}\Z")


def hostname(address: str) -> str:
	"""The host of a URL, an Origin or a Host header, in lower case and without its port."""
	host = address.partition("://")[2].partition("/")[0] if "://" in address else address
	host = host.strip().lower()
	if host.startswith("["):
		return host[1:].partition("]")[0]
	return host.partition(":")[0]


def _is_another_port(origin: str, host: str) -> bool:
	"""Whether a page is from another port than the one asked, as in development: no proxy makes up such an Origin."""
	return host.rpartition(":")[2].isdigit() and origin.partition("://")[2].lower() != host.strip().lower()


class Sites:
	"""The sites of the bench: the folders below `sites` that hold a `site_config.json`."""

	def __init__(self, config: Config) -> None:
		self._folder = config.sites
		self._default = config.default_site
		self._allowed = {hostname(origin) for origin in config.realtime_allowed_origins}
		self._configs: dict[str, tuple[int, dict[str, Any]]] = {}
		self._seen: dict[str, float] = {}
		self._only: tuple[float, str | None] = (0.0, None)

	def exists(self, name: str) -> bool:
		"""Whether the bench has a site of this name."""
		now = monotonic()
		if self._seen.get(name, 0) > now:
			return True
		there = _NAME.match(name) is not None and os.path.isfile(f"{self._folder}/{name}/site_config.json")
		if there:
			self._seen[name] = now + SEEN_SECONDS
		else:
			self._seen.pop(name, None)
		return there

	def names(self) -> list[str]:
		"""All sites of the bench, in alphabetical order."""
		return sorted(path.parent.name for path in self._folder.glob("*/site_config.json"))

	def address(self, site: str) -> str | None:
		"""The URL that the site's configuration gives it (`host_name`), without a path; None without one."""
		name = self._config(site).get("host_name")
		if not isinstance(name, str) or not name:
			return None
		return (name if "://" in name else f"http://{name}").rstrip("/")

	def admit(self, namespace: str, headers: Mapping[str, str], behind_proxy: bool) -> str:
		"""The site that `namespace` and the headers of the request agree on.

		What a proxy says (`X-Frappe-Site-Name`, `X-Forwarded-Host`) counts only when the request came from one.

		Raises `ConnectRefused`: "Invalid namespace" when they do not or the bench has no such site, "Invalid origin" when
		the page belongs to another host. An absent Origin is accepted: proxies drop it, and a browser always sends one
		with a cross-site request.
		"""
		site = namespace.removeprefix("/")
		if not self.exists(site):
			raise ConnectRefused("Invalid namespace", {"reason": "this bench has no such site"})
		named = headers.get("x-frappe-site-name", "") if behind_proxy else ""
		host = hostname(headers.get("host", ""))
		forwarded = hostname(headers.get("x-forwarded-host", "").partition(",")[0]) if behind_proxy else ""
		requested = self._requested(named, forwarded or host, headers)
		if requested != site and not self._is_other_name(requested, site, named):
			raise ConnectRefused(
				"Invalid namespace",
				{"reason": f"the request is for {requested!r}, the namespace is {site!r}"},
			)
		origin = headers.get("origin")
		if origin and not self._same_host(hostname(origin), {host, forwarded}, site):
			raise ConnectRefused(
				"Invalid origin",
				{
					"reason": f"the page is from {hostname(origin)!r}; name it in realtime_allowed_origins to let it in"
				},
			)
		return site

	def refuse_foreign_page(self, headers: Mapping[str, str], behind_proxy: bool) -> None:
		"""Refuse a page elsewhere that uses a cookie, where the proxy has put its own Origin in the place of the page's.

		Bench's nginx does that. The browser's own word (`Sec-Fetch-Site`) is left, from those browsers that give it.
		"""
		if not behind_proxy or headers.get("sec-fetch-site") not in ("cross-site", "same-site"):
			return
		origin, host = headers.get("origin"), headers.get("host", "")
		if not origin or (hostname(origin) == hostname(host) and not _is_another_port(origin, host)):
			raise ConnectRefused(
				"Invalid origin",
				{
					"reason": "the page is from elsewhere, and the proxy hides from where: let it pass the browser's Origin"
				},
			)

	def _requested(self, named: str, host: str, headers: Mapping[str, str]) -> str:
		if named:
			return hostname(named)
		if self._default and host in ("localhost", "127.0.0.1"):
			return self._default
		return hostname(headers.get("origin") or host)

	def _is_other_name(self, requested: str, site: str, named: str) -> bool:
		"""Whether `requested` is a host that is not a site itself, and by which `site` is reached all the same."""
		if self.exists(requested):
			return False
		if requested in self._other_names(site):
			return True
		# Without a proxy that names the site, a bench with one site serves it under every host.
		return not named and (self._default or self._only_site()) == site

	def _only_site(self) -> str | None:
		# To look means to read the folder, and who asks for a wrong host makes us look.
		now = monotonic()
		if self._only[0] <= now:
			names = self.names()
			self._only = (now + SEEN_SECONDS, names[0] if len(names) == 1 else None)
		return self._only[1]

	def _same_host(self, origin: str, hosts: set[str], site: str) -> bool:
		if not origin:
			return False
		return (
			origin in hosts or origin == site or origin in self._allowed or origin in self._other_names(site)
		)

	def _other_names(self, site: str) -> set[str]:
		"""Hosts that the site's own configuration names: `host_name` and `domains`."""
		config = self._config(site)
		names = {hostname(config["host_name"])} if isinstance(config.get("host_name"), str) else set()
		for domain in config.get("domains") or ():
			name = domain.get("domain") if isinstance(domain, dict) else domain
			if isinstance(name, str):
				names.add(hostname(name))
		return names

	def _config(self, site: str) -> dict[str, Any]:
		path = self._config_file(site)
		try:
			changed = path.stat().st_mtime_ns
			known = self._configs.get(site)
			if known is not None and known[0] == changed:
				return known[1]
			content = json.loads(path.read_text())
		except (OSError, ValueError):
			return {}
		config = content if isinstance(content, dict) else {}
		self._configs[site] = (changed, config)
		return config

	def _config_file(self, site: str) -> Path:
		return self._folder / site / "site_config.json"
