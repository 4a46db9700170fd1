"""What the checks of the doctor return, and which failures follow from which.

A check has a name such as `redis`; the code of a finding is the name of its check and the kind of the problem, such as
`redis.password`. `CONSEQUENCES` says which checks fail because another one does: their failures are not listed as failures.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..bus.endpoint import safe_url

OK, FAILED, NOTE = "ok", "FAILED", "note"
"""States of a finding. A note is something to know that need not be an error."""

TIMEOUT = 5.0
"""Seconds that a check waits for one answer."""

CLIENTS = frozenset({"delivery", "session", "publish", "public"})
"""The checks that connect clients."""

CONSEQUENCES: dict[str, frozenset[str]] = {
	"sites": CLIENTS | {"sites", "web", "answer"},
	"redis": CLIENTS | {"rights", "clock", "outages", "subscription", "history", "answer", "secret", "app"},
	"rights": CLIENTS | {"outages", "subscription", "history", "answer", "secret"},
	"web": CLIENTS | {"reach", "answer", "secret", "maintenance", "app"},
	"sidecar": CLIENTS | {"version", "subscription", "reach", "history", "descriptors", "handlers"},
	"subscription": CLIENTS | {"history"},
	"reach": CLIENTS,
	"folder": CLIENTS | {"answer", "secret", "maintenance", "app"},
	"maintenance": CLIENTS | {"answer", "secret", "app"},
	"answer": CLIENTS | {"app"},
	"secret": CLIENTS | {"app"},
	"delivery": CLIENTS - {"delivery"},
	"nginx": frozenset({"public"}),
}
"""By check, the checks whose failures follow from its failure, at the same site or at all sites."""


@dataclass(frozen=True, slots=True)
class KeyChange:
	"""A change of one key of a configuration file, which the doctor can make and which can be undone.

	Args:
		file: The file.
		key: The key.
		before: The present value; None if the file does not have the key.
		after: The new value.
	"""

	file: Path
	key: str
	before: Any
	after: Any

	@property
	def shown(self) -> dict[str, Any]:
		"""The arguments as JSON, without the password of a URL."""
		values = {"before": self.before, "after": self.after}
		hidden = {
			name: safe_url(value) if isinstance(value, str) else value for name, value in values.items()
		}
		return {"file": str(self.file), "key": self.key, **hidden}


@dataclass(slots=True)
class Finding:
	"""The result of one check.

	Args:
		code: The name of the check, a dot, and the kind of the result.
		state: `OK`, `FAILED` or `NOTE`.
		what: What was found: for a failure the cause.
		where: The file and the key, or the variable or process, where the cause is.
		command: The command that mends it.
		advice: More to know, one line each.
		site: The site; empty for the bench.
		fix: What `--fix` does about it.
		follows_from: The code of the failure that explains this one; such a finding is no failure.
	"""

	code: str
	state: str
	what: str
	where: str = ""
	command: str = ""
	advice: str = ""
	site: str = ""
	fix: KeyChange | None = None
	follows_from: str = ""

	@property
	def check(self) -> str:
		"""The name of the check."""
		return self.code.partition(".")[0]

	@property
	def failed(self) -> bool:
		"""True for a failure, also for one that follows from another."""
		return self.state == FAILED

	@property
	def is_cause(self) -> bool:
		"""True for a failure that no other explains."""
		return self.failed and not self.follows_from

	@property
	def text(self) -> str:
		"""What was found, with the name of the site."""
		return f"{self.site}: {self.what}" if self.site else self.what

	@property
	def remedy(self) -> str:
		"""The cause, where it is and the command that mends it, in one line."""
		# An error of Redis, or of an app, may have several lines.
		what = " ".join(self.text.split())
		if not self.where and not self.command:
			return what
		return f"{what}. Where: {self.where}. Run: {self.command}"

	def as_json(self) -> dict[str, Any]:
		"""Return the finding for `--json`; the keys are the arguments of this class."""
		return {**asdict(self), "fix": self.fix.shown if self.fix is not None else None}

	def __str__(self) -> str:
		if self.follows_from:
			return f"{NOTE:7} {self.text} (follows from {self.follows_from})"
		lines = [f"{self.state:7} {self.text}"]
		lines += [f"        → where: {self.where}"] if self.where else []
		lines += [f"        → run: {self.command}"] if self.command else []
		lines += [f"        → {line}" for line in self.advice.splitlines()]
		return "\n".join(lines)


class CheckFailed(Exception):
	"""Raised inside of a check, with its finding."""

	def __init__(self, finding: Finding) -> None:
		super().__init__(finding.what)
		self.finding = finding


def explanation(finding: Finding, earlier: Iterable[Finding]) -> str:
	"""Return the code of the failure among `earlier` that explains `finding`; empty if there is none.

	Args:
		finding: A finding.
		earlier: The findings before it on the path of an event.
	"""
	for cause in earlier:
		if not cause.is_cause or cause.site not in ("", finding.site):
			continue
		if finding.check in CONSEQUENCES.get(cause.check, ()) or finding.remedy == cause.remedy:
			return cause.code
	return ""


def verdict(findings: Sequence[Finding]) -> str:
	"""Return the last lines of the doctor: one for each cause, or else one for each note with a remedy."""
	causes = [finding for finding in findings if finding.is_cause]
	if causes:
		return "\n".join(f"Cause: {finding.remedy}" for finding in causes)
	hints = [finding for finding in findings if finding.state == NOTE and finding.command]
	lines = [
		"Everything that could be checked works."
		if not hints
		else "Everything that could be checked works, but:"
	]
	return "\n".join([*lines, *(f"Note: {finding.remedy}" for finding in hints)])
