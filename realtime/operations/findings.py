"""What the checks of the doctor return and raise."""

from __future__ import annotations

from dataclasses import dataclass

OK, FAILED, NOTE = "ok", "FAILED", "note"
"""States of a finding. A note is something to know that need not be an error."""

TIMEOUT = 5.0
"""Seconds that a check waits for one answer."""


@dataclass(slots=True)
class Finding:
	"""The result of one check.

	Args:
		state: `OK`, `FAILED` or `NOTE`.
		what: What was checked and what was found.
		advice: What to do about it, one line each; empty if nothing.
		blocks: True if checks that depend on this one cannot be made.
	"""

	state: str
	what: str
	advice: str = ""
	blocks: bool = False

	def __str__(self) -> str:
		lines = [f"{self.state:7} {self.what}"]
		lines += [f"        → {line}" for line in self.advice.splitlines()]
		return "\n".join(lines)


class CheckFailed(Exception):
	"""Raised by a check that failed.

	Args:
		what: What was checked and what was found.
		advice: What to do about it.
		blocks: As in `Finding`.
	"""

	def __init__(self, what: str, advice: str, blocks: bool = False) -> None:
		super().__init__(what)
		self.advice = advice
		self.blocks = blocks
