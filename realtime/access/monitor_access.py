"""The permission to monitor a site: for users with the role System Manager, where the app is installed.

The answer of the web process is cached and invalidated as permissions are: a role that is withdrawn counts within a second.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from frappe_realtime.contract.users import GUEST

from ..config import Config
from ..signals import Signal
from ..web.cache import SingleFlightCache
from ..web.frappe_client import Credential
from .authentication import Session
from .permission_requests import PermissionRequests
from .permissions import Permissions

METHOD = "can_monitor"
"""The endpoint in frappe_realtime/permissions/endpoints.py."""


class _Key(NamedTuple):
	site: str
	user: str
	credential: Credential


class MonitorAccess:
	"""Answers whether a session may monitor its site.

	Args:
		config: How long answers are cached.
		requests: Calls the web process.
		permissions: Reports what is invalidated.
	"""

	def __init__(self, config: Config, requests: PermissionRequests, permissions: Permissions) -> None:
		self.invalidated: Signal[[Callable[[str, str], bool]]] = Signal()
		"""Sent with a function of site and user that returns True for users whose answers are not valid any more."""
		self._requests = requests
		self._answers: SingleFlightCache[_Key, bool] = SingleFlightCache(
			config.realtime_cache_seconds, config.realtime_cache_size
		)
		permissions.invalidated.connect(self._invalidate)

	def is_cached(self, session: Session) -> bool:
		"""Return True if `is_allowed` would answer without a request to the web process."""
		return not _may_be_allowed(session) or self._answers.peek(_key(session)) is not None

	async def is_allowed(self, session: Session) -> bool:
		"""Return whether the user of `session` may monitor the site.

		Raises:
			WebUnavailable: The web process gives no answer.
		"""
		return _may_be_allowed(session) and await self._answers.get(_key(session), lambda: self._ask(session))

	async def _ask(self, session: Session) -> bool:
		response = await self._requests.call(session, METHOD)
		return response.status == 200 and response.message is True

	def _invalidate(self, concerned: Callable[[str, str, str, str], bool]) -> None:
		def is_concerned(site: str, user: str) -> bool:
			# Neither a DocType nor a document: changes of those do not concern a role.
			return concerned(site, user, "", "")

		self._answers.invalidate(lambda key, answer: is_concerned(key.site, key.user))
		self.invalidated.send(is_concerned)


def _may_be_allowed(session: Session) -> bool:
	"""Return False where no question is needed: without the app, there is no endpoint."""
	return session.user != GUEST and session.has_app


def _key(session: Session) -> _Key:
	return _Key(session.site, session.user, session.credential)
