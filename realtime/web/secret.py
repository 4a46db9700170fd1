"""The secret that proves to the web process that a request comes from the sidecar."""

from __future__ import annotations

import logging
import secrets

from frappe_realtime.contract.redis_keys import SECRET_KEY
from frappe_realtime.errors import WebUnavailable

from ..bus.store import RedisStore, StoreDenied, StoreUnavailable
from ..log_budget import LogBudget
from ..signals import Signal

logger = logging.getLogger("realtime.web")


class SharedSecret:
	"""The value of `socketio_auth_secret` in redis_queue, which Frappe demands from v16 releases of 2026-02 on.

	Args:
		store: redis_queue.
	"""

	def __init__(self, store: RedisStore) -> None:
		self.changed: Signal[[str]] = Signal()
		"""Sent with the secret when another one was read than is known."""
		self._store = store
		self._value = ""
		self._log_budget = LogBudget()

	async def get(self, renew: bool = False) -> str:
		"""Return the secret, which is created if there is none; empty if Redis has none that can be used.

		Versions of Frappe that demand no secret work without it; the others refuse the request.

		Args:
			renew: Read it again: the web process has not accepted the one that is known.

		Raises:
			WebUnavailable: Redis does not answer, so the web process cannot be asked.
		"""
		if not self._value or renew:
			try:
				# Created before Frappe is asked: Frappe refuses the very request in which it creates the secret itself.
				value = await self._store.set_default(SECRET_KEY, secrets.token_hex(16))
				if not (value.isascii() and value.isprintable()):
					raise StoreDenied(f"the value of {SECRET_KEY} cannot be sent in a header")
				if value != self._value:
					self._value = value
					self.changed.send(value)
			except StoreUnavailable as error:
				raise WebUnavailable(
					f"the shared secret cannot be read from {self._store.endpoint}: {error}"
				) from error
			except StoreDenied as error:
				self._value = ""
				self._log_budget.write(
					logger.error,
					"%s has no shared secret (%s): %s. %s",
					self._store.endpoint,
					SECRET_KEY,
					error,
					error.advice,
				)
		return self._value
