"""The recent changes of access of a site, in the order of its events.

Before the first change that concerns a room, its members had access to it; after the last one they have what the web process
answers now. Between two changes access may have been withdrawn and granted again: an event from there is not replayed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from math import inf
from typing import Any, NamedTuple

from frappe_realtime.contract.access import (
	DOC_CHANGED,
	DOC_DELETED,
	DOC_RENAMED,
	DOCTYPE_RULES_CHANGED,
	SESSION_ENDED,
	SITE_CHANGED,
	USER_CHANGED,
)
from frappe_realtime.contract.rooms import SITE_ROOM, room_subject

from ..bus.events import StreamPosition
from ..bus.kept_events import KeptEvent
from .positions import START

MAX_CHANGES = 2000
"""Changes of a site that are kept."""

MAX_AGE = 600_000
"""Milliseconds for which changes are kept."""

CHECK_MILLISECONDS = 10_000
"""Milliseconds before a disconnect in which a change of access may not have been checked."""

Subject = tuple[str, ...]
"""What a change concerns: its kind, and the names that identify the user, the session, the DocType or the document."""

SITE_SUBJECT: Subject = (SITE_CHANGED,)


def subject_of(message: Mapping[str, Any]) -> Subject | None:
	"""Return what a message of the access channel concerns; None for one that changes no access.

	Raises:
		KeyError: A field is missing.
	"""
	kind = message["kind"]
	if kind == SITE_CHANGED:
		return SITE_SUBJECT
	if kind == USER_CHANGED:
		return (kind, message["user"])
	if kind == SESSION_ENDED:
		return (kind, message["sid_hash"])
	if kind == DOCTYPE_RULES_CHANGED:
		return (kind, message["doctype"])
	if kind in (DOC_CHANGED, DOC_DELETED, DOC_RENAMED):
		return (DOC_CHANGED, message["doctype"], message["old" if kind == DOC_RENAMED else "name"])
	return None


def session_subject(sid_hash: str) -> Subject:
	"""Return the subject of the end of a session."""
	return (SESSION_ENDED, sid_hash)


def document_subjects(user: str, doctype: str, name: str) -> list[Subject]:
	"""Return the subjects that decide whether `user` may read a document, or a DocType if `name` is empty."""
	subjects: list[Subject] = [SITE_SUBJECT, (USER_CHANGED, user), (DOCTYPE_RULES_CHANGED, doctype)]
	if name:
		subjects.append((DOC_CHANGED, doctype, name))
	return subjects


def room_subjects(user: str, room: str | None) -> list[Subject]:
	"""Return the subjects that decide whether `user` may be in `room`; none for a room without a permission."""
	if room is None:
		return []
	if room == SITE_ROOM:
		# It depends on the type of the user.
		return [SITE_SUBJECT, (USER_CHANGED, user)]
	subject = room_subject(room)
	return [] if subject is None else document_subjects(user, *subject)


class AccessChange(NamedTuple):
	"""A change of access.

	Args:
		position: The event that was the newest one of the site.
		time: When it was published, in milliseconds as in the ids of Redis.
		subject: What it concerns.
		number: Its number in the log, from 1.
	"""

	position: StreamPosition
	time: int
	subject: Subject
	number: int


NEVER: StreamPosition = (1 << 64, 0)
"""A position after all events."""

Doubt = tuple[StreamPosition, StreamPosition]
"""The positions of the first and of the last change, or `NEVER`. Events after the first, up to the last, are in doubt."""


class AccessLog:
	"""The changes of access of one site."""

	__slots__ = (
		"_by_subject",
		"_changes",
		"_missing_time",
		"_missing_to",
		"_newest_time",
		"count",
		"held",
		"last_id",
		"missed",
		"newest",
	)

	def __init__(self) -> None:
		self.count = 0
		"""The number of the newest change."""
		self.newest: StreamPosition = START
		"""The position of the newest change."""
		self._newest_time: float = -inf
		"""When it was published."""
		self.last_id: StreamPosition = START
		"""The id of the newest message in the stream of access messages."""
		self.held: list[Mapping[str, Any]] | None = []
		"""Live messages that are held back while that stream is read; None when the log is up to date."""
		self.missed: set[Subject] = set()
		"""What the changes concern that were read from that stream since the log was up to date."""
		self._missing_to: StreamPosition = START
		self._missing_time: float = -inf
		"""Position and time of the newest change that is missing."""
		self._changes: deque[AccessChange] = deque()
		self._by_subject: dict[Subject, deque[AccessChange]] = {}

	def __len__(self) -> int:
		return len(self._changes)

	def add(self, subject: Subject, position: StreamPosition, time: int) -> None:
		"""Add a change, later than those before; see `AccessChange`."""
		position = self.newest = max(position, self.newest)
		self._newest_time = max(time, self._newest_time)
		self.count += 1
		change = AccessChange(position, time, subject, self.count)
		self._changes.append(change)
		self._by_subject.setdefault(subject, deque()).append(change)
		while len(self._changes) > MAX_CHANGES or self._changes[0].time + MAX_AGE < time:
			oldest = self._changes.popleft()
			changes = self._by_subject[oldest.subject]
			changes.popleft()
			if not changes:
				del self._by_subject[oldest.subject]
			self.note_missing(oldest.position, oldest.time)

	def note_missing(self, position: StreamPosition, time: int) -> None:
		"""Note that changes are missing, of which the newest one has this position and time at most."""
		self._missing_to = max(self._missing_to, position)
		self._missing_time = max(self._missing_time, time)

	def has(self, subject: Subject) -> bool:
		"""Return True if a change concerns `subject`."""
		return subject in self._by_subject

	def has_since(self, subjects: Iterable[Subject], number: int) -> bool:
		"""Return True if a change after the one with this number concerns one of `subjects`."""
		return any(
			changes[-1].number > number
			for subject in subjects
			if (changes := self._by_subject.get(subject)) is not None
		)

	def may_concern(self, since: StreamPosition) -> bool:
		"""Return False if there is no change since a position, or since its time."""
		return _is_since(self.newest, self._newest_time, since) or _is_since(
			self._missing_to, self._missing_time, since
		)

	def doubt(
		self,
		subjects: Iterable[Subject],
		since: StreamPosition,
		since_time: int,
		answered: int,
		checked: StreamPosition = START,
	) -> Doubt | None:
		"""Return between which positions access may have been withdrawn and granted again; None if nowhere.

		Args:
			subjects: What decides on the access.
			since: The position at which there was access.
			since_time: A time at which there was access, in milliseconds.
			answered: The value of `count` when the web process was asked about the access; after later changes the
				answer does not hold.
			checked: Changes before this position were checked, except for those that are later than its time: on a quiet site
				the event before a change is much older than the change.
		"""
		subjects = list(subjects)
		first: StreamPosition | None = None
		last = START
		if not subjects:
			return None
		if (
			self._missing_to >= since
			and self._missing_time >= since_time
			and _is_since(self._missing_to, self._missing_time, checked)
		):
			first, last = since, self._missing_to
		for subject in subjects:
			changes = self._by_subject.get(subject)
			if changes is None:
				continue
			for change in reversed(changes):
				if change.position < since or not _is_since(change.position, change.time, checked):
					break
				if change.time >= since_time:
					first = change.position if first is None else min(first, change.position)
					last = max(last, change.position if change.number <= answered else NEVER)
		return None if first is None else (first, last)


class ClientAccess:
	"""Decides for one client that recovers whether it had access when the events that it has missed were published.

	Args:
		log: The changes of the site.
		user: The user of the client.
		rooms: The rooms of the client, each with the position at which it has joined.
		offset: The offset of the client.
		since_time: A time at which the client was connected, in milliseconds as in the ids of Redis.
		answered: As in `AccessLog.doubt`.
	"""

	__slots__ = ("_answered", "_checked", "_log", "_may_concern", "_rooms", "_since_time", "_user")

	def __init__(
		self,
		log: AccessLog,
		user: str,
		rooms: Mapping[str | None, StreamPosition],
		offset: StreamPosition,
		since_time: int,
		answered: int,
	) -> None:
		self._answered = answered
		self._log = log
		self._user = user
		self._rooms = rooms
		self._checked: StreamPosition = (max(0, offset[0] - CHECK_MILLISECONDS), 0)
		self._since_time = since_time
		self._may_concern = log.may_concern(self._checked)

	def has_doubts(self, events: Iterable[KeptEvent]) -> bool:
		"""Return True if one of `events` may be from a time when the user was not allowed to be in its room."""
		if not self._may_concern:
			return False
		doubts: dict[str | None, Doubt | None] = {}
		for event in events:
			room = event.room
			if room not in doubts:
				doubts[room] = self._doubt(room, room_subjects(self._user, room))
			if _is_within(event.position, doubts[room]):
				return True
		return False

	def may_name(self, event: KeptEvent, doctype: str, name: str) -> bool:
		"""Return False if `event` may be from a time when the user could not read the document that it names."""
		if not self._may_concern:
			return True
		doubt = self._doubt(event.room, document_subjects(self._user, doctype, name))
		return not _is_within(event.position, doubt)

	def _doubt(self, room: str | None, subjects: Iterable[Subject]) -> Doubt | None:
		return self._log.doubt(subjects, self._rooms[room], self._since_time, self._answered, self._checked)


def _is_since(position: StreamPosition, time: float, since: StreamPosition) -> bool:
	"""Return True if a change with this position and time is not before the position `since`, or not before its time."""
	return position >= since or time >= since[0]


def _is_within(position: StreamPosition, doubt: Doubt | None) -> bool:
	return doubt is not None and doubt[0] < position <= doubt[1]
