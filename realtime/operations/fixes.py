"""What `frappe-realtime doctor --fix` changes: single keys of a configuration file, with a backup."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Sequence
from pathlib import Path

from .findings import KeyChange

BACKUP_SUFFIX = ".before-doctor"


def describe(change: KeyChange) -> str:
	"""Return what a change does, in words and without secrets."""
	shown = change.shown
	return (
		f"set {change.key} from {shown['before']} to {shown['after']} in {change.file}, "
		f"and keep the present file as {backup_of(change.file).name}"
	)


def backup_of(file: Path) -> Path:
	"""Return where the content from before the last change is kept."""
	return file.with_name(file.name + BACKUP_SUFFIX)


def apply(changes: Sequence[KeyChange]) -> dict[Path, str]:
	"""Make changes, keep the former content of each file beside it, and return by file the command that undoes its changes.

	Raises:
		OSError: A file cannot be read or written.
		ValueError: The file does not hold a JSON object.
	"""
	undo = {}
	after = {}
	for file in dict.fromkeys(change.file for change in changes):
		target = file.resolve()
		before = target.read_bytes()
		content = json.loads(before)
		if not isinstance(content, dict):
			raise ValueError(f"{target} does not hold a JSON object")
		content.update({change.key: change.after for change in changes if change.file == file})
		after[target] = (json.dumps(content, indent=1, sort_keys=False) + "\n").encode()
		backup = backup_of(target)
		_write(backup, before, target)
		undo[file] = f"mv {shlex.quote(str(backup))} {shlex.quote(str(target))}"
	# Not before all have been read and kept: an error has changed nothing.
	for target, content in after.items():
		_write(target, content, target)
	return undo


def _write(file: Path, content: bytes, like: Path) -> None:
	"""Write a file in one step, with the permissions of another."""
	new = file.with_name(file.name + ".new")
	descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
	with os.fdopen(descriptor, "wb") as stream:
		stream.write(content)
	new.chmod(like.stat().st_mode)
	os.replace(new, file)
