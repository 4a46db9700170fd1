"""The note of a task, which several users edit at once: loaded and stored for the realtime server."""

from __future__ import annotations

import base64

import frappe
from pycrdt import Doc, XmlElement, XmlFragment, XmlText


def load(doctype: str, name: str, field: str) -> bytes | None:
	"""Return the state of the note, for the first page that opens it."""
	state = frappe.db.get_value(doctype, name, "note_state")
	return base64.b64decode(state) if state else None


def store(doctype: str, name: str, field: str, state: bytes) -> None:
	"""Keep the state of the note, and its text for the Desk, lists and search."""
	note = Doc()
	note.apply_update(state)
	values = {
		"note_state": base64.b64encode(state).decode(),
		"note": "\n".join(paragraphs(note.get("note", type=XmlFragment))),
	}
	# With a new `modified`, Frappe would refuse to save a form that was opened before.
	frappe.db.set_value(doctype, name, values, update_modified=False)


def paragraphs(node: XmlFragment | XmlElement) -> list[str]:
	"""Return the text of each paragraph, heading and list entry of the editor's document."""
	texts = [child for child in node.children if isinstance(child, XmlText)]
	if texts:
		return ["".join(part for text in texts for part, _ in text.diff() if isinstance(part, str))]
	return [line for child in node.children for line in paragraphs(child)]
