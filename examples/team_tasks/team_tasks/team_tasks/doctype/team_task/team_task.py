"""A task."""

from frappe.model.document import Document


class TeamTask(Document):
	def before_save(self) -> None:
		# Only `team_tasks.note.store` changes the note. A form that was opened before would bring an earlier one back.
		if before := self.get_doc_before_save():
			self.note, self.note_state = before.note, before.note_state
