"""The process configuration of a bench: the files by which its processes are started.

Computes the changes that make a bench run frappe_realtime instead of Frappe's own server, and back; writes no file.
`process_files.py` says how one file changes, and `layouts.py` which files there are.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from ..contract.settings import BACKEND_KEY, EMBEDDED_BACKEND
from .layouts import nothing_found, process_files
from .process_files import ProcessFile, SetupError


@dataclass(frozen=True)
class Change:
	"""The change of one file.

	Attributes:
		path: The file.
		before: Its present content; None if there is no file.
		after: Its new content; None to remove it.
		restart: The command or action after which the change is in force.
		backup: The file that keeps the content from before the first change.
		backup_content: What to write to `backup`; None if the present backup, or none, is right.
	"""

	path: Path
	before: str | None
	after: str | None
	restart: str
	backup: Path
	backup_content: str | None = None


@dataclass(frozen=True)
class Plan:
	"""What a set-up does.

	Attributes:
		changes: One change for each file; none if the bench runs that server already.
		notes: What the operator must know or do besides.
	"""

	changes: list[Change]
	notes: list[str]


def plan(bench: Path, *, undo: bool = False, workers: str = "") -> Plan:
	"""Return the changes that make the bench run frappe_realtime, or with `undo` the former server.

	Args:
		bench: The folder of the bench.
		undo: Restore the commands of the backups.
		workers: How many worker processes the server has, a number or `auto`; empty to leave that as it is.

	Raises:
		SetupError: The app is not in the Python environment of the bench, there is no process configuration, none of it has
			an entry of the realtime server, a command has parts that would be lost, or (with `undo`) a backup is missing.
	"""
	executable = bench / "env" / "bin" / "frappe-realtime"
	if not undo and not executable.exists():
		raise SetupError(
			f"{executable} does not exist, so the app is not in the bench's Python environment. "
			"Run `bench setup requirements` and try again."
		)
	files = process_files(bench, workers)
	if not files:
		raise SetupError(nothing_found(bench))
	contents = [(file, file.content()) for file in files]
	if undo:
		_check_backups(contents)
		results = [(file, before, file.undo(before)) for file, before in contents]
		return Plan(_changes(results, undo), [])
	results = [(file, before, file.set_up(before)) for file, before in contents]
	notes = [file.note for file, _, _ in results if file.note] + _without_entry(results)
	return Plan(_changes(results, undo), notes + _backend_notes(bench))


def _changes(results: list[tuple[ProcessFile, str | None, str | None]], undo: bool) -> list[Change]:
	return [
		Change(
			file.path,
			before,
			after,
			file.restart,
			file.backup,
			None if undo else file.backup_content(before),
		)
		for file, before, after in results
		if after != before
	]


def _without_entry(results: list[tuple[ProcessFile, str | None, str | None]]) -> list[str]:
	"""Return a note for each file that does not start the realtime server, also after the set-up.

	Raises:
		SetupError: No file does.
	"""
	missing = [str(file.path) for file, _, after in results if not file.runs_frappe_realtime(after)]
	if len(missing) == len(results):
		raise SetupError(
			f"No entry of the realtime server was found in {', '.join(missing)}, and none can be added there. Nothing was "
			"changed. Let the bench write the file anew, and try again."
		)
	return [f"{path} has no entry of the realtime server, and was left as it is." for path in missing]


def _check_backups(contents: list[tuple[ProcessFile, str | None]]) -> None:
	missing = [(file, command) for file, content in contents if (command := file.missing_backup(content))]
	if missing:
		backups = ", ".join(str(file.backup) for file, _ in missing)
		commands = ", ".join(dict.fromkeys(f"`{command}`" for _, command in missing))
		raise SetupError(
			f"There is no backup with the former command: {backups}. Nothing was changed. "
			f"Let bench write the files anew ({commands}), or write the command of Frappe's server into them yourself."
		)


def _backend_notes(bench: Path) -> list[str]:
	"""Return what the key `socketio_backend` does beside frappe_realtime."""
	file = bench / "sites" / "common_site_config.json"
	try:
		config = json.loads(file.read_bytes())
	except (OSError, ValueError):
		return []
	if not isinstance(config, dict) or config.get(BACKEND_KEY) != EMBEDDED_BACKEND:
		return []
	return [
		f"{BACKEND_KEY} is {EMBEDDED_BACKEND} in {file}: a web process that runs `frappe.runner` or `frappe.asgi` answers "
		"/socket.io/ itself, and clients that reach it there get Frappe's server. Run "
		f"`bench set-config -g {BACKEND_KEY} node` and restart the web process, and let the proxy pass /socket.io to "
		"socketio_port (`bench setup nginx` does)."
	]
