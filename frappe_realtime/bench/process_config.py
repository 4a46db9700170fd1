"""The process configuration of a bench: the files by which `bench start`, supervisor and systemd start its processes.

Computes the changes that make a bench run frappe_realtime instead of the Node server, and back; writes no file. In each
file only the command of the realtime server's entry changes. The name, group and logs of the entry stay, so that `bench
restart`, sudoers and log rotation keep working. An entry that is missing, because `bench` found no Node when it wrote
the file, is added. Environment variables, wrappers and redirections around the command are kept, and so are the line
ends of a file.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

BACKUP_SUFFIX = ".before-frappe-realtime"

_SERVE = "frappe-realtime serve"

# The entry of the realtime server in each file: group 1 is what precedes the command, group 2 is the command.
_PROCFILE = re.compile(r"^(socketio:[ \t]*)([^\r\n]*)", re.M)
_SUPERVISOR = re.compile(r"^(\[program:[^\]\n]*-node-socketio\][^\[]*?^command=)([^\r\n]*)", re.M)
_SYSTEMD = re.compile(r"^(ExecStart=)([^\r\n]*)", re.M)

# The part of a command that is replaced: `node apps/frappe/socketio.js`, `bench socketio` (bench 5.31 and newer), or
# `frappe-realtime serve`, each with any path.
_NODE_COMMAND = re.compile(
	r"(?<!\S)[^\s;&|]*?(?:\bnode(?:js)?[ \t]+[^\s;&|]*apps/frappe/socketio\.js|\bbench[ \t]+socketio)(?!\S)"
)
_OWN_COMMAND = re.compile(r"(?<!\S)[^\s;&|]*?\bfrappe-realtime[ \t]+serve(?!\S)")
_WORKERS_OPTION = re.compile(r"[ \t]+--workers(?:=|[ \t]+)\S+")
_BENCH_OPTION = re.compile(r"[ \t]+--bench(?:=|[ \t]+)\S+")

# After the command: nothing, or something that the shell does not pass to it.
_NO_ARGUMENTS = re.compile(r"\s*(?:$|[;&|<>#]|\d>)")
_SHELL_OPERATORS = re.compile(r"[;&|]")


class SetupError(Exception):
	"""The bench is not in a state in which it can be changed; the message says what to do. Nothing was changed."""


@dataclass(frozen=True)
class Change:
	"""The change of one file.

	Attributes:
		path: The file.
		before: Its present content.
		after: Its new content.
		restart: The command or action after which the change is in force.
		backup_content: What to write to `backup`; None if the present backup, or none, is right.
	"""

	path: Path
	before: str
	after: str
	restart: str
	backup_content: str | None = None

	@property
	def backup(self) -> Path:
		"""The file that keeps the content from before the first change."""
		return _backup_of(self.path)


@dataclass(frozen=True)
class _ConfigFile:
	"""A file that starts the realtime server.

	Attributes:
		path: The file.
		entry: Finds the entry of the realtime server; see `_PROCFILE`.
		own_command: The command that starts frappe_realtime.
		node_command: The command that starts the Node server, used if the backup has no entry.
		add_entry: Adds an entry with a command to the content of a file that has none.
		rewrite: The command that lets bench write the file anew.
		restart: As in `Change`.
		workers: The value of `--workers` in the command; empty to keep the option that is there, or none.
	"""

	path: Path
	entry: re.Pattern[str]
	own_command: str
	node_command: str
	add_entry: Callable[[str, str], str]
	rewrite: str
	restart: str
	workers: str

	@property
	def _own_command(self) -> str:
		return f"{self.own_command} --workers {self.workers}" if self.workers else self.own_command

	def runs_frappe_realtime(self, content: str) -> bool:
		match = self.entry.search(content)
		return bool(match and _OWN_COMMAND.search(match[2]))

	def set_up(self, content: str) -> str:
		"""Return the content with the command of frappe_realtime.

		Raises:
			SetupError: The present command has parts that would be lost.
		"""
		if not self.entry.search(content):
			return self.add_entry(content, self._own_command)
		return self.entry.sub(lambda match: match[1] + self._own_command_in(match[2]), content)

	def _own_command_in(self, command: str) -> str:
		"""Return the command of frappe_realtime, with what the operator has put around `command`."""
		if own := _OWN_COMMAND.search(command):
			options = _BENCH_OPTION.sub("", command[own.end() :])
			if self.workers:
				options = _WORKERS_OPTION.sub("", options)
			return command[: own.start()] + self._own_command + options
		node = _NODE_COMMAND.search(command)
		if (
			node is None
			or _SHELL_OPERATORS.search(command[: node.start()])
			or not _NO_ARGUMENTS.match(command[node.end() :])
		):
			raise SetupError(
				f"{self.path} starts the realtime server by `{command}`. Setup replaces `node apps/frappe/socketio.js` and "
				"`bench socketio`, keeps what precedes and follows them, and does not know options of Node and other "
				f"commands. Nothing was changed. Write `{self._own_command}` into the file yourself, or simplify the "
				"command, and run setup again."
			)
		return command[: node.start()] + self._own_command + command[node.end() :]

	def has_backup(self) -> bool:
		"""Return whether there is a backup, and it does not run frappe_realtime itself."""
		backup = _backup_of(self.path)
		return backup.is_file() and not self.runs_frappe_realtime(_read(backup))

	def undo(self, content: str) -> str:
		"""Return the content with the command of the backup, and with all other changes since then."""
		current = self.entry.search(content)
		if current is None or not self.runs_frappe_realtime(content):
			return content
		original = _read(_backup_of(self.path))
		former = self.entry.search(original)
		if former is None and self.add_entry(original, current[2]) == content:
			return original
		command = former[2] if former else self.node_command
		return self.entry.sub(lambda match: match[1] + command, content)


def changes(bench: Path, *, undo: bool = False, workers: str = "") -> list[Change]:
	"""Return the changes that make the bench run frappe_realtime, or with `undo` the Node server.

	Args:
		bench: The folder of the bench.
		undo: Restore the commands of the backups.
		workers: How many worker processes the server has, a number or `auto`; empty to leave that as it is.

	Returns:
		One change for each file; none if the bench runs that server already.

	Raises:
		SetupError: The app is not in the Python environment of the bench, there is no process configuration, a command
			has parts that would be lost, or (with `undo`) a backup is missing.
	"""
	executable = bench / "env" / "bin" / "frappe-realtime"
	if not undo and not executable.exists():
		raise SetupError(
			f"{executable} does not exist, so the app is not in the bench's Python environment. "
			"Run `bench setup requirements` and try again."
		)
	files = [file for file in _config_files(bench, workers) if file.path.is_file()]
	if not files:
		raise SetupError(
			f"{bench} has no Procfile, config/supervisor.conf or config/systemd/*-node-socketio.service. "
			"Write one with `bench setup procfile`, `bench setup supervisor` or `bench setup systemd`, and try again."
		)
	contents = {file: _read(file.path) for file in files}
	if undo:
		_check_backups(contents)
	result = []
	for file, before in contents.items():
		after = file.undo(before) if undo else file.set_up(before)
		if after != before:
			backup_content = None if undo or file.runs_frappe_realtime(before) else before
			result.append(Change(file.path, before, after, file.restart, backup_content))
	return result


def _check_backups(contents: dict[_ConfigFile, str]) -> None:
	missing = [
		file
		for file, content in contents.items()
		if file.runs_frappe_realtime(content) and not file.has_backup()
	]
	if missing:
		backups = ", ".join(str(_backup_of(file.path)) for file in missing)
		commands = ", ".join(dict.fromkeys(f"`{file.rewrite}`" for file in missing))
		raise SetupError(
			f"There is no backup with the former command: {backups}. Nothing was changed. "
			f"Let bench write the files anew ({commands}), or write the command of the Node server into them yourself."
		)


def _config_files(bench: Path, workers: str) -> Iterator[_ConfigFile]:
	node_command = (
		f"{shutil.which('node') or shutil.which('nodejs') or 'node'} {bench}/apps/frappe/socketio.js"
	)
	own_command = f"{bench}/env/bin/{_SERVE} --bench {bench}"
	yield _ConfigFile(
		bench / "Procfile",
		_PROCFILE,
		f"env/bin/{_SERVE} --bench .",
		"node apps/frappe/socketio.js",
		_add_to_procfile,
		"bench setup procfile",
		"end `bench start` and start it again",
		workers,
	)
	yield _ConfigFile(
		bench / "config" / "supervisor.conf",
		_SUPERVISOR,
		own_command,
		node_command,
		_add_to_supervisor,
		"bench setup supervisor",
		"sudo supervisorctl reread && sudo supervisorctl update",
		workers,
	)
	for unit in sorted((bench / "config" / "systemd").glob("*-node-socketio.service")):
		yield _ConfigFile(
			unit,
			_SYSTEMD,
			own_command,
			node_command,
			_add_nothing,
			"bench setup systemd",
			f"sudo systemctl daemon-reload && sudo systemctl restart {unit.name}",
			workers,
		)


def _backup_of(path: Path) -> Path:
	return path.with_name(path.name + BACKUP_SUFFIX)


def _read(path: Path) -> str:
	"""Return the content of a file with its own line ends, which `read_text` would replace."""
	return path.read_bytes().decode()


def _newline_of(content: str) -> str:
	return "\r\n" if "\r\n" in content else "\n"


def _add_to_procfile(content: str, command: str) -> str:
	newline = _newline_of(content)
	separator = "" if not content or content.endswith("\n") else newline
	return f"{content}{separator}socketio: {command}{newline}"


def _add_to_supervisor(content: str, command: str) -> str:
	"""Add the program, and add it to the group of the web process, with the user and folders of that process."""
	web = re.search(r"^\[program:([^\]\n]*)-frappe-web\][^\[]*", content, re.M)
	group = re.search(r"^\[group:[^\]\n]*-web\]\s*^programs=[^\r\n]*", content, re.M)
	if not web or not group:
		return content
	name = web[1]
	settings = dict(re.findall(r"^(user|stdout_logfile|startretries)=([^\r\n]*)", web[0], re.M))
	logs = Path(settings.get("stdout_logfile", "logs/web.log")).parent
	program = [
		f"[program:{name}-node-socketio]",
		f"command={command}",
		"priority=4",
		"autostart=true",
		"autorestart=true",
		f"stdout_logfile={logs}/node-socketio.log",
		f"stderr_logfile={logs}/node-socketio.error.log",
		f"directory={logs.parent}",
		*[f"{key}={settings[key]}" for key in ("user", "startretries") if key in settings],
	]
	newline = _newline_of(content)
	member = f"{group[0].rstrip()},{name}-node-socketio"
	return content[: group.start()] + newline.join([*program, "", ""]) + member + content[group.end() :]


def _add_nothing(content: str, command: str) -> str:
	return content
