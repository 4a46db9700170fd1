"""Merges changes of Yjs documents, with pycrdt: the optional extra `shared-editing`. It is imported when the first change is merged."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.util import find_spec
from typing import Any, NamedTuple

EMPTY_UPDATE = b"\x00\x00"
"""A change that changes nothing."""


class Merged(NamedTuple):
	"""The state of a document.

	Args:
		state: The whole state, as one change.
		state_vector: Its state vector.
		difference: The part that a client with another state vector lacks.
		invalid: How many of the changes could not be read, and were left out.
	"""

	state: bytes
	state_vector: bytes
	difference: bytes
	invalid: int


def is_installed() -> bool:
	"""Return True if the extra is installed."""
	return find_spec("pycrdt") is not None


def is_update(update: bytes) -> bool:
	"""Return True if `update` can be read as a change."""
	return merge([update], b"\x00").invalid == 0


def merge(updates: Iterable[bytes], state_vector: bytes) -> Merged:
	"""Return the state that results from changes, in whichever order.

	Args:
		updates: The changes.
		state_vector: That of a client.

	Raises:
		ValueError: The state vector cannot be read.
	"""
	from pycrdt import Doc

	doc: Doc[Any] = Doc()
	invalid = 0
	for update in updates:
		try:
			doc.apply_update(update)
		except ValueError:
			invalid += 1
	return Merged(doc.get_update(), doc.get_state(), doc.get_update(state_vector), invalid)
