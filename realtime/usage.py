"""What users and addresses use on all sidecars of a bench together, for limits that hold over all of them.

Each sidecar publishes the counts that matter: those of at least an eighth of an equal share of the limit. Smaller counts are not
published, so that thousands of users with a few sockets each cost nothing. So a limit can be exceeded by an eighth,
and not at all where that eighth is less than one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from .signals import Signal

FRACTION = 8
"""Counts below this part of an equal share of their limit are not published."""

REPEAT = 5
"""Heartbeats after which unchanged counts are published again, in case a message was lost; also if none matters any more."""


def user_key(site: str, user: str) -> str:
	"""Return the key of the sockets of a user."""
	return f"user {site} {user}"


def guests_key(address: str) -> str:
	"""Return the key of the sockets of Guests from an address."""
	return f"guests {address}"


def connections_key(address: str) -> str:
	"""Return the key of the connections from an address."""
	return f"connections {address}"


class Usage:
	"""The counts of this sidecar that matter, and those of the others.

	Args:
		max_entries: Most counts of other sidecars that are kept; further ones are ignored.
	"""

	def __init__(self, max_entries: int = 0) -> None:
		self.recount: Signal[[]] = Signal()
		"""Sent when all counts of this sidecar have to be set again, because there are more or fewer sidecars."""
		self.full: Signal[[]] = Signal()
		"""Sent for each count of another sidecar that is ignored."""
		self._max_entries = max_entries
		self._sidecars = 1
		self._own: dict[str, int] = {}
		self._changed = False
		self._published = False
		"""True once a count was published: others may know it still although none matters any more."""
		self._heartbeats = 0
		self._others: dict[str, dict[str, int]] = {}
		self._totals: Counter[str] = Counter()

	def __len__(self) -> int:
		"""Return the number of counts of other sidecars."""
		return sum(map(len, self._others.values()))

	# -- this sidecar

	def set(self, key: str, count: int, most: int) -> None:
		"""Set a count of this sidecar.

		Args:
			key: What is counted.
			count: How many there are.
			most: The limit.
		"""
		if self._sidecars == 1:
			return
		if count and count * FRACTION * self._sidecars >= most:
			self._changed = self._changed or self._own.get(key) != count
			self._own[key] = count
		elif self._own.pop(key, None) is not None:
			self._changed = True

	def to_publish(self) -> dict[str, int] | None:
		"""Return all counts that matter, with a heartbeat; None if the others know them."""
		self._heartbeats += 1
		if not self._changed and not (self._published and self._heartbeats >= REPEAT):
			return None
		self._changed = False
		self._published = self._published or bool(self._own)
		self._heartbeats = 0
		return self._own

	def set_sidecars(self, count: int) -> None:
		"""Set how many sidecars there are, this one included."""
		self._sidecars = count
		self._own.clear()
		self.recount.send()
		# Also a sidecar that has just appeared has to know them.
		self._changed = count > 1

	# -- the others

	def of_others(self, key: str) -> int:
		"""Return how many there are on the other sidecars, as far as they have published it."""
		return self._totals[key] if self._totals else 0

	def take(self, sidecar: str, counts: Iterable[tuple[str, int]], more: bool) -> None:
		"""Replace the counts of another sidecar; with `more`, add to them."""
		if not more:
			self.forget(sidecar)
		known = self._others.setdefault(sidecar, {})
		for key, count in counts:
			if key not in known and len(self) >= self._max_entries:
				self.full.send()
				break
			self._totals[key] += count - known.get(key, 0)
			known[key] = count

	def forget(self, sidecar: str) -> None:
		"""Remove the counts of a sidecar."""
		for key, count in self._others.pop(sidecar, {}).items():
			self._totals[key] -= count
			if not self._totals[key]:
				del self._totals[key]
