"""The code blocks of the documentation, and the commands in them.

A block that cannot run on a machine without a bench has a comment with the reason above it: `<!-- not run: REASON -->`.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import NamedTuple

from script.build_docs import sources

ROOT = Path(__file__).parents[3]
NOT_RUN = re.compile(r"<!-- not run: (.+) -->")
PAGES = sorted({Path("README.md"), *(path for path in sources() if path.suffix == ".md")})
"""All pages of the site, and the README, as paths in the repository."""


class Block(NamedTuple):
	"""A fenced code block.

	Attributes:
		page: The page, as a path in the repository.
		line: The number of its first line.
		language: The word after the fence.
		text: Its lines.
		reason: Why it is not run; empty if it is.
	"""

	page: Path
	line: int
	language: str
	text: str
	reason: str

	def __str__(self) -> str:
		return f"{self.page}:{self.line}"

	def commands(self) -> list[list[str]]:
		"""Return the words of each command of a shell block, without comments and variables set before it."""
		found = []
		for line in self.text.replace("\\\n", " ").splitlines():
			words = shlex.split(line, comments=True)
			while words:
				end = words.index("&&") if "&&" in words else len(words)
				command, words = words[:end], words[end + 1 :]
				while command and re.match(r"[A-Z_]+=", command[0]):
					del command[0]
				if command:
					found.append(command)
		return found

	def frappe_realtime_commands(self) -> list[list[str]]:
		"""Return the arguments of each `frappe-realtime` in a shell block."""
		return [words[1:] for words in self.commands() if Path(words[0]).name == "frappe-realtime"]


def blocks_of(page: Path) -> list[Block]:
	"""Return the code blocks of a page, in order."""
	found = []
	lines = (ROOT / page).read_text().splitlines()
	start = 0
	for number, line in enumerate(lines):
		if not line.startswith("```"):
			continue
		if not start:
			start = number + 1
			continue
		reason = NOT_RUN.fullmatch(lines[start - 2])
		language = lines[start - 1].removeprefix("```")
		text = "\n".join(lines[start:number]) + "\n"
		found.append(Block(page, start + 1, language, text, reason[1] if reason else ""))
		start = 0
	assert not start, f"{page} has a fence that is not closed"
	return found


BLOCKS = [block for page in PAGES for block in blocks_of(page)]


def blocks_in(*languages: str) -> list[Block]:
	"""Return the blocks of all pages in these languages."""
	return [block for block in BLOCKS if block.language in languages]
