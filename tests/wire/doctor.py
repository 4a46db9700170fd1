"""`frappe-realtime doctor`, run for a bench of the tests, and the remedies that it names."""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from tests.broken_benches import ROWS, fits
from tests.wire.bench import APP_SITE, STOCK_SITE, Bench
from tests.wire.command import run_command
from tests.wire.sidecar import Sidecar

Action = Callable[[], object]

ON_APP_SITE = ("--site", APP_SITE)


def run_doctor(bench: Bench, *arguments: str, env: dict[str, str] | None = None) -> tuple[int, str]:
	"""Run the doctor; return its exit code and its output."""
	# With a file of a process manager, its commands are the same where the tests run in a container.
	manager = bench.folder / "config" / "gunicorn.conf.py"
	manager.parent.mkdir(exist_ok=True)
	manager.touch()
	result = run_command("doctor", "--bench", str(bench.folder), *arguments, env=env)
	return result.code, result.output


class Remedy(NamedTuple):
	"""The last line of the doctor: what is wrong, where, and the command that mends it."""

	kind: str
	what: str
	where: str
	command: str


def remedies(said: str) -> list[Remedy]:
	"""Return what the doctor's last lines name."""
	lines = re.findall(r"^(Cause|Note): (.*?)\. Where: (.*?)\. Run: (.*)$", said, re.MULTILINE)
	return [Remedy(*line) for line in lines]


def holds(row: str, remedy: Remedy) -> Remedy:
	"""Fail unless a line of the doctor is the one in a row of docs/broken-benches.md; return the line."""
	assert fits(ROWS[row].doctor, remedy.what), remedy
	assert fits(ROWS[row].remedy, remedy.command), remedy
	return remedy


def diagnose(
	bench: Bench, *arguments: str, env: dict[str, str] | None = None, code: int = 1, row: str = ""
) -> Remedy:
	"""Run the doctor; fail unless it ends with exactly one line that names a cause, or a note if `code` is 0.

	Args:
		bench: The bench.
		arguments: Arguments of the doctor.
		env: Further environment variables.
		code: The exit code.
		row: The row of docs/broken-benches.md that the line must fit; empty for none.
	"""
	exit_code, said = run_doctor(bench, *arguments, env=env)
	assert exit_code == code, said
	named = remedies(said)
	assert len(named) == 1, said
	assert said.rstrip().splitlines()[-1].startswith("Cause: " if code else "Note: "), said
	assert said.count("\nFAILED") == (1 if code else 0), said
	return holds(row, named[0]) if row else named[0]


def cure(bench: Bench, command: str, actions: dict[str, Action] | None = None) -> None:
	"""Do what an operator does with a command of the doctor.

	Args:
		bench: The bench.
		command: One command or several, joined by `&&`.
		actions: What stands for a command that is not known here, by its first words.
	"""
	for part in command.split(" && "):
		action = next((action for start, action in (actions or {}).items() if part.startswith(start)), None)
		if action is not None:
			action()
		else:
			_do(bench, shlex.split(part))


def _do(bench: Bench, words: list[str]) -> None:
	match words:
		case ["bench", "set-config", "-g", "-p", key, value]:
			bench.write_config(**{key: json.loads(value)})
		case ["bench", "set-config", "-g", key, value]:
			bench.write_config(**{key: int(value) if value.isdigit() else value})
		case ["bench", "config", "remove-common-config", key]:
			bench.write_config(**{key: None})
		case ["bench", "--site", site, "set-config", key, value]:
			set_site_key(bench, site, key, int(value) if value.isdigit() else value)
		case ["bench", "restart"] | ["bench", "start"]:
			bench.sidecar.restart()
			bench.wait_until_subscribed()
		case ["chmod", mode, path]:
			assert mode.startswith("u+")
			os.chmod(path, 0o755 if Path(path).is_dir() else 0o644)
		case ["redis-cli", "-u", url, *command]:
			assert url == bench.valkey.url
			bench.valkey.client.execute_command(*command)
		case _:
			raise AssertionError(f"unknown command: {shlex.join(words)}")


def set_site_key(bench: Bench, site: str, key: str, value: Any) -> None:
	"""Write one key of a site's configuration."""
	file = bench.folder / "sites" / site / "site_config.json"
	bench.write(f"sites/{site}/site_config.json", {**json.loads(file.read_text()), key: value})


def is_well(bench: Bench, *arguments: str) -> str:
	"""Fail unless the doctor ends well; return its output."""
	code, said = run_doctor(bench, *arguments)
	assert code == 0, said
	assert "FAILED" not in said, said
	assert "Everything that could be checked works." in said, said
	return said


def with_addresses(bench: Bench) -> Bench:
	"""Give both sites an address that is reached, and return the bench."""
	for site in (APP_SITE, STOCK_SITE):
		set_site_key(bench, site, "host_name", bench.sidecar.url)
	return bench


def common(bench: Bench) -> str:
	"""Return the path of common_site_config.json."""
	return str(bench.folder / "sites" / "common_site_config.json")


def replace_sidecar(bench: Bench, env: dict[str, str] | None = None, **options: object) -> None:
	"""Start another sidecar on the same port in place of the present one, by default without more variables, as a restart does."""
	if bench.sidecar.alive:
		bench.sidecar.stop()
	port = bench.sidecar.port
	bench.sidecar = Sidecar(bench.folder, bench.sidecar.log_path, env=env, port=port, **options)  # type: ignore[arg-type]
	bench.sidecar.start()
	bench.wait_until_subscribed()
