"""Write the reference of a JavaScript module from its JSDoc comments.

It knows what `realtime.js` has: exported constants, functions and classes with methods, names that are exported from other modules,
and typedefs. Names that begin with an underscore are left out. A method without a comment is described with the one before it.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

COMMENT = r"/\*\*(?P<comment>(?:(?!\*/).)*)\*/\s*?\n"
EXPORT = re.compile(
	rf"^(?:{COMMENT})?export (?:const (?P<constant>\w+)|class (?P<class>\w+)"
	r"|(?:async )?function (?P<function>\w+)(?P<arguments>\(.*?\)) \{$)",
	re.MULTILINE | re.DOTALL,
)
FROM_ANOTHER_MODULE = re.compile(
	r'^export \{ (?P<names>\w+(?:, \w+)*) \} from "\./(?P<file>\w+\.js)(?:\?v=\w+)?";$', re.MULTILINE
)
TYPEDEF = re.compile(r"^/\*\*(?P<comment>(?:(?!\*/).)*?@typedef(?:(?!\*/).)*)\*/", re.MULTILINE | re.DOTALL)
METHOD = re.compile(
	rf"^\t(?:{COMMENT}\t)?(?:async )?(?P<name>[a-z]\w*)(?P<arguments>\([^\n]*\)) \{{$",
	re.MULTILINE | re.DOTALL,
)
TAG = re.compile(r"^@(\w+)\s*", re.MULTILINE)


@dataclass
class Comment:
	"""A JSDoc comment.

	Attributes:
		text: What stands before the first tag.
		tags: Name and text of each tag.
	"""

	text: str
	tags: list[tuple[str, str]] = field(default_factory=list)

	@classmethod
	def parse(cls, comment: str | None) -> Comment:
		"""Return the comment without its stars."""
		lines = [re.sub(r"^\s*\*? ?", "", line) for line in (comment or "").strip().splitlines()]
		text, *rest = TAG.split("\n".join(lines))
		return cls(
			text.strip(), [(tag, body.strip()) for tag, body in zip(rest[::2], rest[1::2], strict=True)]
		)

	def markdown(self) -> str:
		"""Return the comment as Python-Markdown, in whose tables code may contain `|`."""
		parts = [self.text] if self.text else []
		rows = []
		for tag, body in self.tags:
			kind, rest = _type(body)
			if tag in ("param", "property"):
				name, _, description = rest.partition(" ")
				optional = name.startswith("[")
				rows.append(
					(f"`{name.strip('[]')}`" + (" (optional)" if optional else ""), kind, description)
				)
			elif tag in ("returns", "throws"):
				rows.append(("**Returns**" if tag == "returns" else "**Throws**", kind, rest))
		if rows:
			cells = ["| | | |", "| --- | --- | --- |"]
			for name, kind, description in rows:
				shown = f"`{kind}`" if kind else ""
				cells.append(f"| {name} | {shown} | {' '.join(description.split())} |")
			parts.append("\n".join(cells))
		return "\n\n".join(parts)


def _type(body: str) -> tuple[str, str]:
	"""Return the type in braces at the beginning of a tag's text, and the rest."""
	if not body.startswith("{"):
		return "", body
	depth = 0
	for position, character in enumerate(body):
		depth += {"{": 1, "}": -1}.get(character, 0)
		if not depth:
			return body[1:position], body[position + 1 :].strip()
	return "", body


def reference_of(path: Path) -> str:
	"""Return the reference of a module as Markdown: its own names, then those that it exports from other modules."""
	source = path.read_text()
	parts = [reference(source)]
	for found in FROM_ANOTHER_MODULE.finditer(source):
		parts.append(reference((path.parent / found["file"]).read_text(), found["names"].split(", ")))
	return "\n\n".join(filter(None, parts))


def reference(source: str, names: Collection[str] | None = None) -> str:
	"""Return the reference of the text of a module as Markdown, with a heading of level 2 for each name.

	Args:
		source: The text.
		names: The exported names to describe; None for all. All typedefs are described.
	"""
	parts = []
	for found in EXPORT.finditer(source):
		if names is not None and (found["class"] or found["constant"] or found["function"]) not in names:
			continue
		comment = Comment.parse(found["comment"])
		if found["class"]:
			parts.append(_section(2, found["class"], comment))
			parts += _methods(source[found.end() :].partition("\n}\n")[0])
		elif found["constant"]:
			parts.append(_section(2, found["constant"], comment))
		else:
			parts.append(_section(2, _call(found["function"], comment), comment))
	for typedef in TYPEDEF.finditer(source):
		comment = Comment.parse(typedef["comment"])
		(name,) = [_type(body)[1] for tag, body in comment.tags if tag == "typedef"]
		parts.append(_section(2, name, comment))
	return "\n\n".join(parts)


def _methods(body: str) -> list[str]:
	"""Return a section for each documented method of a class, those without a comment with the one before."""
	groups: list[tuple[list[str], Comment]] = []
	for found in METHOD.finditer(body):
		if found["name"] == "constructor":
			continue
		call = f"{found['name']}{found['arguments']}"
		if found["comment"] is None and groups:
			groups[-1][0].append(call)
		else:
			groups.append(([call], Comment.parse(found["comment"])))
	return [_section(3, ", ".join(f"`{call}`" for call in calls), comment) for calls, comment in groups]


def _call(name: str, comment: Comment) -> str:
	"""Return a function with the names of its parameters."""
	names = [_type(body)[1].split()[0] for tag, body in comment.tags if tag == "param"]
	return f"`{name}({', '.join(names)})`"


def _section(level: int, title: str, comment: Comment) -> str:
	shown = title if "`" in title else f"`{title}`"
	return f"{'#' * level} {shown}\n\n{comment.markdown()}".rstrip()
