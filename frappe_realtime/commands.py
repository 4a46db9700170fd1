"""The commands `bench realtime …`.

Frappe imports this module at the start of every `bench` command, and this module installs the overrides
(publishing/overrides.py): so they are in force in the console, in `bench execute`, in the scheduler and in the workers.
"""

from __future__ import annotations

import difflib
import os
from pathlib import Path

import click
from frappe.utils import get_bench_path

from .bench import process_config
from .bench import scaffold as new_handlers
from .publishing.overrides import install_overrides

install_overrides()


@click.group()
def realtime() -> None:
	"""The realtime server in Python."""


@realtime.command()
@click.option("--undo", is_flag=True, help="Put the Node server back.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
def setup(undo: bool, yes: bool) -> None:
	"""Put this server in the Node server's place: Procfile, supervisor and systemd.

	Shows each change and asks before it makes any; keeps a backup beside each file; can be repeated.
	"""
	try:
		changes = process_config.changes(Path(get_bench_path()).absolute(), undo=undo)
	except process_config.NotSetUp as error:
		raise click.ClickException(str(error)) from error
	if not changes:
		click.echo(
			f"Nothing to change: the bench runs {'the Node server' if undo else 'frappe_realtime'} already."
		)
		return
	for change in changes:
		click.echo("".join(_diff(change)))
	if not yes:
		click.confirm("Make these changes?", abort=True)
	for change in changes:
		if undo:
			_write(change.path, change.after)
			change.backup.unlink(missing_ok=True)
		else:
			if change.to_keep is not None:
				_write(change.backup, change.to_keep)
				click.echo(f"Kept {change.backup}")
			_write(change.path, change.after)
	click.echo("Now run, where the bench is started with it:")
	for change in changes:
		click.echo(f"  {change.path.name}: {change.then}")


def _diff(change: process_config.Change) -> list[str]:
	lines = difflib.unified_diff(
		change.before.splitlines(keepends=True),
		change.after.splitlines(keepends=True),
		str(change.path),
		str(change.path),
	)
	colours = {"+": "green", "-": "red"}
	return [click.style(line, fg=colours.get(line[0])) for line in lines]


def _write(path: Path, text: str) -> None:
	"""Whole or not at all; a link, as production set-ups make them, stays one."""
	target = path.resolve()
	new = target.with_name(target.name + ".new")
	new.write_text(text)
	if target.exists():
		new.chmod(target.stat().st_mode)
	os.replace(new, target)


@realtime.command("new-handlers")
@click.option("--app", required=True, help="The app that is to answer events.")
def write_new_handlers(app: str) -> None:
	"""Write a first handlers file for an app, with a test."""
	try:
		written = new_handlers.write(Path(get_bench_path()).absolute(), app)
	except (new_handlers.HasHandlers, new_handlers.NoSuchApp) as error:
		raise click.ClickException(str(error)) from error
	for path in written:
		click.echo(f"Wrote {path}")
	click.echo(
		f"Now run: bench run-tests --module {app}.realtime.test_handlers\n"
		"The realtime server loads a new file when it starts, with developer_mode at once."
	)


commands = [realtime]
