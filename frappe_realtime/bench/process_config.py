"""The bench's process configuration: how `bench start`, supervisor and systemd start the realtime server.

Texts in, texts out: nothing here writes a file. In each of the three places only the command of the entry that starts
the Node server changes; its name, group and logs stay, so that `bench restart`, sudoers and log rotation go on
working. An entry that is missing, as where `bench` found no Node when it wrote the file, is added.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

BACKUP = ".before-frappe-realtime"

_OURS = "frappe-realtime serve"
_PROCFILE = re.compile(r"^(socketio:[ \t]*)(.*)$", re.M)
_SUPERVISOR = re.compile(r"^(\[program:[^\]\n]*-node-socketio\][^\[]*?^command=)(.*)$", re.M)
_SYSTEMD = re.compile(r"^(ExecStart=)(.*)$", re.M)


class NotSetUp(Exception):
	"""The bench is not in the state that the command needs; the text says what to do."""


@dataclass(frozen=True)
class Change:
	"""A file, what is in it, what is to be in it, and what makes that count."""

	path: Path
	before: str
	after: str
	then: str
	to_keep: str | None = None
	"""What is to be kept in `backup`; None where that stays as it is: it holds what was there before us, or is done with."""

	@property
	def backup(self) -> Path:
		"""Where the file as it was is kept."""
		return self.path.with_name(self.path.name + BACKUP)


@dataclass(frozen=True)
class _Place:
	"""One file that starts the realtime server."""

	path: Path
	command: re.Pattern[str]
	ours: str
	node: str
	add: Callable[[str, str], str]
	then: str

	def put(self, text: str, command: str) -> str:
		if not self.command.search(text):
			return self.add(text, command)
		return self.command.sub(lambda match: match[1] + command, text)

	def restored(self, text: str) -> str:
		"""The text with the Node server's command back in it, and with all else that changed since."""
		if not self.is_ours(text):
			return text
		backup = self.path.with_name(self.path.name + BACKUP)
		if not backup.is_file():
			return self.put(text, self.node)
		original = backup.read_text()
		if self.put(original, self.ours) == text:
			return original
		match = self.command.search(original)
		return self.put(text, match[2] if match else self.node)

	def is_ours(self, text: str) -> bool:
		match = self.command.search(text)
		return bool(match and _OURS in match[2])


def changes(bench: Path, *, undo: bool = False) -> list[Change]:
	"""What is to be changed so that the bench runs our server, or with `undo` Node's. Empty: it does already.

	:raises NotSetUp: our server is not in the bench's environment, or the bench has no process configuration
	"""
	executable = bench / "env" / "bin" / "frappe-realtime"
	if not undo and not executable.exists():
		raise NotSetUp(
			f"{executable} does not exist, so the app is not in the bench's Python environment. "
			"Run `bench setup requirements` and try again."
		)
	places = [place for place in _places(bench) if place.path.is_file()]
	if not places:
		raise NotSetUp(
			f"{bench} has no Procfile, config/supervisor.conf or config/systemd/*-node-socketio.service. "
			"Write one with `bench setup procfile`, `bench setup supervisor` or `bench setup systemd`, and try again."
		)
	result = []
	for place in places:
		before = place.path.read_text()
		after = place.restored(before) if undo else place.put(before, place.ours)
		if after != before:
			to_keep = None if undo or place.is_ours(before) else before
			result.append(Change(place.path, before, after, place.then, to_keep))
	return result


def _places(bench: Path) -> Iterator[_Place]:
	node = f"{shutil.which('node') or shutil.which('nodejs') or 'node'} {bench}/apps/frappe/socketio.js"
	ours = f"{bench}/env/bin/{_OURS} --bench {bench}"
	yield _Place(
		bench / "Procfile",
		_PROCFILE,
		f"env/bin/{_OURS} --bench .",
		"node apps/frappe/socketio.js",
		_add_to_procfile,
		"end `bench start` and start it again",
	)
	yield _Place(
		bench / "config" / "supervisor.conf",
		_SUPERVISOR,
		ours,
		node,
		_add_to_supervisor,
		"sudo supervisorctl reread && sudo supervisorctl update",
	)
	for unit in sorted((bench / "config" / "systemd").glob("*-node-socketio.service")):
		then = f"sudo systemctl daemon-reload && sudo systemctl restart {unit.name}"
		yield _Place(unit, _SYSTEMD, ours, node, _add_nothing, then)


def _add_to_procfile(text: str, command: str) -> str:
	return f"{text}{'' if text.endswith(chr(10)) or not text else chr(10)}socketio: {command}\n"


def _add_to_supervisor(text: str, command: str) -> str:
	"""The program, in the group that bench restarts with the web process; the user and folders are the web's."""
	web = re.search(r"^\[program:([^\]\n]*)-frappe-web\][^\[]*", text, re.M)
	group = re.search(r"^\[group:([^\]\n]*)-web\]\s*^programs=.*$", text, re.M)
	if not web or not group:
		return text
	name, settings = web[1], dict(re.findall(r"^(user|stdout_logfile|startretries)=(.*)$", web[0], re.M))
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
	member = f"{group[0].rstrip()},{name}-node-socketio"
	return text[: group.start()] + "\n".join(program) + "\n\n" + member + text[group.end() :]


def _add_nothing(text: str, command: str) -> str:
	return text
