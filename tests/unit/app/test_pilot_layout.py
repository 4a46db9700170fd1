"""`bench realtime setup` and `--undo` on the files that pilot writes for a bench."""

from __future__ import annotations

import importlib
import runpy
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from frappe_realtime.bench import companion, layouts

NODE = "node {bench}/apps/frappe/socketio.js"
PYTHON = "{bench}/env/bin/python -m frappe.realtime.server"

PROCFILE = """web: {bench}/env/bin/python -m frappe.utils.bench_helper frappe serve --port 8000
socketio: {command}
redis_queue: redis-server {bench}/config/redis_queue.conf
"""

SUPERVISOR = """[unix_http_server]
file={bench}/config/supervisor/supervisord.sock
chmod=0700

[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface

[group:main]
programs=main-web,main-socketio

[group:main-admin]
programs=main-admin

[program:main-web]
command={bench}/env/bin/gunicorn -c ../config/gunicorn.conf.py frappe.app:application
environment=MALLOC_ARENA_MAX="2"
directory={bench}/sites
autostart=true

[program:main-socketio]
command={command}
environment=MALLOC_ARENA_MAX="2"
directory={bench}/sites
autostart=true
stdout_logfile={bench}/logs/socketio.log
stopasgroup=true

[program:main-admin]
command=gunicorn admin.backend.wsgi:application
"""

UNIT = """[Unit]
Description=main socketio
PartOf=main.target

[Service]
Type=simple
WorkingDirectory={bench}/sites
ExecStart={command}
Restart=on-failure
StandardOutput=append:{bench}/logs/socketio.log
"""

POOL = {
	"name": "worker-pool",
	"target": "frappe.gunicorn_companion:run_worker_pool",
	"cwd": "{bench}/sites",
	"stop_timeout": 1560,
	"stdout": "{bench}/logs/worker-pool.log",
	"stderr": "stdout",
	"env": {"FRAPPE_COMPANION_QUEUE": "default", "FRAPPE_COMPANION_NUM_WORKERS": "1"},
}
SOCKETIO = {
	"name": "socketio",
	"target": "frappe.gunicorn_companion:run_socketio",
	"cwd": "{bench}",
	"stop_timeout": 30,
	"stdout": "{bench}/logs/socketio.log",
	"stderr": "stdout",
}


@pytest.fixture
def bench(frappe: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
	root = tmp_path / "benches" / "main"
	for folder in ("env/bin", "config/supervisor", "config/systemd", "sites"):
		(root / folder).mkdir(parents=True)
	(root / "env" / "bin" / "frappe-realtime").touch()
	(root / "bench.toml").write_text('[bench]\nname = "main"\n')
	monkeypatch.setenv("HOME", str(tmp_path / "home"))
	frappe.bench = str(root)
	return root


def write(bench: Path, command: str = NODE) -> None:
	"""Write the files of development, of supervisor and of systemd, as if the manager had been changed twice."""
	command = command.format(bench=bench)
	(bench / "config" / "Procfile").write_text(PROCFILE.format(bench=bench, command=command))
	supervisor = SUPERVISOR.format(bench=bench, command=command)
	(bench / "config" / "supervisor" / "supervisord.conf").write_text(supervisor)
	unit = bench / "config" / "systemd" / "main-socketio.service"
	unit.write_text(UNIT.format(bench=bench, command=command))
	(bench / "config" / "gunicorn.conf.py").write_text('bind = "127.0.0.1:8000"\nworkers = 2\n')


def write_companions(bench: Path, *companions: dict[str, Any]) -> Path:
	file = bench / "config" / "gunicorn.conf.py"
	written = repr(list(companions)).replace("{bench}", str(bench))
	file.write_text(
		f'import os\n\nbind = "127.0.0.1:8000"\n\ncompanion_workers = {written}\n\n\ndef on_starting(server):\n\tpass\n'
	)
	return file


def companions_of(file: Path) -> list[dict[str, Any]]:
	found = runpy.run_path(str(file))["companion_workers"]
	assert isinstance(found, list)
	return found


def tree(folder: Path) -> dict[str, bytes]:
	"""Return each file and folder below a folder; a folder has no content."""
	return {str(path): path.read_bytes() if path.is_file() else b"" for path in folder.rglob("*")}


def run(*arguments: str) -> Result:
	commands = importlib.import_module("frappe_realtime.commands")
	return CliRunner().invoke(commands.realtime, arguments)


@pytest.mark.parametrize("workers", ["", "4", "auto"])
@pytest.mark.parametrize("command", [NODE, PYTHON])
def test_setup_and_undo_restore_every_byte(bench: Path, command: str, workers: str) -> None:
	write(bench, command)
	units = Path.home() / ".config" / "systemd" / "user"
	units.mkdir(parents=True)
	before, home = tree(bench), tree(Path.home())
	arguments = ["--workers", workers] if workers else []
	result = run("setup", "--yes", *arguments)
	assert result.exit_code == 0, result.output
	own = f"{bench}/env/bin/frappe-realtime serve --bench {bench}" + (
		f" --workers {workers}" if workers else ""
	)
	assert f"\nsocketio: {own}\n" in (bench / "config" / "Procfile").read_text()
	supervisor = bench / "config" / "supervisor" / "supervisord.conf"
	assert f"[program:main-socketio]\ncommand={own}\nenvironment=" in supervisor.read_text()
	unit = bench / "config" / "systemd" / "main-socketio.service"
	assert unit.read_bytes() == before[str(unit)]
	drop_in = units / "main-socketio.service.d" / "frappe-realtime.conf"
	assert drop_in.read_text().endswith(f"\n[Service]\nExecStart=\nExecStart={own}\n")
	assert "systemctl --user restart main-socketio.service" in result.output
	assert f"supervisorctl -c {supervisor} update" in result.output
	after = tree(bench)
	assert "Nothing to change" in run("setup", "--yes").output
	assert tree(bench) == after
	assert run("setup", "--undo", "--yes").exit_code == 0
	assert tree(bench) == before
	assert tree(Path.home()) == home
	assert "Nothing to change" in run("setup", "--undo").output


def test_another_number_of_workers_replaces_the_first(bench: Path) -> None:
	write(bench)
	before = tree(bench)
	for workers in ("2", "3"):
		assert run("setup", "--yes", "--workers", workers).exit_code == 0
	drop_in = Path.home() / ".config/systemd/user/main-socketio.service.d/frappe-realtime.conf"
	for file in (drop_in, bench / "config" / "Procfile"):
		assert "--workers 3\n" in file.read_text()
		assert "--workers 2" not in file.read_text()
	run("setup", "--undo", "--yes")
	assert tree(bench) == before


def test_the_operator_learns_what_pilot_writes_anew_and_what_it_does_not_read(bench: Path) -> None:
	write(bench)
	output = run("setup", "--yes").output
	procfile = bench / "config" / "Procfile"
	assert f"whatever is in {procfile}" in output
	assert f"pilot writes {bench}/config/supervisor/supervisord.conf anew" in output
	assert "FRAPPE_SOCKETIO_PORT=9999 bench start" in output


def test_a_drop_in_outlasts_a_unit_that_is_written_anew(bench: Path) -> None:
	write(bench)
	run("setup", "--yes", "--workers", "2")
	write(bench, PYTHON)
	output = run("setup", "--yes").output
	assert "supervisord.conf" in output
	assert "+ExecStart" not in output
	drop_in = Path.home() / ".config/systemd/user/main-socketio.service.d/frappe-realtime.conf"
	assert "--workers 2\n" in drop_in.read_text()
	run("setup", "--undo", "--yes")
	assert PYTHON.format(bench=bench) in (bench / "config" / "supervisor" / "supervisord.conf").read_text()
	assert not drop_in.parent.exists()


def test_undo_removes_a_drop_in_whose_unit_is_gone(bench: Path) -> None:
	write(bench)
	run("setup", "--yes")
	(bench / "config" / "systemd" / "main-socketio.service").unlink()
	run("setup", "--undo", "--yes")
	assert not list(Path.home().rglob("*.conf"))


def test_a_unit_of_another_user_is_refused(bench: Path, monkeypatch: pytest.MonkeyPatch) -> None:
	write(bench)
	before = tree(bench)
	monkeypatch.setattr(layouts.os, "getuid", lambda: bench.stat().st_uid + 1)
	result = run("setup", "--yes")
	assert result.exit_code == 1
	assert "belongs to the user" in result.output
	assert tree(bench) == before


def test_a_unit_with_another_command_is_refused(bench: Path) -> None:
	write(bench)
	unit = bench / "config" / "systemd" / "main-socketio.service"
	unit.write_text(UNIT.format(bench=bench, command="/usr/bin/my-server --fast"))
	before = tree(bench)
	result = run("setup", "--yes")
	assert result.exit_code == 1
	assert "/usr/bin/my-server --fast" in result.output
	assert tree(bench) == before


@pytest.mark.parametrize("companions", [[POOL, SOCKETIO], [POOL]], ids=["with socketio", "without node"])
@pytest.mark.parametrize("workers", ["", "4"])
def test_a_companion_of_gunicorn(bench: Path, companions: list[dict[str, Any]], workers: str) -> None:
	file = write_companions(bench, *companions)
	before = tree(bench)
	(pool, *_) = companions_of(file)
	arguments = ["--workers", workers] if workers else []
	result = run("setup", "--yes", *arguments)
	assert result.exit_code == 0, result.output
	assert companions_of(file) == [
		pool,
		{
			"name": "socketio",
			"target": "frappe_realtime.bench.companion:run_socketio",
			"cwd": str(bench),
			"stop_timeout": 30,
			"stdout": f"{bench}/logs/socketio.log",
			"stderr": "stdout",
			**({"env": {"FRAPPE_SOCKETIO_WORKERS": workers}} if workers else {}),
		},
	]
	assert "Nothing to change" in run("setup", "--yes").output
	assert f"pilot writes {file} anew" in result.output
	run("setup", "--undo", "--yes")
	assert tree(bench) == before


def test_another_number_of_workers_of_a_companion(bench: Path) -> None:
	file = write_companions(bench, POOL, SOCKETIO)
	before = tree(bench)
	run("setup", "--yes", "--workers", "2")
	run("setup", "--yes", "--workers", "auto")
	assert companions_of(file)[1]["env"] == {"FRAPPE_SOCKETIO_WORKERS": "auto"}
	run("setup", "--undo", "--yes")
	assert tree(bench) == before


def test_another_companion_is_refused(bench: Path) -> None:
	write_companions(bench, POOL, SOCKETIO | {"target": "my_app.server:run"})
	result = run("setup", "--yes")
	assert result.exit_code == 1
	assert "my_app.server:run" in result.output


def test_an_environment_of_the_companion_is_kept(bench: Path) -> None:
	own = {"env": {"MY_VARIABLE": "1"}}
	file = write_companions(
		bench, POOL, {"name": "socketio", "target": SOCKETIO["target"], **own, "cwd": "/b"}
	)
	before = tree(bench)
	refused = run("setup", "--yes", "--workers", "2")
	assert refused.exit_code == 1
	assert "socketio_workers" in refused.output
	assert tree(bench) == before
	run("setup", "--yes")
	assert companions_of(file)[1]["env"] == {"MY_VARIABLE": "1"}
	assert companions_of(file)[1]["target"] == "frappe_realtime.bench.companion:run_socketio"
	run("setup", "--undo", "--yes")
	assert tree(bench) == before


def test_the_companion_becomes_the_sidecar(bench: Path, monkeypatch: pytest.MonkeyPatch) -> None:
	called: list[Any] = []
	monkeypatch.setattr(companion.os, "execv", lambda *arguments: called.append(arguments))
	monkeypatch.chdir(bench)
	companion.run_socketio()
	executable = f"{bench}/env/bin/frappe-realtime"
	assert called == [(executable, [executable, "serve", "--bench", str(bench)])]
