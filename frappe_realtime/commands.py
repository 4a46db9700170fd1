"""The commands `bench realtime …`.

Frappe imports this module at the start of every `bench` command, and this module installs the overrides
(overrides.py): so they are in force in the console, in `bench execute`, in the scheduler and in the workers.
"""

from __future__ import annotations

import difflib
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import click
from frappe.utils import get_bench_path

from .bench import process_config, scaffold
from .bench.process_files import SetupError
from .contract.settings import AUTO_WORKERS, MAX_WORKERS
from .overrides import install_overrides

install_overrides()


def _check_workers(context: click.Context, parameter: click.Parameter, value: str) -> str:
	if value in ("", AUTO_WORKERS) or (value.isdecimal() and 1 <= int(value) <= MAX_WORKERS):
		return value
	raise click.BadParameter(f"it must be from 1 to {MAX_WORKERS}, or {AUTO_WORKERS}")


@click.group()
def realtime() -> None:
	"""Set up the realtime server in Python, and write handlers for it."""


@realtime.command()
@click.option("--undo", is_flag=True, help="Restore Frappe's own server.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask for confirmation.")
@click.option(
	"--workers",
	default="",
	metavar="N",
	callback=_check_workers,
	help="Worker processes behind the port: a number, or auto for one each core. Without it, this stays as it is.",
)
def setup(undo: bool, yes: bool, workers: str) -> None:
	"""Replace Frappe's own server in the files of bench and of pilot: Procfile, supervisor, systemd, gunicorn's companions.

	Shows the changes and asks before it makes them, and keeps a backup beside each file. It can be repeated.
	"""
	try:
		plan = process_config.plan(_bench_path(), undo=undo, workers=workers)
	except SetupError as error:
		raise click.ClickException(str(error)) from error
	except OSError as error:
		raise click.ClickException(f"a file cannot be read: {error}. Nothing was changed.") from error
	if not plan.changes:
		server = "Frappe's own server" if undo else "frappe_realtime"
		click.echo(f"Nothing to change: the bench runs {server} already.")
	else:
		_make(plan.changes, undo, yes)
	for note in plan.notes:
		click.echo(f"Note: {note}")


def _make(changes: Sequence[process_config.Change], undo: bool, yes: bool) -> None:
	"""Show changes, make them after a confirmation, and say what to restart."""
	for change in changes:
		click.echo("".join(_diff(change)))
	if not yes:
		click.confirm("Make these changes?", abort=True)
	for change in changes:
		try:
			_apply(change, undo)
		except OSError as error:
			raise click.ClickException(
				f"{change.path} cannot be changed: {error}. Files that are listed above it are changed already. "
				"Let its owner run the command again."
			) from error
	click.echo("To restart the server, depending on what starts the bench:")
	for change in changes:
		click.echo(f"  {change.path.name}: {change.restart}")


def _apply(change: process_config.Change, undo: bool) -> None:
	if change.backup_content is not None:
		_write(change.backup, change.backup_content, like=change.path)
		click.echo(f"Backup: {change.backup}")
	if change.after is None:
		_remove(change.path)
	else:
		_write(change.path, change.after)
	if undo:
		change.backup.unlink(missing_ok=True)


@realtime.command("new-handlers")
@click.option("--app", required=True, help="The app that gets the handlers.")
def new_handlers(app: str) -> None:
	"""Write a first handlers file for an app, with a test."""
	bench = _bench_path()
	try:
		written = scaffold.write_handlers(bench, app)
	except (scaffold.ScaffoldError, OSError) as error:
		raise click.ClickException(str(error)) from error
	for path in written:
		click.echo(f"Wrote {path}")
	javascript = bench / "apps" / app / "realtime" / "handlers.js"
	if javascript.is_file():
		click.echo(f"Note: {javascript} is not loaded any more, because the app has handlers in Python.")
	click.echo(
		f"To run the test: {scaffold.testing_command(app)}\n"
		"The realtime server loads a new file when it starts; with developer_mode, within a second or two."
	)


@realtime.command()
@click.option("--site", help="Check this site only.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option(
	"--fix", is_flag=True, help="Correct keys whose right value is certain; the change can be undone."
)
def doctor(site: str | None, as_json: bool, fix: bool) -> None:
	"""Find out why realtime does not work: the same as `frappe-realtime doctor`."""
	arguments = ["doctor", "--bench", str(_bench_path())]
	site = site or _site_of_bench()
	arguments += ["--site", site] if site else []
	arguments += ["--json"] if as_json else []
	arguments += ["--fix"] if fix else []
	# In its own process, because the sidecar's modules run without Frappe.
	command = [sys.executable, "-c", "from frappe_realtime.bench.launch import main; main()", *arguments]
	sys.exit(subprocess.run(command, check=False).returncode)


def _bench_path() -> Path:
	return Path(get_bench_path()).absolute()


def _site_of_bench() -> str | None:
	"""Return the site of `bench --site SITE realtime …`; None without it, and for `--site all`."""
	context = click.get_current_context().parent
	while context is not None and "site" not in context.params:
		context = context.parent
	site: str | None = None if context is None else context.params["site"]
	return None if site == "all" else site


def _diff(change: process_config.Change) -> list[str]:
	lines = difflib.unified_diff(
		(change.before or "").splitlines(keepends=True),
		(change.after or "").splitlines(keepends=True),
		str(change.path),
		str(change.path),
	)
	colours = {"+": "green", "-": "red"}
	return [click.style(line, fg=colours.get(line[0])) for line in lines]


def _write(path: Path, content: str, like: Path | None = None) -> None:
	"""Replace a file in one step; it has its present permissions, or those of `like` if it is new.

	A link, as production set-ups make them, stays a link.
	"""
	target = path.resolve()
	target.parent.mkdir(parents=True, exist_ok=True)
	model = target if target.exists() else like
	new = target.with_name(target.name + ".new")
	new.unlink(missing_ok=True)
	# The environment of a program may have a password: nobody else reads the file before it has its permissions.
	new.touch(0o666 if model is None else 0o600)
	new.write_bytes(content.encode())
	if model is not None:
		new.chmod(model.stat().st_mode)
	os.replace(new, target)


def _remove(path: Path) -> None:
	"""Remove a file, and its folder if that is empty then, as the folder of a unit's drop-ins."""
	path.unlink(missing_ok=True)
	if not any(path.parent.iterdir()):
		path.parent.rmdir()


commands = [realtime]
