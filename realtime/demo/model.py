"""What a stand-in site knows: its users, sessions, tokens, apps, and who may read what."""

from __future__ import annotations

import base64
import secrets
from dataclasses import dataclass, field

from frappe_realtime.contract import ADMINISTRATOR, GUEST, SYSTEM_USER, WEBSITE_USER


@dataclass
class User:
	"""One user of a site. With `restrict_ip` only the paths that Frappe exempts are open to its session."""

	name: str
	full_name: str
	user_type: str = SYSTEM_USER
	password: str = ""
	enabled: bool = True
	restrict_ip: bool = False


@dataclass
class Site:
	"""One site of the stand-in bench; every field may be changed while it serves."""

	name: str
	installed_apps: list[str] = field(default_factory=lambda: ["frappe"])
	users: dict[str, User] = field(default_factory=dict)
	sessions: dict[str, str] = field(default_factory=dict)
	"""sid → user"""
	credentials: dict[tuple[str, str], str] = field(default_factory=dict)
	"""(scheme in lower case, rest of the Authorization header) → user"""
	rules: dict[tuple[str, str, str, str], bool] = field(default_factory=dict)
	"""(user, doctype, name, ptype) → allowed; name is "" for the DocType"""
	missing: set[tuple[str, str]] = field(default_factory=set)
	"""documents that do not exist; all others do"""

	def __post_init__(self) -> None:
		self.add_user(ADMINISTRATOR, ADMINISTRATOR)
		self.add_user(GUEST, GUEST, WEBSITE_USER)

	@property
	def has_app(self) -> bool:
		"""Whether the app `frappe_realtime` is installed on this site."""
		return "frappe_realtime" in self.installed_apps

	def add_user(
		self, name: str, full_name: str = "", user_type: str = SYSTEM_USER, password: str = ""
	) -> User:
		"""Add a user, or replace the one of that name."""
		user = self.users[name] = User(name, full_name or name, user_type, password)
		return user

	def login(self, user: str) -> str:
		"""Start a session of `user`; return its sid."""
		sid = secrets.token_hex(28)
		self.sessions[sid] = user
		return sid

	def logout(self, user: str) -> None:
		"""End all sessions of `user`."""
		for sid in [sid for sid, owner in self.sessions.items() if owner == user]:
			del self.sessions[sid]

	def disable(self, user: str) -> None:
		"""Disable `user`, which ends its sessions and refuses its tokens, as in Frappe."""
		self.users[user].enabled = False
		self.logout(user)

	def authorization(self, user: str, scheme: str = "token") -> str:
		"""Make an Authorization header for `user`: `token`, `Basic`, `Bearer`, or any scheme of an auth hook."""
		if scheme in ("token", "Basic"):
			value = f"{secrets.token_hex(8)}:{secrets.token_hex(8)}"
			self.credentials["token", value] = user
			if scheme == "Basic":
				value = base64.b64encode(value.encode()).decode()
		else:
			value = secrets.token_hex(16)
			self.credentials[scheme.lower(), value] = user
		return f"{scheme} {value}"

	def revoke(self, authorization: str) -> None:
		"""Forget a header that `authorization()` made."""
		scheme, value = authorization.split(" ", 1)
		if scheme == "Basic":
			scheme, value = "token", base64.b64decode(value).decode()
		del self.credentials[scheme.lower(), value]

	def user_of(self, sid: str, authorization: str) -> str | None:
		"""Return the user that a cookie and an Authorization header stand for; None where Frappe answers 401.

		A session wins over a header, an unknown session is a Guest, and a header of two words that names
		nobody is refused.
		"""
		user = self.sessions.get(sid, GUEST)
		words = authorization.split(" ")
		if user == GUEST and len(words) == 2:
			named = self._named_by(words[0].lower(), words[1])
			if named is None or not self.users[named].enabled:
				return None
			user = named
		return user

	def _named_by(self, scheme: str, value: str) -> str | None:
		if scheme == "basic":
			try:
				scheme, value = "token", base64.b64decode(value).decode()
			except ValueError:
				return None
		return self.credentials.get((scheme, value))

	def allow(self, user: str, doctype: str, name: str = "", ptype: str = "read") -> None:
		"""Let `user` read one document, or without `name` the DocType."""
		self.rules[user, doctype, name, ptype] = True

	def forbid(self, user: str, doctype: str, name: str = "", ptype: str = "read") -> None:
		"""Keep `user` from one document, or without `name` from the DocType and all documents not allowed."""
		self.rules[user, doctype, name, ptype] = False

	def may(self, user: str, doctype: str, name: str = "", ptype: str = "read") -> bool:
		"""Tell whether `user` has a permission. Without a rule, System Users have it and nobody else."""
		if user == ADMINISTRATOR:
			return True
		rule = self.rules.get((user, doctype, name, ptype))
		if rule is None and name:
			rule = self.rules.get((user, doctype, "", ptype))
		return self.users[user].user_type == SYSTEM_USER if rule is None else rule
