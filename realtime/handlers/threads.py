"""Threads for handlers that block, and the Frappe context that some of them run in."""

from __future__ import annotations

import asyncio
import concurrent.futures
import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


class Threads:
	"""At most `limit` threads, started as they are needed.

	They do not hold up the end of the process: one that is stuck in a handler ends with it.
	"""

	def __init__(self, limit: int) -> None:
		self.limit = limit
		self._jobs: queue.SimpleQueue[tuple[concurrent.futures.Future[Any], Callable[[], Any]]] = (
			queue.SimpleQueue()
		)
		self._count = 0
		self._free = 0
		self._lock = threading.Lock()

	@property
	def busy(self) -> int:
		"""Jobs that run or wait."""
		return self._count - self._free + self._jobs.qsize()

	def run(self, job: Callable[[], Any]) -> asyncio.Future[Any]:
		"""Run `job` in a thread; the future has what it returned or raised."""
		future: concurrent.futures.Future[Any] = concurrent.futures.Future()
		with self._lock:
			start = self._free <= self._jobs.qsize() and self._count < self.limit
			if start:
				self._count += 1
				self._free += 1
		self._jobs.put((future, job))
		if start:
			threading.Thread(target=self._work, name=f"handlers-{self._count}", daemon=True).start()
		return asyncio.wrap_future(future)

	def _work(self) -> None:
		while True:
			future, job = self._jobs.get()
			if not future.set_running_or_notify_cancel():
				continue
			with self._lock:
				self._free -= 1
			try:
				result = job()
			except BaseException as error:
				failure: BaseException | None = error
			else:
				failure = None
			with self._lock:
				self._free += 1
			if failure is None:
				future.set_result(result)
			else:
				future.set_exception(failure)
			del future, job, failure
			result = None


@contextmanager
def frappe_context(site: str, user: str, sites_path: str) -> Iterator[None]:
	"""Frappe with `site`'s database and `user`: committed in the end, rolled back when the block raises."""
	import frappe

	frappe.init(site, sites_path=sites_path, force=True)
	try:
		frappe.connect(set_admin_as_user=False)
		frappe.set_user(user)
		yield
		frappe.db.commit()
	except BaseException:
		if getattr(frappe.local, "db", None):
			frappe.db.rollback()
		raise
	finally:
		frappe.destroy()
