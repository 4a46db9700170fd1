"""The process configuration that the tools write which manage a bench: bench (frappe/bench), and pilot (frappe/pilot).

bench writes `Procfile`, `config/supervisor.conf` and `config/systemd/<bench>-node-socketio.service`, each on request, and
leaves them alone afterwards. pilot writes `config/Procfile`, `config/supervisor/supervisord.conf`,
`config/systemd/<bench>-socketio.service` and `config/gunicorn.conf.py` anew at each `bench start`. It links the units into
the folder of its user's systemd, where a drop-in outlasts that.
"""

from __future__ import annotations

import os
import pwd
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from .process_files import (
	COMPANION_TARGET,
	STOP_SECONDS,
	CommandFile,
	CompanionFile,
	DropIn,
	ProcessFile,
	SetupError,
	SupervisorFile,
	newline_of,
	read,
)

_SERVE = "frappe-realtime serve"
_DROP_IN = "frappe-realtime.conf"

# The entry of the realtime server in each file: group 1 is what precedes the command, group 2 is the command.
_PROCFILE = re.compile(r"^(socketio:[ \t]*)([^\r\n]*)", re.M)
_PROGRAM = r"^(\[program:{}-socketio\][^\[]*?^command[ \t]*=[ \t]*)([^\r\n]*)"
_SUPERVISOR = re.compile(_PROGRAM.format(r"[^\]\n]*"), re.M)
_SYSTEMD = re.compile(r"^(ExecStart=)([^\r\n]*)", re.M)
_COMPANION = re.compile(
	r"^(companion_workers = \[[^\r\n]*'name': 'socketio', 'target': )('[^']*'(?:, 'env': \{[^}]*\})?)", re.M
)

_BENCH_FILES = ("Procfile", "config/supervisor.conf", "config/systemd/*-node-socketio.service")
_PILOT_FILES = (
	"config/Procfile",
	"config/supervisor/supervisord.conf",
	"config/systemd/*-socketio.service",
	"config/gunicorn.conf.py (with companion_workers)",
)


def process_files(bench: Path, workers: str) -> list[ProcessFile]:
	"""Return the files that start the realtime server of a bench, in the layouts of bench and of pilot.

	Args:
		bench: The folder of the bench.
		workers: How many worker processes the server shall have; empty to leave that as it is.

	Raises:
		SetupError: The units of pilot belong to another user.
	"""
	return [file for file in (*_of_bench(bench, workers), *_of_pilot(bench, workers)) if file.is_present]


def nothing_found(bench: Path) -> str:
	"""Return what was looked for in a bench that has none of the files, and what to do."""
	command = f"{bench}/env/bin/{_SERVE} --bench {bench}"
	return (
		f"{bench} has no file that starts the realtime server. Looked for {', '.join(_BENCH_FILES)} (written by bench), "
		f"and {', '.join(_PILOT_FILES)} (written by pilot). Write one with `bench setup procfile`, `bench setup supervisor` "
		"or `bench setup systemd`, with pilot by `bench setup config`, and try again. If something else starts the processes, "
		f"such as a container or an own unit, give it the command `{command}` in place of Frappe's server."
	)


def _of_bench(bench: Path, workers: str) -> Iterator[ProcessFile]:
	node = f"{shutil.which('node') or shutil.which('nodejs') or 'node'} {bench}/apps/frappe/socketio.js"
	own = f"{bench}/env/bin/{_SERVE} --bench {bench}"
	yield CommandFile(
		bench / "Procfile",
		_PROCFILE,
		f"env/bin/{_SERVE} --bench .",
		"node apps/frappe/socketio.js",
		_add_to_procfile,
		"bench setup procfile",
		"end `bench start` and start it again",
		workers,
	)
	yield SupervisorFile(
		bench / "config" / "supervisor.conf",
		_supervisor_entry(bench / "config" / "supervisor.conf", bench),
		own,
		node,
		_add_to_supervisor,
		"bench setup supervisor",
		"sudo supervisorctl reread && sudo supervisorctl update",
		workers,
	)
	for unit in sorted((bench / "config" / "systemd").glob("*-node-socketio.service")):
		yield CommandFile(
			unit,
			_SYSTEMD,
			own,
			node,
			_add_nothing,
			"bench setup systemd",
			f"sudo systemctl daemon-reload && sudo systemctl restart {unit.name}",
			workers,
		)


def _of_pilot(bench: Path, workers: str) -> Iterator[ProcessFile]:
	node = f"node {bench}/apps/frappe/socketio.js"
	own = f"{bench}/env/bin/{_SERVE} --bench {bench}"
	again = "pilot writes {} anew at `bench start` and when its settings change: run `bench realtime setup` again after that."
	procfile = bench / "config" / "Procfile"
	yield CommandFile(
		procfile,
		_PROCFILE,
		own,
		node,
		_add_to_procfile,
		"bench setup config",
		"see below; `bench start` does not read this file",
		workers,
		f"pilot's `bench start` starts the server that bench.toml names, whatever is in {procfile}. In development, give "
		f"Node another port and start this server beside it: `FRAPPE_SOCKETIO_PORT=9999 bench start`, and `{own}`.",
	)
	supervisor = bench / "config" / "supervisor" / "supervisord.conf"
	yield SupervisorFile(
		supervisor,
		_supervisor_entry(supervisor, bench),
		own,
		node,
		_add_nothing,
		"bench setup config",
		f"supervisorctl -c {supervisor} reread && supervisorctl -c {supervisor} update",
		workers,
		again.format(supervisor),
	)
	gunicorn = bench / "config" / "gunicorn.conf.py"
	yield CompanionFile(
		gunicorn,
		_COMPANION,
		f"'{COMPANION_TARGET}'",
		"'frappe.gunicorn_companion:run_socketio'",
		_add_to_companions,
		"bench setup config",
		"bench restart",
		workers,
		again.format(gunicorn),
	)
	units = Path.home() / ".config" / "systemd" / "user"
	for name in _pilot_units(bench, units, own):
		_check_owner(bench)
		yield DropIn(
			units / f"{name}.d" / _DROP_IN,
			bench / "config" / "systemd" / name,
			own,
			f"systemctl --user daemon-reload && systemctl --user restart {name}",
			workers,
		)


def _supervisor_entry(file: Path, bench: Path) -> re.Pattern[str]:
	"""Return what finds the entry in a file of supervisor.

	By the name of the bench, where a program has it: an operator may have put those of other servers beside it. A bench whose folder was
	renamed has its former name there.
	"""
	own = re.compile(_PROGRAM.format(re.escape(bench.name) + "(?:-node)?"), re.M)
	return own if file.is_file() and own.search(read(file)) else _SUPERVISOR


def _pilot_units(bench: Path, units: Path, own: str) -> list[str]:
	"""Return the units that pilot has written for a bench, and those that only a drop-in of the bench is left of."""
	written = {unit.name for unit in (bench / "config" / "systemd").glob("*-socketio.service")}
	left = {
		drop_in.parent.name.removesuffix(".d")
		for drop_in in units.glob(f"*-socketio.service.d/{_DROP_IN}")
		if re.search(rf"{re.escape(own)}(?!\S)", read(drop_in))
	}
	return sorted(name for name in written | left if not name.endswith("-node-socketio.service"))


def _check_owner(bench: Path) -> None:
	owner = bench.stat().st_uid
	if owner != os.getuid():
		try:
			name = pwd.getpwuid(owner).pw_name
		except KeyError:
			name = str(owner)
		raise SetupError(
			f"{bench} belongs to the user {name}, and pilot's units run in the systemd of that user. "
			f"Nothing was changed. Run setup as {name}."
		)


def _add_to_procfile(content: str, command: str) -> str:
	newline = newline_of(content)
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
		f"stopwaitsecs={STOP_SECONDS}",
	]
	newline = newline_of(content)
	member = f"{group[0].rstrip()},{name}-node-socketio"
	return content[: group.start()] + newline.join([*program, "", ""]) + member + content[group.end() :]


def _add_to_companions(content: str, command: str) -> str:
	"""Add a companion, which pilot leaves out where it finds no Node, with the folders of the worker pool."""
	companions = re.search(r"^companion_workers = \[[^\r\n]*(\])[ \t]*\r?$", content, re.M)
	sites = re.search(r"'cwd': '([^']*)/sites'", companions[0]) if companions else None
	if not companions or not sites:
		return content
	bench = sites[1]
	companion = (
		f", {{'name': 'socketio', 'target': {command}, 'cwd': '{bench}', 'stop_timeout': 30, "
		f"'stdout': '{bench}/logs/socketio.log', 'stderr': 'stdout'}}"
	)
	return content[: companions.start(1)] + companion + content[companions.start(1) :]


def _add_nothing(content: str, command: str) -> str:
	return content
