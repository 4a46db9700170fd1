"""Authentication: which user a credential belongs to, asked of the web process and cached for a few seconds."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from functools import lru_cache
from sys import intern
from typing import Any, NamedTuple, Protocol

from frappe_realtime.contract.http import ALLOWED_ADDRESSES, METHOD_PREFIX, ONLINE_HOOKS
from frappe_realtime.contract.refusals import (
	INVALID_TOKEN,
	LOGIN_REJECTED,
	NO_CREDENTIAL,
	SECRET_REJECTED,
	SITE_UNKNOWN,
	WEB_ANSWER_UNEXPECTED,
)
from frappe_realtime.contract.users import GUEST, WEBSITE_USER
from frappe_realtime.errors import WebUnavailable

from ..config import Config
from ..engine.request import Request
from ..log_budget import LogBudget
from ..log_format import log_fields
from ..signals import Signal
from ..socketio.errors import ConnectPostponed, ConnectRefused
from ..web.frappe_client import Credential, FrappeClient, FrappeResponse
from .failed_logins import FailedLoginLimit, LoginAttempt
from .proxies import address_for_restriction
from .shared_cache import Exchange, SharedCache, Workers

logger = logging.getLogger("realtime.auth")

USER_INFO = f"{METHOD_PREFIX}get_user_info"

APP = "frappe_realtime"
"""The name of this project's app among the installed apps of a site."""


class Session(NamedTuple):
	"""An authenticated user. Sockets with the same credential share one session.

	Args:
		site: The site.
		credential: What the user was authenticated with.
		user: The name of the User document; `Guest` without a login.
		user_type: `System User` or `Website User`.
		full_name: The user's full name, or `user` if there is none.
		installed_apps: The apps of the site; None while they are unknown.
		user_info_has_apps: True if Frappe returns the apps with the user: from v16 on, and on v15 with the app.
			A site where it is False has v15's endpoints.
		allowed_addresses: Beginnings of the addresses from which the user may connect (`restrict_ip` of the User). If it
			is empty, the user may connect from any address.
		online_hooks: True if an app of the site has a hook for users who come and go.
	"""

	site: str
	credential: Credential
	user: str
	user_type: str
	full_name: str
	installed_apps: tuple[str, ...] | None
	user_info_has_apps: bool = True
	allowed_addresses: tuple[str, ...] = ()
	online_hooks: bool = False

	def admits(self, request: Request) -> bool:
		"""Return whether the user may connect from the client's address; not from an unknown one if there is a restriction."""
		return not self.allowed_addresses or address_for_restriction(request).startswith(
			self.allowed_addresses
		)

	@property
	def has_app(self) -> bool:
		"""True if this project's app is installed on the site, so that its endpoints and access events exist."""
		return self.installed_apps is not None and APP in self.installed_apps

	def as_json(self) -> list[Any]:
		"""Return all of it as JSON, for another worker of the host."""
		site, credential, *rest = self
		return [site, [*credential], *rest]

	@classmethod
	def from_json(cls, written: list[Any]) -> Session:
		"""Return the session of which `as_json` has been called."""
		site, credential, user, user_type, full_name, apps, has_apps, addresses, online_hooks = written
		return cls(
			site,
			Credential(*credential),
			user,
			intern(user_type),
			full_name,
			None if apps is None else _shared(tuple(apps)),
			has_apps,
			tuple(addresses),
			online_hooks,
		)


def credential_of(headers: Mapping[str, str], auth: Mapping[str, Any]) -> Credential:
	"""Return the credential of a client.

	An Authorization header of any scheme comes first, then `auth.token`, for browsers, which cannot set the header, then
	the cookie `sid`.

	Args:
		headers: The headers of the request that opened the connection, by lower-case name.
		auth: The payload of the CONNECT packet.

	Raises:
		ConnectRefused: There is none of them, or the token cannot be sent in a header.
	"""
	credential = header_credential(headers)
	if credential is not None and credential.authorization:
		return credential
	token = auth.get("token")
	if isinstance(token, str) and token.strip():
		return Credential(authorization=_as_authorization(token.strip()))
	if credential is not None:
		return credential
	raise ConnectRefused(
		"No authentication method used. Use cookie or authorization header.",
		NO_CREDENTIAL,
		"the request has no cookie sid, no Authorization header and no auth.token",
	)


def header_credential(headers: Mapping[str, str]) -> Credential | None:
	"""Return the credential in the headers of a request, by lower-case name; None if there is none."""
	authorization = headers.get("authorization", "").strip()
	if authorization:
		return Credential(authorization=authorization)
	sid = cookie(headers.get("cookie", ""), "sid")
	return Credential(sid=sid) if sid else None


def names_no_user(response: FrappeResponse) -> bool:
	"""Return True for the answer of `USER_INFO` to a wrong shared secret, or to one that Frappe creates in this very request."""
	return response.status == 200 and response.message == {}


def _as_authorization(token: str) -> str:
	"""Return the header for a complete Authorization value, an API key and secret, or a bearer token."""
	if not (token.isascii() and token.isprintable()):
		raise ConnectRefused(
			"Unauthorized: auth.token has a character that no header can carry",
			INVALID_TOKEN,
			"auth.token must consist of printable ASCII characters",
		)
	if " " in token:
		return token
	return f"token {token}" if ":" in token else f"Bearer {token}"


def _subject(key: tuple[str, Credential]) -> str:
	site, credential = key
	return f"{site} {credential.sid or credential.authorization}"


def cookie(header: str, name: str) -> str:
	"""Return the value of the cookie `name` in a Cookie header; empty if there is none."""
	for part in header.split(";"):
		key, _, value = part.strip().partition("=")
		if key == name:
			return value.strip('"')
	return ""


@lru_cache(maxsize=1000)
def _shared(apps: tuple[str, ...]) -> tuple[str, ...]:
	"""Return one tuple for equal ones: the sessions of a site have the same apps."""
	return apps


class AppsOfSite(Protocol):
	"""Knows the installed apps of sites whose Frappe does not return them with the user: v15 without our app."""

	learned: Signal[[str]]
	"""Sent with a site whose apps are known from now on."""

	async def ask(self, site: str, credential: Credential, user: str) -> tuple[str, ...] | None:
		"""Return the apps of `site`; None while they are unknown."""


class Authenticator:
	"""Authenticates credentials.

	Args:
		config: The configuration.
		web: Answers who the user is.
		apps: Answers which apps a site has if `web` does not.
		failed_logins: Limits the questions about invalid credentials.
		workers: The workers of the host; None if this process is the only one.
	"""

	def __init__(
		self,
		config: Config,
		web: FrappeClient,
		apps: AppsOfSite,
		failed_logins: FailedLoginLimit,
		workers: Workers | None = None,
	) -> None:
		self._web = web
		self._apps = apps
		self._failed_logins = failed_logins
		# A Guest has no access that a change could withdraw, so an answer for a Guest is valid whatever changes meanwhile.
		# Without this, a dead session id is asked about without end: Frappe announces its end in answer to the question.
		self.sessions: SharedCache[tuple[str, Credential], Session] = SharedCache(
			config.realtime_cache_seconds,
			config.realtime_cache_size,
			Exchange(workers, "session", _subject, self._read_question, Session.as_json, self._read_answer)
			if workers is not None
			else None,
			is_final=lambda session: session.user == GUEST,
		)
		self._log_budget = LogBudget()
		apps.learned.connect(self._invalidate_without_apps)

	def _invalidate_without_apps(self, site: str) -> None:
		"""Drop sessions that were cached while the apps of `site` were unknown."""
		self.sessions.invalidate(
			lambda key, session: key[0] == site and session is not None and session.installed_apps is None
		)

	def cached(self, site: str, credential: Credential) -> Session | None:
		"""Return the session of `credential` if it is cached."""
		return self.sessions.peek((site, credential))

	async def authenticate(
		self, site: str, credential: Credential, attempt: LoginAttempt | None = None
	) -> Session:
		"""Return the session of `credential` on `site`; waits while the web process is unavailable.

		Args:
			site: The site.
			credential: The credential.
			attempt: The client that connects; None for a revalidation.

		Raises:
			ConnectRefused: The web process refuses the credential.
			ConnectPostponed: The web process gives no answer, or the client's address has too many failed logins.
		"""
		try:
			return await self.sessions.get_shared(
				(site, credential),
				lambda: self._load(site, credential, attempt),
				lambda: [site, [*credential], attempt and [*attempt]],
			)
		except ConnectRefused:
			# Perhaps another worker has asked.
			self._failed_logins.learn(credential, is_valid=False)
			raise
		except WebUnavailable as error:
			self._log_budget.write(
				logger.warning,
				"a client of %s was disconnected, and will reconnect: %s",
				site,
				error,
				extra=log_fields(site),
			)
			raise ConnectPostponed from error

	async def _load(self, site: str, credential: Credential, attempt: LoginAttempt | None) -> Session:
		return await self._failed_logins.ask(site, credential, attempt, lambda: self._ask(site, credential))

	def _read_question(self, written: Any) -> tuple[tuple[str, Credential], Callable[[], Awaitable[Session]]]:
		"""Return what a question of another worker is about, and what asks the web process."""
		site, credential, attempt = written[0], Credential(*written[1]), written[2]
		return (site, credential), lambda: self._load(site, credential, attempt and LoginAttempt(*attempt))

	async def _read_answer(self, key: tuple[str, Credential], written: Any) -> Session:
		session = Session.from_json(written)
		self._failed_logins.learn(session.credential, is_valid=session.user != GUEST)
		if not session.user_info_has_apps:
			# Each worker tells its own handlers when it knows the apps.
			session = session._replace(installed_apps=await self._apps.ask(*key, session.user))
		return session

	async def _ask(self, site: str, credential: Credential) -> Session:
		response = await self._web.call(site, USER_INFO, credential, secret_rejected=names_no_user)
		if names_no_user(response):
			raise ConnectRefused(
				"Unauthorized: the web process does not accept the shared secret",
				SECRET_REJECTED,
				"does redis_queue name the same Redis for the sidecar and the web process?",
			)
		if response.status == 404:
			raise ConnectRefused("Invalid namespace", SITE_UNKNOWN, "the web process does not know this site")
		info = response.message
		if response.status != 200 or not isinstance(info, dict) or not isinstance(info.get("user"), str):
			rejected = response.status in (401, 403)
			raise ConnectRefused(
				f"Unauthorized: the web process answered HTTP {response.status}",
				LOGIN_REJECTED if rejected else WEB_ANSWER_UNEXPECTED,
				"the session has ended, the token is not valid, or the user is disabled"
				if rejected
				else "this is not the answer of Frappe: is webserver_port the port of this bench's web process?",
				counted_as="Unauthorized",
				status=response.status,
			)
		apps = info.get("installed_apps")
		user_info_has_apps = apps is not None
		if not user_info_has_apps:
			apps = await self._apps.ask(site, credential, info["user"])
		return Session(
			site=site,
			credential=credential,
			user=info["user"],
			user_type=intern(str(info.get("user_type") or WEBSITE_USER)),
			full_name=str(info.get("full_name") or info["user"]),
			installed_apps=None if apps is None else _shared(tuple(str(app) for app in apps)),
			user_info_has_apps=user_info_has_apps,
			allowed_addresses=tuple(str(address) for address in info.get(ALLOWED_ADDRESSES) or ()),
			online_hooks=info.get(ONLINE_HOOKS) is True,
		)
