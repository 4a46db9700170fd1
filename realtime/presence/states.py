"""The state of a member: what a client may send, how changes are merged, and when keys expire."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from frappe_realtime.contract.presence import PRESENCE_BAD_REQUEST, PRESENCE_LIMIT
from frappe_realtime.errors import PresenceRefused

from ..json_codec import SAFE_DEPTH, dumps, is_deeper

MAX_SECONDS = 86_400
"""The longest time to live of a key, in seconds."""


def check_changes(changes: Any) -> dict[str, Any]:
	"""Return the changes of a state: an object whose keys are set, or removed if the value is None.

	Raises:
		PresenceRefused: It is something else.
	"""
	if changes is None:
		return {}
	if isinstance(changes, dict) and all(isinstance(key, str) for key in changes):
		return changes
	raise PresenceRefused(PRESENCE_BAD_REQUEST, "a state is an object with strings as keys")


def check_seconds(seconds: Any) -> float | None:
	"""Return a time to live in seconds, or None for none.

	Raises:
		PresenceRefused: It is not a number between 0 and `MAX_SECONDS`.
	"""
	if seconds is None:
		return None
	if isinstance(seconds, int | float) and not isinstance(seconds, bool) and 0 < seconds <= MAX_SECONDS:
		return seconds
	raise PresenceRefused(
		PRESENCE_BAD_REQUEST, f"a time to live is a number of seconds above 0 and up to {MAX_SECONDS}"
	)


def merged(state: Mapping[str, Any], changes: Mapping[str, Any], max_bytes: int) -> dict[str, Any]:
	"""Return `state` with `changes`.

	Args:
		state: The state before.
		changes: The keys to set; the value None removes a key.
		max_bytes: Bytes of the result as JSON (`realtime_presence_state_bytes`).

	Raises:
		PresenceRefused: The result is too large, nested too deeply, or not JSON.
	"""
	result = {**state, **changes}
	if None in changes.values():
		result = {key: value for key, value in result.items() if value is not None}
	try:
		size = len(dumps(result).encode())
	except (TypeError, ValueError) as error:
		raise PresenceRefused(PRESENCE_BAD_REQUEST, f"the state is not JSON: {error}") from error
	if size > max_bytes:
		raise PresenceRefused(
			PRESENCE_LIMIT,
			f"the state would have {size} bytes as JSON, and realtime_presence_state_bytes is {max_bytes}",
			"realtime_presence_state_bytes",
		)
	if is_deeper(result):
		raise PresenceRefused(
			PRESENCE_BAD_REQUEST, f"the state is nested in more than {SAFE_DEPTH} levels of lists and objects"
		)
	return result


def changed_keys(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
	"""Return the keys that differ, with their new values; None for those that are gone."""
	changes = {key: value for key, value in after.items() if key not in before or before[key] != value}
	changes.update((key, None) for key in before if key not in after)
	return changes
