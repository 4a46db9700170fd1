"""What `frappe-realtime doctor --fix` changes: single keys of a configuration file, with a backup."""

from __future__ import annotations

import json
import os
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


def apply(change: KeyChange) -> str:
	"""Change the key, keep the former content of the file beside it, and return the command that undoes the change.

	Raises:
		OSError: A file cannot be read or written.
		ValueError: The file does not hold a JSON object.
	"""
	target = change.file.resolve()
	before = target.read_bytes()
	content = json.loads(before)
	if not isinstance(content, dict):
		raise ValueError(f"{target} does not hold a JSON object")
	content[change.key] = change.after
	backup = backup_of(target)
	_write(backup, before, target)
	_write(target, (json.dumps(content, indent=1, sort_keys=False) + "\n").encode(), target)
	return f"mv {backup} {target}"


def _write(file: Path, content: bytes, like: Path) -> None:
	"""Write a file in one step, with the permissions of another."""
	new = file.with_name(file.name + ".new")
	descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
	with os.fdopen(descriptor, "wb") as stream:
		stream.write(content)
	new.chmod(like.stat().st_mode)
	os.replace(new, file)
