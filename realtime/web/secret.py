"""The secret that proves to the web process that a request comes from the sidecar."""

from __future__ import annotations

import secrets

from frappe_realtime.contract import SECRET_KEY
from frappe_realtime.errors import WebUnavailable

from ..bus.store import RedisStore, StoreUnavailable


class SharedSecret:
	"""The value of `socketio_auth_secret` in redis_queue, which Frappe demands from v16 releases of 2026-02 on.

	Args:
		store: redis_queue.
	"""

	def __init__(self, store: RedisStore) -> None:
		self._store = store
		self._value = ""

	async def get(self, renew: bool = False) -> str:
		"""Return the secret, which is created if there is none.

		Args:
			renew: Read it again: the web process has not accepted the one that is known.

		Raises:
			WebUnavailable: Redis does not answer, so the web process cannot be asked.
		"""
		if not self._value or renew:
			try:
				# Created before Frappe is asked: Frappe refuses the very request in which it creates the secret itself.
				self._value = await self._store.set_default(SECRET_KEY, secrets.token_hex(16))
			except StoreUnavailable as error:
				raise WebUnavailable(
					f"the shared secret cannot be read from {self._store.endpoint}: {error}"
				) from error
		return self._value
