"""Announces changed documents to the sidecars: who may read a document can depend on its content.

A User Permission on a linked document, the owner, `public` of a Note or a hook of an app decides by the document itself.
So each document that a transaction changes is announced when the transaction commits, by a message on the access channel:
`{"site", "kind": "changed", "doctype", "name"}`. The sidecar drops its answers about the document, and asks again who may
read it if a socket is in one of its rooms.

The messages are written before the realtime events of the same transaction (publish.py), so that its `list_update` does
not name the document to users from whom the change hides it. They expire like events: a message that does not would keep
all events behind it in the backlog for as long as Redis is away.
"""

from __future__ import annotations

import frappe

from ..contract.access import DOC_CHANGED, DOCTYPE_RULES_CHANGED
from .access_messages import access_message
from .commit import CHANGES, held_for_commit, take_held
from .outbox import Message
from .process import outbox

MAX_DOCUMENTS = 100
"""Documents of one DocType that a transaction announces by name. If it changes more, it announces the DocType."""

Change = tuple[str, str]
"""DocType and document name; the name is empty for all documents of the DocType."""


def announce_change(doctype: str, name: str) -> None:
	"""Announce a changed document when the transaction commits, once."""
	held: list[Change] = held_for_commit(CHANGES, _send)
	if (doctype, name) in held or (doctype, "") in held:
		return
	if sum(other == doctype for other, _ in held) < MAX_DOCUMENTS:
		held.append((doctype, name))
	else:
		held[:] = [*(change for change in held if change[0] != doctype), (doctype, "")]


def take_messages() -> list[Message]:
	"""Return the messages of the committed transaction, which are then sent by the caller."""
	return _messages(take_held(CHANGES))


def _send(changes: list[Change]) -> None:
	outbox().send(_messages(changes))


def _messages(changes: list[Change]) -> list[Message]:
	return [_message(doctype, name) for doctype, name in changes]


def _message(doctype: str, name: str) -> Message:
	message = {"site": frappe.local.site, "kind": DOC_CHANGED, "doctype": doctype, "name": name}
	if not name:
		message = {"site": frappe.local.site, "kind": DOCTYPE_RULES_CHANGED, "doctype": doctype}
	return access_message(message, expires=True)
