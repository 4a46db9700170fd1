"""The data of a fake site: users, sessions, tokens, installed apps and permissions."""

from __future__ import annotations

import base64
import secrets
from dataclasses import dataclass, field

from frappe_realtime.contract.users import ADMINISTRATOR
from frappe_realtime.contract.users import GUEST as GUEST
from frappe_realtime.contract.users import SYSTEM_MANAGER as SYSTEM_MANAGER
from frappe_realtime.contract.users import SYSTEM_USER as SYSTEM_USER
from frappe_realtime.contract.users import WEBSITE_USER as WEBSITE_USER


@dataclass
class User:
	"""A user of a site.

	`restrict_ip` has the beginnings of the addresses from which the user may use the site; if it is empty, all may be used.
	Stock Frappe does not apply it to its realtime endpoints.
	"""

	name: str
	full_name: str
	user_type: str = SYSTEM_USER
	password: str = ""
	enabled: bool = True
	restrict_ip: tuple[str, ...] = ()
	roles: set[str] = field(default_factory=set)
	"""Roles besides those that every user has; Administrator has all roles."""

	def has_role(self, role: str) -> bool:
		"""Return whether the user has a role."""
		return self.name == ADMINISTRATOR or role in self.roles


@dataclass
class Site:
	"""A site of a fake bench. Every field may be changed while requests are served."""

	name: str
	installed_apps: list[str] = field(default_factory=lambda: ["frappe"])
	users: dict[str, User] = field(default_factory=dict)
	"""Users by name."""
	sessions: dict[str, str] = field(default_factory=dict)
	"""User names by session id."""
	credentials: dict[tuple[str, str], str] = field(default_factory=dict)
	"""User names by scheme, in lower case, and the rest of the Authorization header."""
	rules: dict[tuple[str, str, str, str], bool] = field(default_factory=dict)
	"""Permissions by user, DocType, document name ("" for the DocType) and permission type."""
	missing: set[tuple[str, str]] = field(default_factory=set)
	"""DocType and name of documents that do not exist; all others do."""
	failing: set[tuple[str, str]] = field(default_factory=set)
	"""DocType and name of documents at which the permission check raises an exception."""

	online_hooks: bool = False
	"""Whether an app has the hooks `realtime_user_online` and `realtime_user_offline`."""
	users_changed: list[tuple[str, str]] = field(default_factory=list)
	"""Each call of these hooks: `online` or `offline`, and the user."""

	shared: dict[tuple[str, str, str], bytes] = field(default_factory=dict)
	"""What the hook `realtime_shared_editing` has stored, by DocType, name and field."""
	shared_fails: bool = False
	"""Whether its functions raise an exception."""

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
		"""Start a session of `user`; return its id."""
		sid = secrets.token_hex(28)
		self.sessions[sid] = user
		return sid

	def logout(self, user: str) -> None:
		"""End all sessions of `user`."""
		for sid in [sid for sid, owner in self.sessions.items() if owner == user]:
			del self.sessions[sid]

	def disable(self, user: str) -> None:
		"""Disable `user`: as in Frappe v17, its sessions end and its tokens are rejected."""
		self.users[user].enabled = False
		self.logout(user)

	def authorization(self, user: str, scheme: str = "token") -> str:
		"""Return a new Authorization header for `user`.

		Args:
			user: The user name.
			scheme: `token`, `Basic`, `Bearer`, or the scheme of an auth hook.
		"""
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
		"""Revoke a header that `authorization()` returned."""
		scheme, value = authorization.split(" ", 1)
		if scheme == "Basic":
			scheme, value = "token", base64.b64decode(value).decode()
		del self.credentials[scheme.lower(), value]

	def authenticate(self, sid: str, authorization: str) -> str | None:
		"""Return the user of a session id and an Authorization header, as Frappe determines it.

		A session takes precedence over a header; an unknown session id is that of a Guest.

		Returns:
			None where Frappe responds with 401: a header of two words that is not valid.
		"""
		user = self.sessions.get(sid, GUEST)
		words = authorization.split(" ")
		if user == GUEST and len(words) == 2:
			named = self._user_of_credential(words[0].lower(), words[1])
			if named is None or not self.users[named].enabled:
				return None
			user = named
		return user

	def _user_of_credential(self, scheme: str, value: str) -> str | None:
		if scheme == "basic":
			try:
				scheme, value = "token", base64.b64decode(value).decode()
			except ValueError:
				return None
		return self.credentials.get((scheme, value))

	def allow(self, user: str, doctype: str, name: str = "", ptype: str = "read") -> None:
		"""Grant `user` the permission for one document, or without `name` for the DocType."""
		self.rules[user, doctype, name, ptype] = True

	def forbid(self, user: str, doctype: str, name: str = "", ptype: str = "read") -> None:
		"""Deny `user` one document, or without `name` the DocType and all documents that are not allowed."""
		self.rules[user, doctype, name, ptype] = False

	def has_permission(self, user: str, doctype: str, name: str = "", ptype: str = "read") -> bool:
		"""Return whether `user` has a permission. Without a rule, only System Users have it."""
		if user == ADMINISTRATOR:
			return True
		rule = self.rules.get((user, doctype, name, ptype))
		if rule is None and name:
			rule = self.rules.get((user, doctype, "", ptype))
		return self.users[user].user_type == SYSTEM_USER if rule is None else rule
