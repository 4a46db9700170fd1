"""Which user a client is: asked of the web process, once for each credential in a few seconds."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from frappe_realtime.contract import GUEST, METHOD_PREFIX, WEBSITE_USER
from frappe_realtime.errors import WebUnavailable

from ..config import Config
from ..signals import Signal
from ..socketio.errors import ConnectPostponed, ConnectRefused
from ..web.cache import SingleFlightCache
from ..web.frappe_client import Credential, FrappeClient

logger = logging.getLogger("realtime.auth")


USER_INFO = f"{METHOD_PREFIX}get_user_info"


@dataclass(frozen=True, slots=True)
class Session:
	"""Who a socket is, as the web process said. Sockets with one credential share it.

	`installed_apps` is None while it is not known. `tells_apps` is False where the site's Frappe does not tell them with
	the user: v15 without our app, whose endpoints are others too.
	"""

	site: str
	credential: Credential
	user: str
	user_type: str
	full_name: str
	installed_apps: tuple[str, ...] | None
	tells_apps: bool = True

	@property
	def asks_in_batches(self) -> bool:
		"""Whether our app is installed on the site, which answers many questions in one request."""
		return self.installed_apps is not None and "frappe_realtime" in self.installed_apps


def credential_of(headers: Mapping[str, str], auth: Mapping[str, Any]) -> Credential:
	"""What the client proves its user with.

	An Authorization header wins, whatever its scheme; then `auth.token`, for browsers, which cannot set the header;
	then the cookie `sid`. Raises `ConnectRefused` when there is none of them.
	"""
	authorization = headers.get("authorization", "").strip()
	if authorization:
		return Credential(authorization=authorization)
	token = auth.get("token")
	if isinstance(token, str) and token.strip():
		return Credential(authorization=_as_authorization(token.strip()))
	sid = cookie(headers.get("cookie", ""), "sid")
	if sid:
		return Credential(sid=sid)
	raise ConnectRefused("No authentication method used. Use cookie or authorization header.")


def _as_authorization(token: str) -> str:
	"""`token` may be a whole Authorization header, an API key and secret, or a bearer token."""
	if not (token.isascii() and token.isprintable()):
		raise ConnectRefused("Unauthorized: auth.token has a character that no header can carry")
	if " " in token:
		return token
	return f"token {token}" if ":" in token else f"Bearer {token}"


def cookie(header: str, name: str) -> str:
	"""The value of the cookie `name` in a Cookie header; empty when it is not there."""
	for part in header.split(";"):
		key, _, value = part.strip().partition("=")
		if key == name:
			return value.strip('"')
	return ""


class AppsOfSite(Protocol):
	"""Knows the installed apps of sites whose Frappe does not return them with the user: v15 without our app."""

	learned: Signal[[str]]
	"""Sent with a site whose apps are known from now on."""

	async def ask(self, site: str, credential: Credential, user: str) -> tuple[str, ...] | None:
		"""Return the apps of `site`; None while they are unknown."""


class Authenticator:
	"""Turns a credential into a `Session`."""

	def __init__(self, config: Config, web: FrappeClient, apps: AppsOfSite) -> None:
		self._web = web
		self._apps = apps
		# A Guest has no access that a change could withdraw: such an answer stands although it was given before one.
		# A dead session id is answered so, and the question itself makes Frappe announce that the session is over.
		self.sessions: SingleFlightCache[tuple[str, Credential], Session] = SingleFlightCache(
			config.realtime_cache_seconds,
			config.realtime_cache_size,
			is_final=lambda session: session.user == GUEST,
		)
		apps.learned.connect(self._forget_without_apps)

	def _forget_without_apps(self, site: str) -> None:
		"""The next Guest gets a session that knows the apps."""
		self.sessions.invalidate(
			lambda key, session: key[0] == site and session is not None and session.installed_apps is None
		)

	def known(self, site: str, credential: Credential) -> Session | None:
		"""The session, when the web process has told it a moment ago."""
		return self.sessions.peek((site, credential))

	async def session(self, site: str, credential: Credential) -> Session:
		"""The session of `credential` on `site`; waits while the web process is away.

		Raises `ConnectRefused` when the web process refuses the credential, `ConnectPostponed` when it stays away.
		"""
		try:
			return await self.sessions.get((site, credential), lambda: self._ask(site, credential))
		except WebUnavailable as error:
			logger.warning("a client of %s was sent away to come back: %s", site, error)
			raise ConnectPostponed from error

	async def _ask(self, site: str, credential: Credential) -> Session:
		answer = await self._web.call(site, USER_INFO, credential)
		if answer.status == 200 and answer.message == {}:
			# The secret was made by this very request, or has been changed.
			answer = await self._web.call(site, USER_INFO, credential, renew_secret=True)
			if answer.status == 200 and answer.message == {}:
				raise ConnectRefused(
					"Unauthorized: the web process does not accept the shared secret",
					{"reason": "does redis_queue name the same Redis for the sidecar and the web process?"},
				)
		if answer.status == 404:
			raise ConnectRefused("Invalid namespace", {"reason": "the web process does not know this site"})
		info = answer.message
		if answer.status != 200 or not isinstance(info, dict) or not isinstance(info.get("user"), str):
			raise ConnectRefused(
				f"Unauthorized: the web process answered HTTP {answer.status}",
				{"status": answer.status},
				counted_as="Unauthorized",
			)
		apps = info.get("installed_apps")
		tells_apps = apps is not None
		if not tells_apps:
			apps = await self._apps.ask(site, credential, info["user"])
		return Session(
			site=site,
			credential=credential,
			user=info["user"],
			user_type=str(info.get("user_type") or WEBSITE_USER),
			full_name=str(info.get("full_name") or info["user"]),
			installed_apps=None if apps is None else tuple(str(app) for app in apps),
			tells_apps=tells_apps,
		)
