"""The table of docs/broken-benches.md, which the tests of the doctor and of the browser hold to what they see."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

PAGE = Path(__file__).parents[1] / "docs" / "broken-benches.md"
ANY = "…"
"""Stands for any text."""


class Row(NamedTuple):
	"""A broken bench.

	Attributes:
		node: What Frappe's Node server does.
		doctor: The cause that the doctor names, or its note; without its place.
		browser: What a page says that diagnoses its connection.
		remedy: The command that the doctor names.
	"""

	node: str
	doctor: str
	browser: str
	remedy: str


def _rows() -> dict[str, Row]:
	found = {}
	for line in PAGE.read_text().splitlines():
		cells = [cell.strip() for cell in line.strip("|").split(" | ")]
		if (
			line.startswith("| ")
			and len(cells) == 5
			and cells[1] != "Node"
			and not cells[1].startswith("---")
		):
			found[cells[0]] = Row(*cells[1:])
	return found


ROWS = _rows()
"""By what is broken."""


def fits(cell: str, said: str) -> bool:
	"""Return whether a line of the doctor is the one in a cell: the code in it, whose `…` stands for any text."""
	code = re.search("`(.*)`", cell)
	return (
		code is not None
		and re.fullmatch(".*".join(map(re.escape, code[1].split(ANY))), said, re.DOTALL) is not None
	)
