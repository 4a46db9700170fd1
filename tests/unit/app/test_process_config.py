"""The changes of a bench's process configuration, on the files that bench writes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from frappe_realtime.bench.process_config import Change, plan
from frappe_realtime.bench.process_files import STOP_SECONDS, SetupError
from realtime.server import DRAIN_SECONDS, FLUSH_SECONDS, HANDOVER_SECONDS
from realtime.workers import processes

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


def changes(bench: Path, **kwargs: Any) -> list[Change]:
	return plan(bench, **kwargs).changes


def make(bench: Path, **kwargs: Any) -> dict[str, str]:
	"""Write the changes as the command does: first the backup, then the file."""
	made = {}
	for change in changes(bench, **kwargs):
		assert change.after is not None
		if change.backup_content is not None:
			change.backup.write_bytes(change.backup_content.encode())
		change.path.write_bytes(change.after.encode())
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
		after = path.read_text().replace("stopwaitsecs=20\n", "")
		lines = zip(text.splitlines(), after.splitlines(), strict=True)
		assert sum(old != new for old, new in lines) == (path.name in made)
	assert changes(bench) == []
	make(bench, undo=True)
	assert {path: path.read_text() for path in before} == before
	assert changes(bench, undo=True) == []


@pytest.mark.parametrize("workers", ["4", "auto"])
def test_a_number_of_workers(bench, workers):
	write(bench)
	before = {path: path.read_text() for path in bench.rglob("*") if path.is_file()}
	made = make(bench, workers=workers)
	assert f"\nsocketio: env/bin/frappe-realtime serve --bench . --workers {workers}\n" in made["Procfile"]
	ours = f"{bench}/env/bin/frappe-realtime serve --bench {bench} --workers {workers}\n"
	assert f"[program:b-node-socketio]\ncommand={ours}" in made["supervisor.conf"]
	assert f"\nExecStart={ours}" in made["b-node-socketio.service"]
	assert changes(bench, workers=workers) == []
	assert changes(bench) == [], "a set-up without a number keeps it"
	assert "--workers 2\n" in make(bench, workers="2")["Procfile"]
	make(bench, undo=True)
	assert {path: path.read_text() for path in before} == before


def test_an_entry_with_workers_that_was_added_is_removed_again(bench):
	procfile = bench / "Procfile"
	procfile.write_text("web: bench serve\n")
	assert make(bench, workers="2")["Procfile"].endswith(
		"socketio: env/bin/frappe-realtime serve --bench . --workers 2\n"
	)
	make(bench, undo=True)
	assert procfile.read_text() == "web: bench serve\n"


@pytest.mark.parametrize("option", ["--workers 3", "--workers=3"])
def test_the_number_of_workers_is_replaced_among_other_options(bench, option):
	command = f"A=1 env/bin/frappe-realtime serve --bench . --host ::1 {option} --uds /a >> log"
	(bench / "Procfile").write_text(PROCFILE.format(command=command))
	expected = "A=1 env/bin/frappe-realtime serve --bench . --workers 2 --host ::1 --uds /a >> log"
	assert f"\nsocketio: {expected}\n" in make(bench, workers="2")["Procfile"]


def test_undo_keeps_other_changes(bench):
	write(bench)
	make(bench)
	procfile = bench / "Procfile"
	procfile.write_text(procfile.read_text() + "extra: run me\n")
	made = make(bench, undo=True)
	assert made["Procfile"].endswith("extra: run me\n")
	assert "socketio: /usr/bin/node apps/frappe/socketio.js\n" in made["Procfile"]


def test_undo_without_a_backup_names_what_is_missing_and_changes_nothing(bench):
	write(bench)
	make(bench)
	(bench / "Procfile.before-frappe-realtime").unlink()
	(bench / "config" / "supervisor.conf.before-frappe-realtime").unlink()
	before = texts(bench)
	with pytest.raises(SetupError) as error:
		make(bench, undo=True)
	assert texts(bench) == before
	for missing in ("Procfile.before-frappe-realtime", "supervisor.conf.before-frappe-realtime"):
		assert missing in str(error.value)
	assert ".service" not in str(error.value)
	assert "bench setup procfile" in str(error.value)
	assert "bench setup supervisor" in str(error.value)


def test_undo_without_a_backup_ignores_files_that_run_another_server(bench):
	write(bench)
	make(bench)
	node = PROCFILE.format(command="node apps/frappe/socketio.js")
	(bench / "Procfile").write_text(node)
	(bench / "Procfile.before-frappe-realtime").unlink()
	assert set(make(bench, undo=True)) == {"supervisor.conf", "b-node-socketio.service"}
	assert (bench / "Procfile").read_text() == node


@pytest.mark.parametrize(
	("before", "after"),
	[
		("FRAPPE_SOCKETIO_PORT=9001 A='b c' node {js}", "FRAPPE_SOCKETIO_PORT=9001 A='b c' {ours}"),
		("exec nice -n 5 /usr/bin/node {js}", "exec nice -n 5 {ours}"),
		("nodejs {js} >> logs/realtime.log 2>&1", "{ours} >> logs/realtime.log 2>&1"),
		("A=1 bench socketio", "A=1 {ours}"),
		("A=1 env/bin/frappe-realtime serve --bench /old --host ::1", "A=1 {ours} --host ::1"),
		("env/bin/frappe-realtime serve --host ::1 --bench=/old", "{ours} --host ::1"),
	],
)
def test_what_the_operator_has_added_to_the_command_stays(bench, before, after):
	command = before.format(js="apps/frappe/socketio.js")
	(bench / "Procfile").write_text(PROCFILE.format(command=command))
	expected = after.format(ours="env/bin/frappe-realtime serve --bench .")
	assert f"\nsocketio: {expected}\n" in make(bench)["Procfile"]
	assert changes(bench) == []
	if "frappe-realtime" not in before:
		assert make(bench, undo=True)["Procfile"] == PROCFILE.format(command=command)


@pytest.mark.parametrize(
	"command",
	[
		"node --inspect {js}",
		"node {js} --verbose",
		"cd /elsewhere && node {bench}/{js}",
		"./start-realtime.sh",
		"node apps/other/socketio.js",
	],
)
def test_a_command_that_cannot_be_kept_is_refused(bench, command):
	write(bench)
	command = command.format(js="apps/frappe/socketio.js", bench=bench)
	(bench / "Procfile").write_text(PROCFILE.format(command=command))
	before = texts(bench)
	with pytest.raises(SetupError) as error:
		make(bench)
	assert texts(bench) == before
	assert f"{bench}/Procfile" in str(error.value)
	assert command in str(error.value)
	assert "env/bin/frappe-realtime serve --bench ." in str(error.value)


def test_undo_restores_a_command_that_setup_refuses(bench):
	(bench / "Procfile").write_text(PROCFILE.format(command="env/bin/frappe-realtime serve --bench ."))
	original = PROCFILE.format(command="./start-realtime.sh")
	(bench / "Procfile.before-frappe-realtime").write_text(original)
	assert make(bench, undo=True)["Procfile"] == original


def test_files_with_crlf_keep_their_line_ends(bench):
	write(bench)
	files = [path for path in bench.rglob("*") if path.is_file() and path.name != "frappe-realtime"]
	for path in files:
		path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
	before = {path: path.read_bytes() for path in files}
	make(bench)
	assert b"\r\nsocketio: env/bin/frappe-realtime serve --bench .\r\n" in (bench / "Procfile").read_bytes()
	for path, content in before.items():
		after = path.read_bytes().replace(b"stopwaitsecs=20\r\n", b"")
		assert after.count(b"\r\n") == after.count(b"\n") == content.count(b"\n")
	assert changes(bench) == []
	make(bench, undo=True)
	assert {path: path.read_bytes() for path in files} == before


def test_an_entry_that_is_added_has_the_line_ends_of_the_file(bench):
	(bench / "Procfile").write_bytes(b"web: bench serve\r\nwatch: bench watch")
	supervisor = SUPERVISOR.format(bench=bench, program="", member="").replace("\n", "\r\n")
	(bench / "config" / "supervisor.conf").write_bytes(supervisor.encode())
	make(bench)
	for path in (bench / "Procfile", bench / "config" / "supervisor.conf"):
		content = path.read_bytes()
		assert b"frappe-realtime serve" in content
		assert content.count(b"\n") == content.count(b"\r\n") == content.count(b"\r")
	assert (
		f"directory={bench}\r\nuser=frappe\r\n".encode()
		in (bench / "config" / "supervisor.conf").read_bytes()
	)


def test_a_missing_entry_is_added(bench):
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
		"stopwaitsecs=20",
	]
	assert "[group:b-web]\nprograms=b-frappe-web,b-node-socketio\n" in made["supervisor.conf"]
	assert changes(bench) == []
	make(bench, undo=True)
	assert {path: text for path, text in texts(bench).items() if path in before} == before


def test_spaces_around_the_command_of_supervisor_are_no_missing_entry(bench):
	program = PROGRAM.format(bench=bench, command=f"/usr/bin/node {bench}/apps/frappe/socketio.js")
	program = program.replace("command=", "command = ")
	supervisor = SUPERVISOR.format(bench=bench, program=program, member=",b-node-socketio")
	(bench / "config" / "supervisor.conf").write_text(supervisor)
	made = make(bench)["supervisor.conf"]
	ours = f"{bench}/env/bin/frappe-realtime serve --bench {bench}"
	assert made == with_stop_seconds(supervisor).replace(
		f"/usr/bin/node {bench}/apps/frappe/socketio.js", ours
	)
	assert changes(bench) == []
	assert make(bench, undo=True) == {"supervisor.conf": supervisor}


def test_programs_of_other_servers_beside_that_of_the_bench_stay(bench):
	command = f"/usr/bin/node {bench}/apps/frappe/socketio.js"
	program = PROGRAM.format(bench=bench, command=command).replace("program:b-", f"program:{bench.name}-")
	others = (
		"[program:chat-socketio]\ncommand=node /opt/chat/server.js\n\n"
		"[program:staging-node-socketio]\ncommand=/usr/bin/node /home/frappe/staging/apps/frappe/socketio.js\n\n"
	)
	supervisor = SUPERVISOR.format(
		bench=bench, program=others + program, member=f",{bench.name}-node-socketio"
	)
	(bench / "config" / "supervisor.conf").write_text(supervisor)
	made = make(bench)["supervisor.conf"]
	ours = f"{bench}/env/bin/frappe-realtime serve --bench {bench}"
	assert made == with_stop_seconds(supervisor).replace(command, ours)
	assert changes(bench) == []
	assert make(bench, undo=True) == {"supervisor.conf": supervisor}


def test_the_time_that_supervisor_gives_is_longer_than_the_sidecar_needs():
	# `Engine.drain` waits a second more.
	alone = DRAIN_SECONDS + 1 + HANDOVER_SECONDS + 2 * FLUSH_SECONDS
	assert alone < processes.STOP_SECONDS < STOP_SECONDS


@pytest.mark.parametrize(
	("before", "after"),
	[
		("", "stopwaitsecs=20\n"),
		("stopwaitsecs=10\nstopsignal=TERM\n", "stopwaitsecs=20\nstopsignal=TERM\n"),
		("stopwaitsecs = 5 ; short\n", "stopwaitsecs = 20 ; short\n"),
		("stopwaitsecs=60\n", "stopwaitsecs=60\n"),
	],
)
@pytest.mark.parametrize("end", ["\n[program:other]\nstopwaitsecs=3\n", "\n", ""])
def test_supervisor_gives_the_sidecar_the_time_that_it_needs_to_stop(bench, before, after, end):
	program = PROGRAM.format(bench=bench, command=f"/usr/bin/node {bench}/apps/frappe/socketio.js").rstrip()
	supervisor = bench / "config" / "supervisor.conf"
	former = f"{program}\n{before}".rstrip() + end
	supervisor.write_text(former)
	expected = program.replace(
		f"/usr/bin/node {bench}/apps/frappe/socketio.js",
		f"{bench}/env/bin/frappe-realtime serve --bench {bench}",
	)
	assert make(bench)["supervisor.conf"] == f"{expected}\n{after}".rstrip() + end
	assert changes(bench) == []
	assert make(bench, undo=True) == {"supervisor.conf": former}


def test_undo_keeps_the_time_to_stop_that_was_set_since(bench):
	write(bench)
	make(bench)
	supervisor = bench / "config" / "supervisor.conf"
	supervisor.write_text(supervisor.read_text().replace("stopwaitsecs=20", "stopwaitsecs=30"))
	assert "stopwaitsecs=30\n" in make(bench, undo=True)["supervisor.conf"]


def with_stop_seconds(supervisor: str) -> str:
	"""Return a file of supervisor with the time to stop of its last program."""
	return supervisor.replace("\n\n[group:b-web]", "\nstopwaitsecs=20\n\n[group:b-web]")


def test_a_second_setup_keeps_the_first_backup(bench):
	write(bench)
	before = (bench / "Procfile").read_text()
	make(bench)
	procfile = bench / "Procfile"
	procfile.write_text(procfile.read_text().replace("serve --bench .", "serve --bench /where/it/was"))
	assert "serve --bench .\n" in make(bench)["Procfile"]
	assert make(bench, undo=True)["Procfile"] == before


def test_a_file_that_bench_has_rewritten_gets_a_new_backup(bench):
	write(bench)
	make(bench)
	write(bench, "/usr/bin/another-node {bench}/apps/frappe/socketio.js")
	anew = (bench / "Procfile").read_text()
	make(bench)
	assert make(bench, undo=True)["Procfile"] == anew


def test_a_backup_that_runs_frappe_realtime_counts_as_missing(bench):
	write(bench, f"{bench}/env/bin/frappe-realtime serve --bench /where/it/was")
	make(bench)
	backup = bench / "Procfile.before-frappe-realtime"
	assert not backup.exists()
	backup.write_bytes((bench / "Procfile").read_bytes())
	with pytest.raises(SetupError, match=r"Procfile\.before-frappe-realtime"):
		changes(bench, undo=True)


def test_only_files_that_exist_are_changed(bench):
	(bench / "Procfile").write_text(PROCFILE.format(command="node apps/frappe/socketio.js"))
	assert [change.path.name for change in changes(bench)] == ["Procfile"]


def test_a_bench_without_process_configuration(bench):
	with pytest.raises(SetupError) as error:
		changes(bench)
	message = str(error.value)
	for looked_for in (
		str(bench),
		"Procfile",
		"config/supervisor.conf",
		"config/systemd/*-node-socketio.service",
		"config/Procfile",
		"config/supervisor/supervisord.conf",
		"config/systemd/*-socketio.service",
		"config/gunicorn.conf.py",
	):
		assert looked_for in message
	assert "bench setup procfile" in message
	assert "bench setup config" in message
	assert f"`{bench}/env/bin/frappe-realtime serve --bench {bench}`" in message


def test_a_file_without_an_entry_is_named(bench):
	supervisor = bench / "config" / "supervisor.conf"
	supervisor.write_text("[program:something]\ncommand=run me\n")
	with pytest.raises(SetupError, match=r"No entry of the realtime server was found in .*supervisor\.conf"):
		changes(bench)
	(bench / "Procfile").write_text(PROCFILE.format(command="bench socketio"))
	made = plan(bench)
	assert [change.path.name for change in made.changes] == ["Procfile"]
	assert made.notes == [f"{supervisor} has no entry of the realtime server, and was left as it is."]


@pytest.mark.parametrize("backend", ["node", "python"])
def test_the_backend_of_bench_has_no_effect_and_needs_no_note(bench, backend):
	write(bench, "bench socketio")
	common_site_config(bench, f'{{"socketio_backend": "{backend}"}}')
	assert plan(bench).notes == []


def test_a_backend_that_runs_in_the_web_process_is_named(bench):
	write(bench, "bench socketio")
	common_site_config(bench, '{"socketio_backend": "python-embedded"}')
	(note,) = plan(bench).notes
	assert f"socketio_backend is python-embedded in {bench}/sites/common_site_config.json" in note
	assert "bench set-config -g socketio_backend node" in note
	make(bench)
	assert plan(bench).notes == [note], "it is named as long as it is set"
	assert plan(bench, undo=True).notes == []


@pytest.mark.parametrize("content", ["", "[]", "{", '{"socketio_backend": null}'])
def test_a_configuration_that_says_nothing_needs_no_note(bench, content):
	write(bench, "bench socketio")
	common_site_config(bench, content)
	assert plan(bench).notes == []


def common_site_config(bench: Path, content: str) -> None:
	(bench / "sites").mkdir(exist_ok=True)
	(bench / "sites" / "common_site_config.json").write_text(content)


def test_an_environment_without_the_app(bench):
	write(bench)
	(bench / "env" / "bin" / "frappe-realtime").unlink()
	with pytest.raises(SetupError, match="bench setup requirements"):
		changes(bench)
	assert changes(bench, undo=True) == []
