"""The files by which process managers start the realtime server, and how the server's entry in each of them changes.

In each file only the command of the realtime server's entry changes, and in those of supervisor how long it may take to
stop. The name, group and logs of the entry stay, so that restarts, sudoers and log rotation keep working. Environment
variables, wrappers and redirections around the command are kept, and so are the line ends of a file. Nothing is written
here.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

BACKUP_SUFFIX = ".before-frappe-realtime"

COMPANION_TARGET = "frappe_realtime.bench.companion:run_socketio"
"""What gunicorn's companion manager calls for the realtime server; see `companion.py`."""

# The part of a command that is replaced, with any path: `node apps/frappe/socketio.js`, `bench socketio` (bench 5.31 and
# newer), `python -m frappe.realtime.server` (pilot, with `socketio_backend = "python"`), or `frappe-realtime serve`.
_FRAPPE_COMMAND = re.compile(
	r"(?<!\S)[^\s;&|]*?(?:\bnode(?:js)?[ \t]+[^\s;&|]*apps/frappe/socketio\.js|\bbench[ \t]+socketio"
	r"|\bpython[\d.]*[ \t]+-m[ \t]+frappe\.realtime\.server)(?!\S)"
)
_OWN_COMMAND = re.compile(r"(?<!\S)[^\s;&|]*?\bfrappe-realtime[ \t]+serve(?!\S)")
_WORKERS_OPTION = re.compile(r"[ \t]+--workers(?:=|[ \t]+)\S+")
_BENCH_OPTION = re.compile(r"[ \t]+--bench(?:=|[ \t]+)\S+")

# After the command: nothing, or something that the shell does not pass to it.
_NO_ARGUMENTS = re.compile(r"\s*(?:$|[;&|<>#]|\d>)")
_SHELL_OPERATORS = re.compile(r"[;&|]")

STOP_SECONDS = 20
"""Seconds that a process manager has to give the sidecar to stop: `deploy/` gives containers as many, and `docs/scaling.md` says why."""

_SECTION = re.compile(r"^\[", re.M)
_STOP_SETTING = re.compile(r"\r?\nstopwaitsecs[ \t]*=[ \t]*(\d+)[^\r\n]*")

_EXEC_START = re.compile(r"^(ExecStart=)([^\s][^\r\n]*)", re.M)
_WORKERS_VARIABLE = re.compile(r"'FRAPPE_SOCKETIO_WORKERS': '[^']*'")


class SetupError(Exception):
	"""The bench is not in a state in which it can be changed; the message says what to do. Nothing was changed."""


def read(path: Path) -> str:
	"""Return the content of a file with its own line ends, which `read_text` would replace."""
	return path.read_bytes().decode()


def newline_of(content: str) -> str:
	"""Return the line end of a file's content."""
	return "\r\n" if "\r\n" in content else "\n"


class ProcessFile(ABC):
	"""A file that makes a process manager start the realtime server.

	Attributes:
		path: The file that is changed.
		restart: The command or action after which a change is in force.
		note: What an operator must know about the file; empty if there is nothing.
	"""

	path: Path
	restart: str
	note: str

	@property
	def backup(self) -> Path:
		"""The file that keeps the content from before the first change."""
		return self.path.with_name(self.path.name + BACKUP_SUFFIX)

	@property
	def is_present(self) -> bool:
		"""Whether the process manager has written the file."""
		return self.path.is_file()

	def content(self) -> str | None:
		"""Return the present content; None if there is no file."""
		return read(self.path) if self.path.is_file() else None

	@abstractmethod
	def runs_frappe_realtime(self, content: str | None) -> bool:
		"""Return whether this content starts frappe_realtime."""

	@abstractmethod
	def set_up(self, content: str | None) -> str | None:
		"""Return the content that starts frappe_realtime.

		Raises:
			SetupError: The present command has parts that would be lost.
		"""

	@abstractmethod
	def undo(self, content: str | None) -> str | None:
		"""Return the content that starts the former server, with all other changes since then."""

	@abstractmethod
	def backup_content(self, content: str | None) -> str | None:
		"""Return what a set-up writes to `backup`; None if the present backup, or none, is right."""

	@abstractmethod
	def missing_backup(self, content: str | None) -> str | None:
		"""Return the command that writes the file anew, if undo needs a backup that is missing; else None."""


@dataclass(frozen=True)
class EntryFile(ProcessFile):
	"""A file in which the command of one entry changes.

	Attributes:
		path: As in `ProcessFile`.
		entry: Finds the entry of the realtime server: group 1 is what precedes the command, group 2 is the command.
		own_command: The command that starts frappe_realtime.
		former_command: The command of Frappe's own server, used if the backup has no entry.
		add_entry: Adds an entry with a command to the content of a file that has none.
		rewrite: The command that lets the bench write the file anew.
		restart: As in `ProcessFile`.
		workers: How many worker processes the server has; empty to keep the number that is there, or none.
		note: As in `ProcessFile`.
	"""

	path: Path
	entry: re.Pattern[str]
	own_command: str
	former_command: str
	add_entry: Callable[[str, str], str]
	rewrite: str
	restart: str
	workers: str
	note: str = ""

	@abstractmethod
	def _is_own(self, command: str) -> bool:
		"""Return whether a command starts frappe_realtime."""

	@abstractmethod
	def _new_command(self) -> str:
		"""Return the command of frappe_realtime for an entry that is added."""

	@abstractmethod
	def _replaced(self, command: str) -> str:
		"""Return the command of frappe_realtime with what is kept of a command that is there."""

	def runs_frappe_realtime(self, content: str | None) -> bool:
		match = self.entry.search(content or "")
		return bool(match and self._is_own(match[2]))

	def set_up(self, content: str | None) -> str | None:
		content = content or ""
		if not self.entry.search(content):
			return self.add_entry(content, self._new_command())
		return self.entry.sub(lambda match: match[1] + self._replaced(match[2]), content)

	def undo(self, content: str | None) -> str | None:
		content = content or ""
		current = self.entry.search(content)
		if current is None or not self._is_own(current[2]):
			return content
		original = read(self.backup)
		former = self.entry.search(original)
		if former is None and self.add_entry(original, current[2]) == content:
			return original
		command = former[2] if former else self.former_command
		return self.entry.sub(lambda match: match[1] + command, content)

	def backup_content(self, content: str | None) -> str | None:
		return None if self.runs_frappe_realtime(content) else content

	def missing_backup(self, content: str | None) -> str | None:
		has_backup = self.backup.is_file() and not self.runs_frappe_realtime(read(self.backup))
		return self.rewrite if self.runs_frappe_realtime(content) and not has_backup else None


class CommandFile(EntryFile):
	"""A file whose entry is a command line: Procfile, supervisor, or a unit of systemd."""

	def _is_own(self, command: str) -> bool:
		return bool(_OWN_COMMAND.search(command))

	def _new_command(self) -> str:
		return _with_workers(self.own_command, self.workers)

	def _replaced(self, command: str) -> str:
		return _own_command_in(command, self.own_command, self.workers, self.path)


class SupervisorFile(CommandFile):
	"""A file of supervisor, which kills a program that has not stopped after `stopwaitsecs`, by default 10 seconds."""

	def set_up(self, content: str | None) -> str | None:
		after = super().set_up(content) or ""
		for match in self._entries(after):
			setting, end = _stop_setting(after, match)
			if setting is None:
				after = f"{after[:end]}{newline_of(after)}stopwaitsecs={STOP_SECONDS}{after[end:]}"
			elif int(setting[1]) < STOP_SECONDS:
				after = f"{after[: setting.start(1)]}{STOP_SECONDS}{after[setting.end(1) :]}"
		return after

	def undo(self, content: str | None) -> str | None:
		after = super().undo(content) or ""
		if after == content:
			return after
		original = read(self.backup)
		former = self.entry.search(original)
		former_setting = _stop_setting(original, former)[0] if former else None
		for match in self._entries(after):
			setting, _ = _stop_setting(after, match)
			# Another number is that of the operator.
			if setting and int(setting[1]) == STOP_SECONDS:
				restored = former_setting[0] if former_setting else ""
				after = after[: setting.start()] + restored + after[setting.end() :]
		return after

	def _entries(self, content: str) -> list[re.Match[str]]:
		"""Return the entries, the last one first: a change of one does not move those that follow."""
		return list(self.entry.finditer(content))[::-1]


class CompanionFile(EntryFile):
	"""The configuration of gunicorn, when its companion manager starts the server.

	The command is the target that the manager calls, with the quotes of Python, and the environment of the process if a
	number of workers is set.
	"""

	@property
	def is_present(self) -> bool:
		content = self.content()
		return content is not None and "companion_workers = [" in content

	def _is_own(self, command: str) -> bool:
		return COMPANION_TARGET in command

	def _new_command(self) -> str:
		variable = f", 'env': {{'FRAPPE_SOCKETIO_WORKERS': '{self.workers}'}}" if self.workers else ""
		return self.own_command + variable

	def _replaced(self, command: str) -> str:
		target, separator, rest = command.partition(", ")
		if not self._is_own(command) and "frappe.gunicorn_companion:run_socketio" not in target:
			raise SetupError(
				f"{self.path} starts the realtime server by calling {target}. Setup replaces "
				f"{self.former_command}, and does not know other targets. Nothing was changed. "
				f"Write {self._new_command()} into the file yourself, and run setup again."
			)
		if not self.workers:
			return self.own_command + separator + rest
		kept = re.sub(r", 'env': \{\}$", "", separator + _WORKERS_VARIABLE.sub("", rest))
		if kept:
			raise SetupError(
				f"{self.path} gives the realtime server an environment, which setup does not change. "
				"Nothing was changed. Set `socketio_workers` in sites/common_site_config.json in place of --workers."
			)
		return self._new_command()


@dataclass(frozen=True)
class DropIn(ProcessFile):
	"""A drop-in of systemd that replaces the command of a unit, for a unit that is written anew again and again.

	Attributes:
		path: The drop-in.
		unit: The unit as the process manager has written it; it is not changed.
		own_command: The command that starts frappe_realtime.
		restart: As in `ProcessFile`.
		workers: As in `EntryFile`.
		note: As in `ProcessFile`.
	"""

	path: Path
	unit: Path
	own_command: str
	restart: str
	workers: str
	note: str = ""

	@property
	def is_present(self) -> bool:
		return self.unit.is_file() or self.path.is_file()

	def runs_frappe_realtime(self, content: str | None) -> bool:
		return bool(_OWN_COMMAND.search(content or ""))

	def set_up(self, content: str | None) -> str | None:
		present = _EXEC_START.search(content or "") or _EXEC_START.search(read(self.unit))
		if present is None:
			return content
		command = _own_command_in(present[2], self.own_command, self.workers, self.unit)
		if content and self.runs_frappe_realtime(content):
			return _EXEC_START.sub(lambda match: match[1] + command, content)
		return (
			"# Written by `bench realtime setup`; `bench realtime setup --undo` removes it.\n"
			f"[Service]\nExecStart=\nExecStart={command}\n"
		)

	def undo(self, content: str | None) -> str | None:
		return None if self.runs_frappe_realtime(content) else content

	def backup_content(self, content: str | None) -> str | None:
		return None

	def missing_backup(self, content: str | None) -> str | None:
		return None


def _stop_setting(content: str, entry: re.Match[str]) -> tuple[re.Match[str] | None, int]:
	"""Return the setting `stopwaitsecs` of an entry of supervisor, and where the last line of the entry ends."""
	following = _SECTION.search(content, entry.end())
	section = content[: following.start() if following else len(content)].rstrip()
	return _STOP_SETTING.search(section, entry.start()), len(section)


def _with_workers(command: str, workers: str) -> str:
	return f"{command} --workers {workers}" if workers else command


def _own_command_in(command: str, own_command: str, workers: str, path: Path) -> str:
	"""Return the command of frappe_realtime, with what the operator has put around `command`."""
	new = _with_workers(own_command, workers)
	if own := _OWN_COMMAND.search(command):
		options = _BENCH_OPTION.sub("", command[own.end() :])
		if workers:
			options = _WORKERS_OPTION.sub("", options)
		return command[: own.start()] + new + options
	former = _FRAPPE_COMMAND.search(command)
	if (
		former is None
		or _SHELL_OPERATORS.search(command[: former.start()])
		or not _NO_ARGUMENTS.match(command[former.end() :])
	):
		raise SetupError(
			f"{path} starts the realtime server by `{command}`. Setup replaces `node apps/frappe/socketio.js`, "
			"`bench socketio` and `python -m frappe.realtime.server`, keeps what precedes and follows them, and does not "
			f"know options of Node and other commands. Nothing was changed. Write `{new}` into the file yourself, or "
			"simplify the command, and run setup again."
		)
	return command[: former.start()] + new + command[former.end() :]
