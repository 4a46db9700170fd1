"""The change of the bench's process configuration, on the texts that bench writes."""

from __future__ import annotations

from pathlib import Path

import pytest

from frappe_realtime.bench import process_config
from frappe_realtime.bench.process_config import NotSetUp, changes

PROCFILE = """redis_cache: redis-server config/redis_cache.conf

web: bench serve  --port 8000

socketio: {command}

watch: bench watch
"""

SUPERVISOR = """[program:b-frappe-web]
command={bench}/env/bin/gunicorn -b 127.0.0.1:8000 frappe.app:application --preload
stdout_logfile={bench}/logs/web.log
user=frappe
directory={bench}/sites
startretries=10

{program}[group:b-web]
programs=b-frappe-web{member}

[group:b-workers]
programs=b-frappe-schedule
"""

PROGRAM = """[program:b-node-socketio]
command={command}
priority=4
stdout_logfile={bench}/logs/node-socketio.log
user=frappe
directory={bench}
startretries=10

"""

UNIT = """[Unit]
After=b-frappe-web.service

[Service]
User=frappe
ExecStart={command}
WorkingDirectory={bench}
"""


@pytest.fixture
def bench(tmp_path: Path) -> Path:
	executable = tmp_path / "env" / "bin" / "frappe-realtime"
	executable.parent.mkdir(parents=True)
	executable.touch()
	(tmp_path / "config" / "systemd").mkdir(parents=True)
	return tmp_path


def write(bench: Path, command: str = "/usr/bin/node {bench}/apps/frappe/socketio.js") -> None:
	command = command.format(bench=bench)
	(bench / "Procfile").write_text(PROCFILE.format(command=command.replace(f"{bench}/", "")))
	program = PROGRAM.format(bench=bench, command=command)
	supervisor = SUPERVISOR.format(bench=bench, program=program, member=" ,b-node-socketio")
	(bench / "config" / "supervisor.conf").write_text(supervisor)
	unit = bench / "config" / "systemd" / "b-node-socketio.service"
	unit.write_text(UNIT.format(bench=bench, command=command))


def make(bench: Path, **kwargs: bool) -> dict[str, str]:
	"""As the command does: the backup, then the file."""
	made = {}
	for change in changes(bench, **kwargs):
		if change.to_keep is not None:
			change.backup.write_text(change.to_keep)
		change.path.write_text(change.after)
		made[change.path.name] = change.after
	return made


def texts(bench: Path) -> dict[str, str]:
	return {str(path): path.read_text() for path in bench.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
	"command", ["/usr/bin/node {bench}/apps/frappe/socketio.js", "/usr/local/bin/bench socketio"]
)
def test_one_line_of_each_file_changes_and_comes_back(bench, command):
	write(bench, command)
	before = {path: path.read_text() for path in bench.rglob("*") if path.is_file()}
	made = make(bench)
	assert set(made) == {"Procfile", "supervisor.conf", "b-node-socketio.service"}
	assert "\nsocketio: env/bin/frappe-realtime serve --bench .\n" in made["Procfile"]
	ours = f"{bench}/env/bin/frappe-realtime serve --bench {bench}\n"
	assert f"[program:b-node-socketio]\ncommand={ours}" in made["supervisor.conf"]
	assert f"\nExecStart={ours}" in made["b-node-socketio.service"]
	for path, text in before.items():
		lines = zip(text.splitlines(), path.read_text().splitlines(), strict=True)
		assert sum(old != new for old, new in lines) == (path.name in made)
	assert changes(bench) == []
	make(bench, undo=True)
	assert {path: path.read_text() for path in before} == before
	assert changes(bench, undo=True) == []


def test_what_changed_in_between_stays(bench):
	write(bench)
	make(bench)
	procfile = bench / "Procfile"
	procfile.write_text(procfile.read_text() + "extra: run me\n")
	made = make(bench, undo=True)
	assert made["Procfile"].endswith("extra: run me\n")
	assert "socketio: /usr/bin/node apps/frappe/socketio.js\n" in made["Procfile"]


def test_without_a_backup_node_comes_back_too(bench, monkeypatch):
	monkeypatch.setattr(process_config.shutil, "which", lambda name: "/opt/node" if name == "node" else None)
	write(bench, f"{bench}/env/bin/frappe-realtime serve --bench {bench}")
	made = make(bench, undo=True)
	assert "socketio: node apps/frappe/socketio.js\n" in made["Procfile"]
	assert f"command=/opt/node {bench}/apps/frappe/socketio.js\n" in made["supervisor.conf"]


def test_a_bench_that_was_set_up_without_node_gets_the_entry(bench):
	(bench / "Procfile").write_text("web: bench serve")
	supervisor = bench / "config" / "supervisor.conf"
	supervisor.write_text(SUPERVISOR.format(bench=bench, program="", member=""))
	before = texts(bench)
	made = make(bench)
	assert made["Procfile"] == "web: bench serve\nsocketio: env/bin/frappe-realtime serve --bench .\n"
	program = made["supervisor.conf"].split("[program:b-node-socketio]\n")[1].split("\n\n")[0].splitlines()
	assert program == [
		f"command={bench}/env/bin/frappe-realtime serve --bench {bench}",
		"priority=4",
		"autostart=true",
		"autorestart=true",
		f"stdout_logfile={bench}/logs/node-socketio.log",
		f"stderr_logfile={bench}/logs/node-socketio.error.log",
		f"directory={bench}",
		"user=frappe",
		"startretries=10",
	]
	assert "[group:b-web]\nprograms=b-frappe-web,b-node-socketio\n" in made["supervisor.conf"]
	assert changes(bench) == []
	make(bench, undo=True)
	assert {path: text for path, text in texts(bench).items() if path in before} == before


def test_setting_up_again_keeps_what_was_there_before_the_first_time(bench):
	write(bench)
	before = (bench / "Procfile").read_text()
	make(bench)
	procfile = bench / "Procfile"
	procfile.write_text(procfile.read_text().replace("serve --bench .", "serve --bench /where/it/was"))
	assert "serve --bench .\n" in make(bench)["Procfile"]
	assert make(bench, undo=True)["Procfile"] == before


def test_a_file_that_bench_wrote_anew_is_kept_as_it_is_now(bench):
	write(bench)
	make(bench)
	write(bench, "/usr/bin/another-node {bench}/apps/frappe/socketio.js")
	anew = (bench / "Procfile").read_text()
	make(bench)
	assert make(bench, undo=True)["Procfile"] == anew


def test_a_kept_file_without_node_does_not_keep_node_away(bench):
	write(bench, f"{bench}/env/bin/frappe-realtime serve --bench /where/it/was")
	make(bench)
	assert "socketio: node apps/frappe/socketio.js\n" in make(bench, undo=True)["Procfile"]


def test_only_what_is_there_is_changed(bench):
	(bench / "Procfile").write_text(PROCFILE.format(command="node apps/frappe/socketio.js"))
	assert [change.path.name for change in changes(bench)] == ["Procfile"]


def test_a_bench_without_process_configuration(bench):
	with pytest.raises(NotSetUp, match="bench setup procfile"):
		changes(bench)


def test_an_environment_without_the_app(bench):
	write(bench)
	(bench / "env" / "bin" / "frappe-realtime").unlink()
	with pytest.raises(NotSetUp, match="bench setup requirements"):
		changes(bench)
	assert changes(bench, undo=True) == []
