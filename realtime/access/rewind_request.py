"""A subscription that asks for earlier events of its room."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from frappe_realtime.errors import RewindRefused

from ..json_codec import shown

LATEST = "latest"


@dataclass(frozen=True, slots=True)
class RewindRequest:
	"""What a client asks for, or a handler for its client.

	Args:
		rooms: The rooms whose events it asks for.
		count: How many of the last events; 0 for the events of which only the newest ones are kept.
		event: The name of the events; empty for all.
	"""

	rooms: Sequence[str]
	count: int
	event: str = ""

	@classmethod
	def parse(cls, rooms: Sequence[str], rewind: Any, most: int, event: str = "") -> RewindRequest:
		"""Return the request for `rewind`, as a client or a handler has written it.

		Raises:
			RewindRefused: It is neither "latest" nor a number from 1 to `most`.
		"""
		if rewind == LATEST:
			return cls(rooms, 0, event)
		if type(rewind) is not int or not 1 <= rewind <= most:
			raise RewindRefused(
				"bad_request",
				f'rewind is {shown(rewind, 50)}; it can be "latest" or a number from 1 to {most} (realtime_rewind_events)',
			)
		return cls(rooms, rewind, event)
