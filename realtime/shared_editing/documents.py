"""What is edited together: a field of a document, its rooms, and the checks of what clients send."""

from __future__ import annotations

from typing import Any, NamedTuple

from frappe_realtime.contract.rooms import shared_field_room, shared_room, shared_write_room
from frappe_realtime.contract.shared_editing import SHARED_BAD_REQUEST, SHARED_TOO_LARGE

from ..access.client_questions import document_name, is_name

MAX_FIELD = 140
"""Characters of the name of a field; so the name of its room can be announced to other sidecars."""

MAX_STATE_VECTOR = 65_536
"""Bytes of a state vector: it has some bytes for each client that has ever changed the document."""


class SharedRefused(Exception):
	"""An event about a shared document is refused.

	Args:
		code: One of `SHARED_REFUSALS` of the contract.
		message: What was tried and why it is refused; names the key of a limit.
		limit: The key of the limit that is reached; empty for other refusals, and for one that the client was told before.
	"""

	def __init__(self, code: str, message: str, limit: str = "") -> None:
		super().__init__(message)
		self.code = code
		self.limit = limit


class SharedDocument(NamedTuple):
	"""What one Yjs document holds: a field of a document of Frappe; the field may be empty."""

	doctype: str
	name: str
	field: str

	@property
	def read_room(self) -> str:
		"""The room of the sockets that follow a field of the document."""
		return shared_room(self.doctype, self.name)

	@property
	def write_room(self) -> str:
		"""The room of those of them that may change it."""
		return shared_write_room(self.doctype, self.name)

	@property
	def room(self) -> str:
		"""The room of those of them that follow this field."""
		return shared_field_room(self.doctype, self.name, self.field)

	@property
	def text(self) -> str:
		"""The document as messages name it."""
		return f"{self.doctype} {self.name}{f' ({self.field})' if self.field else ''}"

	def message(self, **values: Any) -> dict[str, Any]:
		"""Return an event to a client: what it is about, and `values`."""
		return {**self._asdict(), **values}


def check_document(doctype: Any, name: Any, field: Any) -> SharedDocument:
	"""Return the document that a client names.

	Raises:
		SharedRefused: A part of the name is invalid.
	"""
	name = document_name(name)
	field = "" if field is None else field
	if is_name(doctype) and name and isinstance(field, str) and len(field) <= MAX_FIELD and ":" not in field:
		return SharedDocument(doctype, name, field)
	raise SharedRefused(
		SHARED_BAD_REQUEST, "a shared document is named by its DocType, its name and a field without a colon"
	)


def check_bytes(value: Any, what: str, most: int, key: str = "") -> bytes:
	"""Return a binary value of a client.

	Args:
		value: The value.
		what: What it is, for the message.
		most: Bytes that it may have.
		key: The key of this limit; empty if it is none.

	Raises:
		SharedRefused: It is not binary, or too large.
	"""
	if not isinstance(value, bytes):
		raise SharedRefused(SHARED_BAD_REQUEST, f"{what} is binary")
	if len(value) > most:
		limit = key or "the limit"
		raise SharedRefused(SHARED_TOO_LARGE, f"{what} has {len(value)} bytes, and {limit} is {most}", key)
	return value
