"""The commands `bench realtime …` on the files of a bench."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from tests.unit.docs.blocks import Block, blocks_in

PROCFILE = b"web: bench serve\r\nsocketio: A=1 node apps/frappe/socketio.js\r\n"


@pytest.fixture
def bench(frappe: Any, tmp_path: Path) -> Path:
	executable = tmp_path / "env" / "bin" / "frappe-realtime"
	executable.parent.mkdir(parents=True)
	executable.touch()
	(tmp_path / "Procfile").write_bytes(PROCFILE)
	frappe.bench = str(tmp_path)
	return tmp_path


def run(*arguments: str) -> Result:
	commands = importlib.import_module("frappe_realtime.commands")
	return CliRunner().invoke(commands.realtime, arguments)


def test_setup_and_undo_restore_every_byte(bench: Path) -> None:
	assert "supervisorctl" not in run("setup", "--yes").output
	procfile = bench / "Procfile"
	assert procfile.read_bytes() == PROCFILE.replace(
		b"node apps/frappe/socketio.js", b"env/bin/frappe-realtime serve --bench ."
	)
	assert "Nothing to change" in run("setup").output
	assert run("setup", "--undo", "--yes").exit_code == 0
	assert procfile.read_bytes() == PROCFILE
	assert [path.name for path in bench.iterdir() if path.is_file()] == ["Procfile"]


def test_setup_with_workers_and_undo_restore_every_byte(bench: Path) -> None:
	run("setup", "--workers", "auto", "--yes")
	procfile = bench / "Procfile"
	assert procfile.read_bytes() == PROCFILE.replace(
		b"node apps/frappe/socketio.js", b"env/bin/frappe-realtime serve --bench . --workers auto"
	)
	assert run("setup", "--undo", "--yes").exit_code == 0
	assert procfile.read_bytes() == PROCFILE


@pytest.mark.parametrize("value", ["0", "-1", "many", "2.5", "100000", "2; rm -r /"])
def test_setup_refuses_another_number_of_workers(bench: Path, value: str) -> None:
	result = run("setup", "--workers", value, "--yes")
	assert result.exit_code == 2
	assert "from 1 to 1024, or auto" in result.output
	assert (bench / "Procfile").read_bytes() == PROCFILE


def test_undo_without_a_backup_fails_with_a_message(bench: Path) -> None:
	run("setup", "--yes")
	(bench / "Procfile.before-frappe-realtime").unlink()
	before = (bench / "Procfile").read_bytes()
	result = run("setup", "--undo", "--yes")
	assert result.exit_code == 1
	assert "Procfile.before-frappe-realtime" in result.output
	assert (bench / "Procfile").read_bytes() == before


def test_setup_asks_before_it_writes(bench: Path) -> None:
	result = run("setup")
	assert result.exit_code == 1
	assert "+socketio: A=1 env/bin/frappe-realtime serve --bench ." in result.output
	assert (bench / "Procfile").read_bytes() == PROCFILE


def test_a_file_that_cannot_be_written_is_named(bench: Path, monkeypatch: pytest.MonkeyPatch) -> None:
	commands = importlib.import_module("frappe_realtime.commands")
	write = commands._write

	def refuse(path: Path, content: str, **options: Any) -> None:
		if path.name == "supervisor.conf":
			raise PermissionError(13, "Permission denied", str(path))
		write(path, content, **options)

	supervisor = bench / "config" / "supervisor.conf"
	supervisor.parent.mkdir()
	supervisor.write_text(f"[program:b-node-socketio]\ncommand=node {bench}/apps/frappe/socketio.js\n")
	with monkeypatch.context() as patched:
		patched.setattr(commands, "_write", refuse)
		result = run("setup", "--yes")
	assert result.exit_code == 1
	assert f"{supervisor} cannot be changed: " in result.output
	assert not isinstance(result.exception, OSError)
	result = run("setup", "--yes")
	assert result.exit_code == 0, "it can be repeated"
	assert "frappe-realtime serve" in supervisor.read_text()


def test_a_file_and_its_backup_keep_the_permissions(bench: Path) -> None:
	"""The environment of a program may have a password."""
	procfile = bench / "Procfile"
	procfile.chmod(0o600)
	run("setup", "--yes")
	for path in (procfile, bench / "Procfile.before-frappe-realtime"):
		assert path.stat().st_mode & 0o777 == 0o600, path


def test_new_handlers_prints_a_test_command_with_a_site(bench: Path) -> None:
	package = bench / "apps" / "greeter" / "greeter"
	package.mkdir(parents=True)
	(package / "__init__.py").touch()
	command = "bench --site SITE run-tests --module greeter.realtime.test_handlers"
	assert command in run("new-handlers", "--app", "greeter").output
	assert command in (package / "realtime" / "test_handlers.py").read_text()


def test_new_handlers_names_the_handlers_that_do_not_run_any_more(bench: Path) -> None:
	app = bench / "apps" / "greeter"
	for file in (app / "greeter" / "__init__.py", app / "realtime" / "handlers.js"):
		file.parent.mkdir(parents=True)
		file.touch()
	result = run("new-handlers", "--app", "greeter")
	assert f"{app}/realtime/handlers.js is not loaded any more" in result.output


def test_new_handlers_fails_with_a_message_where_it_may_not_write(
	bench: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
	commands = importlib.import_module("frappe_realtime.commands")

	def refuse(bench: Path, app: str) -> list[Path]:
		raise PermissionError(13, "Permission denied", f"{bench}/apps/{app}")

	monkeypatch.setattr(commands.scaffold, "write_handlers", refuse)
	result = run("new-handlers", "--app", "greeter")
	assert result.exit_code == 1
	assert "Permission denied" in result.output


@pytest.mark.parametrize("block", blocks_in("sh"), ids=str)
def test_documented_commands_have_these_names_and_options(frappe: Any, block: Block) -> None:
	commands = importlib.import_module("frappe_realtime.commands")
	for words in block.commands():
		if words[:2] == ["bench", "realtime"]:
			command = commands.realtime.commands[words[2]]
			command.make_context(words[2], words[3:])


def test_the_doctor_is_the_command_of_the_sidecar(bench: Path, capfd: pytest.CaptureFixture[str]) -> None:
	site = bench / "sites" / "one.test"
	site.mkdir(parents=True)
	(site / "site_config.json").write_text("{}")
	result = run("doctor", "--site", "nosuch", "--json")
	printed = json.loads(capfd.readouterr().out)
	assert result.exit_code == 1
	assert printed["bench"] == str(bench)
	assert [cause["code"] for cause in printed["causes"]] == ["folder.missing"]


@pytest.mark.parametrize(
	("words", "site"),
	[
		(["realtime", "doctor"], None),
		(["--site", "one.test", "realtime", "doctor"], "one.test"),
		(["--site", "one.test", "realtime", "doctor", "--site", "two.test"], "two.test"),
		(["--site", "all", "realtime", "doctor"], None),
	],
)
def test_the_doctor_checks_the_site_that_bench_is_given(
	bench: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], site: str | None
) -> None:
	commands = importlib.import_module("frappe_realtime.commands")
	ran: list[list[str]] = []

	def run(command: list[str], check: bool) -> SimpleNamespace:
		ran.append(command)
		return SimpleNamespace(returncode=0)

	monkeypatch.setattr(commands.subprocess, "run", run)
	frappe_group = click.Group(commands={"realtime": commands.realtime}, params=[click.Option(["--site"])])
	assert CliRunner().invoke(frappe_group, words).exit_code == 0
	(command,) = ran
	assert command[command.index("doctor") :] == [
		"doctor",
		"--bench",
		str(bench),
		*(["--site", site] if site else []),
	]


def test_the_doctor_passes_on_its_exit_code(bench: Path, capfd: pytest.CaptureFixture[str]) -> None:
	assert run("doctor").exit_code == 3, "there is no folder of sites"
	assert "is not a bench" in capfd.readouterr().err
