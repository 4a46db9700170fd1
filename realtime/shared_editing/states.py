"""The states of shared documents in Redis, so that they outlive the clients.

A document of a site has one stream. An entry is a change (`u`) of a field (`f`); those with `l` contain what the app had stored. From time to
time the changes of a field are merged into one. As changes may be applied more than once and in any order, no lock is needed
for that: the result is appended, then what it was made of is deleted.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from time import time
from typing import Any, NamedTuple

from frappe_realtime.contract.access import DOC_DELETED, DOC_RENAMED
from frappe_realtime.contract.redis_keys import SHARED_DUE_KEY, SHARED_STATES_KEY, shared_key, shared_lock_key

from ..access.authentication import Session
from ..bus.commands import Command
from ..bus.store import RedisStore, StoreDenied, StoreUnavailable
from ..config import Config
from ..json_codec import dumps
from ..log_budget import LogBudget
from .crdt import EMPTY_UPDATE, Merged, merge
from .documents import SharedDocument

logger = logging.getLogger("realtime.shared")

MAX_ENTRIES = 200
"""Entries of a stream after which they are merged."""

LOCK_SECONDS = 30
"""Seconds after which a lock ends whose owner is gone: more than the web process has for an answer."""

LOCK_ATTEMPTS = 100
LOCK_PAUSE = 0.1
"""How often a lock is tried that another process holds, and the seconds between two attempts."""

MOVE_AGAIN_SECONDS = 2.0
"""Seconds from the move or the deletion of a state until changes are looked for that were on their way: more than all sidecars take to
make their clients leave the document. Most documents that are deleted have no state, and are not looked at again."""


class StateUnavailable(Exception):
	"""The state of a document is not known: Redis or the web process does not answer, or too many states are kept."""


class Entry(NamedTuple):
	"""An entry of the stream of a document."""

	id: bytes
	field: str
	update: bytes
	is_loaded: bool


class SharedStates:
	"""Keeps the states of documents.

	Args:
		config: `realtime_shared_…`.
		store: redis_queue.
		load: Returns what the app has stored; empty if there is nothing.
		on_limit: Called with the key of a limit that is reached.
	"""

	def __init__(
		self,
		config: Config,
		store: RedisStore,
		load: Callable[[str, SharedDocument], Awaitable[bytes]],
		on_limit: Callable[[str], None],
	) -> None:
		self.reads = 0
		"""States that were read for clients since the start."""
		self.invalid = 0
		"""Changes in Redis that could not be read."""
		self._store = store
		self._load_from_app = load
		self._on_limit = on_limit
		self._max_states: int = config.realtime_shared_states
		self._max_bytes: int = config.realtime_shared_document_bytes
		self._seconds: int = config.realtime_shared_state_seconds
		self._store_seconds: float = config.realtime_shared_store_seconds
		self._sizes: dict[tuple[str, SharedDocument], int] = {}
		"""For each field that clients of this process follow, the bytes of its state and of what was appended here since."""
		self._merging: set[tuple[str, SharedDocument]] = set()
		self._tasks: set[asyncio.Task[None]] = set()
		# One thread: merging holds the interpreter's lock.
		self._thread = ThreadPoolExecutor(1, "shared-editing")
		self._log_budget = LogBudget()

	def stop(self) -> None:
		"""End the thread."""
		self._thread.shutdown(wait=False, cancel_futures=True)

	def keeps(self, site: str, document: SharedDocument) -> bool:
		"""Return True if the state of `document` is kept: it was read for a client that follows it."""
		return (site, document) in self._sizes

	def is_full(self, site: str, document: SharedDocument) -> bool:
		"""Return True if the state of `document` has reached `realtime_shared_document_bytes`."""
		return self._sizes.get((site, document), 0) > self._max_bytes

	def forget(self, site: str, document: SharedDocument) -> None:
		"""Forget the size of a document that no client of this process follows any more."""
		self._sizes.pop((site, document), None)

	async def read(self, session: Session, document: SharedDocument, state_vector: bytes) -> Merged:
		"""Return the state of `document`, and what a client lacks. Its changes are kept from now on.

		Args:
			session: The session of the client.
			document: The document.
			state_vector: What the client has.

		Raises:
			StateUnavailable: It is not known.
			ValueError: The state vector is invalid.
		"""
		site = session.site
		try:
			entries = await self.entries(site, document)
			if not any(entry.is_loaded for entry in entries):
				entries = await self._load(session, document)
			merged = await self.merge(entries, state_vector)
			if len(entries) > MAX_ENTRIES:
				await self.replace(site, document, entries, merged.state)
			await self._store.execute(self.keep_commands(site, document))
		except (StoreUnavailable, StoreDenied) as error:
			raise self._unavailable(document, error) from error
		self.reads += 1
		self._sizes[site, document] = len(merged.state)
		return merged

	async def append(self, session: Session, document: SharedDocument, update: bytes) -> None:
		"""Add a change to a state that is kept.

		Raises:
			StateUnavailable: Redis does not answer.
		"""
		site = session.site
		key = shared_key(site, document.doctype, document.name)
		due = round((time() + self._store_seconds) * 1000)
		try:
			# Where the app is not installed, nobody stores it.
			mark: list[Command] = (
				[("ZADD", SHARED_DUE_KEY, "NX", due, dumps([site, *document]))] if session.has_app else []
			)
			_, length, *_ = await self._store.execute(
				[
					("XADD", key, "*", "f", document.field, "u", update),
					("XLEN", key),
					*mark,
					*self.keep_commands(site, document),
				]
			)
			size = self._sizes.get((site, document), 0) + len(update)
			self._set_size(site, document, size)
			if (length > MAX_ENTRIES or size > self._max_bytes) and (site, document) not in self._merging:
				await self._compact(site, document)
		except (StoreUnavailable, StoreDenied) as error:
			raise self._unavailable(document, error) from error

	def on_access(self, message: dict[str, Any]) -> None:
		"""Delete the state of a document that is deleted, and move that of one that is renamed."""
		kind, site, doctype = message["kind"], message["site"], message.get("doctype", "")
		if kind == DOC_DELETED:
			self._start(self._delete(site, doctype, message["name"]))
		elif kind == DOC_RENAMED and message.get("merge"):
			# The document with the new name has a state of its own.
			self._start(self._delete(site, doctype, message["old"]))
		elif kind == DOC_RENAMED:
			self._start(self._move(site, doctype, message["old"], message["new"]))

	def _start(self, work: Coroutine[Any, Any, None]) -> None:
		task = asyncio.get_running_loop().create_task(work)
		self._tasks.add(task)
		task.add_done_callback(self._tasks.discard)

	async def _move(self, site: str, doctype: str, old: str, new: str) -> None:
		"""Move the state of a renamed document; each sidecar tries, and the first one does it."""
		try:
			await self._move_entries(site, doctype, old, new)
			# A change that was on its way, here or on another sidecar.
			await asyncio.sleep(MOVE_AGAIN_SECONDS)
			await self._move_entries(site, doctype, old, new, is_again=True)
		except (StoreUnavailable, StoreDenied) as error:
			self._log_budget.write(
				logger.warning,
				"the state of %s %s is not moved to its new name, %s: %s",
				doctype,
				old,
				new,
				error,
			)

	async def _move_entries(
		self, site: str, doctype: str, old: str, new: str, is_again: bool = False
	) -> None:
		before, after = SharedDocument(doctype, old, ""), SharedDocument(doctype, new, "")
		# The app may be storing it under the old name.
		if not await self.lock(site, before, LOCK_ATTEMPTS):
			raise StoreUnavailable("another process holds its lock")
		try:
			key = shared_key(site, doctype, old)
			(entries,) = await self._store.execute([("XRANGE", key, "-", "+")])
			fields = {_entry(*entry).field for entry in entries}
			if not entries or (is_again and any(_entry(*entry).is_loaded for entry in entries)):
				# Nothing is left, or a new document has got the old name.
				return
			commands: list[Command] = []
			for _, values in entries:
				commands.append(("XADD", shared_key(site, doctype, new), "*", *values))
			due = round((time() + self._store_seconds) * 1000)
			for field in fields:
				commands += [
					("ZREM", SHARED_DUE_KEY, dumps([site, *before._replace(field=field)])),
					("ZADD", SHARED_DUE_KEY, "NX", due, dumps([site, *after._replace(field=field)])),
				]
			# By their ids: a change that comes meanwhile stays for the second attempt.
			commands += [
				("XDEL", key, *[id for id, _ in entries]),
				("ZREM", SHARED_STATES_KEY, key),
				*self.keep_commands(site, after),
			]
			await self._store.execute(commands, transaction=True)
		finally:
			await self.unlock(site, before)

	async def _delete(self, site: str, doctype: str, name: str) -> None:
		try:
			if await self._delete_entries(site, doctype, name):
				await asyncio.sleep(MOVE_AGAIN_SECONDS)
				await self._delete_entries(site, doctype, name, is_again=True)
		except (StoreUnavailable, StoreDenied) as error:
			self._log_budget.write(
				logger.warning,
				"the state of %s %s, which is deleted, stays in Redis: %s",
				doctype,
				name,
				error,
			)

	async def _delete_entries(self, site: str, doctype: str, name: str, is_again: bool = False) -> bool:
		key = shared_key(site, doctype, name)
		delete: Command = ("DEL", key)
		if is_again:
			(entries,) = await self._store.execute([("XRANGE", key, "-", "+")])
			if not entries or any(_entry(*entry).is_loaded for entry in entries):
				# Nothing has come, or a new document has got the name.
				return False
			delete = ("XDEL", key, *[id for id, _ in entries])
		return bool((await self._store.execute([delete, ("ZREM", SHARED_STATES_KEY, key)]))[0])

	# -- for the storage

	async def entries(self, site: str, document: SharedDocument) -> list[Entry]:
		"""Return the entries of `document`, the oldest first.

		Raises:
			StoreUnavailable, StoreDenied: They cannot be read.
		"""
		key = shared_key(site, document.doctype, document.name)
		(answer,) = await self._store.execute([("XRANGE", key, "-", "+")])
		entries = [_entry(*each) for each in answer]
		return [entry for entry in entries if entry.field == document.field]

	async def merge(self, entries: Sequence[Entry], state_vector: bytes = b"\x00") -> Merged:
		"""Merge entries in a thread.

		Raises:
			ValueError: The state vector is invalid.
		"""
		updates = [entry.update for entry in entries]
		loop = asyncio.get_running_loop()
		merged = await loop.run_in_executor(self._thread, merge, updates, state_vector)
		self.invalid += merged.invalid
		return merged

	async def replace(
		self, site: str, document: SharedDocument, entries: Sequence[Entry], state: bytes
	) -> bytes:
		"""Replace entries by the state that they result in; return the id of its entry.

		Raises:
			StoreUnavailable, StoreDenied: Redis does not answer, or refuses a command.
		"""
		key = shared_key(site, document.doctype, document.name)
		loaded: tuple[str, ...] = ("l", "1") if any(entry.is_loaded for entry in entries) else ()
		id, _ = await self._store.execute(
			[
				("XADD", key, "*", "f", document.field, "u", state, *loaded),
				("XDEL", key, *[entry.id for entry in entries]),
			],
			transaction=True,
		)
		return bytes(id)

	async def add_loaded(self, site: str, document: SharedDocument, state: bytes) -> list[Entry]:
		"""Add what the app has stored to a document that is locked; return all entries of it.

		Raises:
			StoreUnavailable, StoreDenied: Redis does not answer, or refuses a command.
		"""
		key = shared_key(site, document.doctype, document.name)
		await self._store.execute(
			[
				("XADD", key, "*", "f", document.field, "u", state or EMPTY_UPDATE, "l", "1"),
				*self.keep_commands(site, document),
			]
		)
		return await self.entries(site, document)

	async def lock(self, site: str, document: SharedDocument, attempts: int = 1) -> bool:
		"""Lock a document for `LOCK_SECONDS`; return False if another process holds the lock.

		Raises:
			StoreUnavailable, StoreDenied: Redis does not answer, or refuses a command.
		"""
		key, token = shared_lock_key(site, document.doctype, document.name), secrets.token_hex(8)
		for attempt in range(attempts):
			if attempt:
				await asyncio.sleep(LOCK_PAUSE)
			if await self._store.hold(key, token, LOCK_SECONDS):
				return True
		return False

	async def unlock(self, site: str, document: SharedDocument) -> None:
		"""End a lock of this process.

		Raises:
			StoreUnavailable, StoreDenied: Redis does not answer, or refuses a command; the lock ends by itself.
		"""
		await self._store.execute([("DEL", shared_lock_key(site, document.doctype, document.name))])

	# -- Redis

	async def _load(self, session: Session, document: SharedDocument) -> list[Entry]:
		"""Add what the app has stored, once for all processes."""
		site = session.site
		if not await self.lock(site, document, LOCK_ATTEMPTS):
			raise StateUnavailable(f"another process loads {document.text}")
		try:
			entries = await self.entries(site, document)
			if any(entry.is_loaded for entry in entries):
				return entries
			now = round(time() * 1000)
			_, kept = await self._store.execute(
				[("ZREMRANGEBYSCORE", SHARED_STATES_KEY, "-inf", now), ("ZCARD", SHARED_STATES_KEY)]
			)
			if kept >= self._max_states:
				self._on_limit("realtime_shared_states")
				raise StateUnavailable(f"realtime_shared_states is {self._max_states}")
			state = await self._load_from_app(site, document) if session.has_app else b""
			return await self.add_loaded(site, document, state)
		finally:
			await self.unlock(site, document)

	def _set_size(self, site: str, document: SharedDocument, size: int) -> None:
		# Its last client may have gone meanwhile.
		if (site, document) in self._sizes:
			self._sizes[site, document] = size

	async def _compact(self, site: str, document: SharedDocument) -> None:
		self._merging.add((site, document))
		try:
			entries = await self.entries(site, document)
			merged = await self.merge(entries)
			await self.replace(site, document, entries, merged.state)
			self._set_size(site, document, len(merged.state))
		finally:
			self._merging.discard((site, document))

	def keep_commands(self, site: str, document: SharedDocument) -> list[Command]:
		"""Return the commands that keep a state for `realtime_shared_state_seconds` from now on."""
		key = shared_key(site, document.doctype, document.name)
		expires = round((time() + self._seconds) * 1000)
		return [("EXPIRE", key, self._seconds), ("ZADD", SHARED_STATES_KEY, expires, key)]

	def _unavailable(self, document: SharedDocument, error: Exception) -> StateUnavailable:
		advice = f" {error.advice}" if isinstance(error, StoreDenied) else ""
		self._log_budget.write(
			logger.warning, "the state of %s is not known: Redis: %s.%s", document.text, error, advice
		)
		return StateUnavailable(str(error))


def _entry(id: bytes, values: list[bytes]) -> Entry:
	fields = dict(zip(values[::2], values[1::2], strict=True))
	return Entry(id, fields.get(b"f", b"").decode(), fields.get(b"u", b""), b"l" in fields)
