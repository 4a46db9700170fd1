"""`bench realtime setup` and `--undo` on what bench itself writes, and the server that is then started."""

from __future__ import annotations

import configparser
import getpass
import json
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bench.conftest import WAYS, ConnectNode
from tests.bench.installation import Bench
from tests.bench.processes import Process
from tests.wire.conditions import accepts, until

FILES = ("Procfile", "config/supervisor.conf", "config/systemd", "sites/common_site_config.json")
BACKUPS = ("Procfile.before-frappe-realtime", "config/supervisor.conf.before-frappe-realtime")


@pytest.fixture
def written(bench: Bench) -> Iterator[dict[Path, str]]:
	"""The files that start the realtime server, as bench has just written them; all is put back in the end.

	Without supervisor there is no config/supervisor.conf among them.
	"""
	if not shutil.which("bench"):
		pytest.skip("there is no bench command on PATH")
	with bench.kept(*FILES, *BACKUPS):
		bench.bench("setup", "procfile", given="y\n")
		bench.bench("setup", "systemd", "--yes", "--user", getpass.getuser())
		(unit,) = (bench.root / "config/systemd").glob("*-node-socketio.service")
		files = [bench.root / "Procfile", unit]
		if shutil.which("supervisorctl"):
			bench.bench("setup", "supervisor", "--yes", "--user", getpass.getuser())
			files.append(bench.root / "config/supervisor.conf")
		yield {file: file.read_text() for file in files}


def read(files: dict[Path, str]) -> dict[Path, str]:
	"""Return what is in the files now."""
	return {file: file.read_text() for file in files}


def test_setup_changes_the_command_in_each_file_and_undo_puts_it_back(
	bench: Bench, written: dict[Path, str]
) -> None:
	with pytest.raises(AssertionError, match="Aborted"):
		bench.bench("realtime", "setup", given="n\n")
	assert read(written) == written

	shown = bench.bench("realtime", "setup", given="y\n")
	for file, before in written.items():
		assert str(file) in shown
		# The second change is in the file of supervisor only.
		lines = file.read_text().replace("stopwaitsecs=20\n", "").splitlines()
		pairs = zip(before.splitlines(), lines, strict=True)
		changed = [(old, new) for old, new in pairs if old != new]
		assert len(changed) == 1
		old, new = changed[0]
		assert "frappe-realtime serve" in new
		assert old in shown
		assert new in shown
	after = read(written)

	assert "Nothing to change" in bench.bench("realtime", "setup")
	assert read(written) == after
	bench.bench("realtime", "setup", "--undo", "--yes")
	assert read(written) == written
	assert "Nothing to change" in bench.bench("realtime", "setup", "--undo")
	assert not list(bench.root.glob("*.before-*")) + list(bench.root.glob("config/**/*.before-*"))


@pytest.mark.timeout(300)
def test_bench_start_runs_the_sidecar_and_after_undo_node_again(
	own_processes: Bench, written: dict[Path, str], tmp_path: Path, connect_node: ConnectNode
) -> None:
	bench = own_processes
	if not served_in_development(bench):
		pytest.skip("the bench has a third site as its default, and bench start serves only that")
	bench.stop_processes()
	try:
		bench.bench("realtime", "setup", "--yes")
		assert_it_serves(bench, tmp_path / "ours.log", connect_node, ours=True)
		bench.bench("realtime", "setup", "--undo", "--yes")
		assert_it_serves(bench, tmp_path / "node.log", connect_node, ours=False)
	finally:
		bench.start_processes()


def served_in_development(bench: Bench) -> list[str]:
	"""Return the sites that `bench start` serves: the default site, under every host, where there is one."""
	default = bench.config.get("default_site")
	return [site for site in (bench.site, bench.other_site) if default in (None, "", site)]


def assert_it_serves(bench: Bench, log: Path, connect_node: ConnectNode, ours: bool) -> None:
	"""Run `bench start`; see an event of the console, of an insert and of a job arrive."""
	# Rebuilding assets, and jobs by the clock, are not what is tested.
	command = [shutil.which("bench") or "bench", "start", "--concurrency", "watch=0,schedule=0"]
	start = Process(command, bench.root, log)
	start.start()
	try:
		start.wait_for(
			lambda: accepts(bench.web_port) and accepts(bench.port), "web and realtime server", 120
		)
		assert bench.is_sidecar() == ours
		if ours:
			bench.wait_until_healthy()
		for site in served_in_development(bench):
			person, event = bench.person(site=site), bench.event()
			clients = [connect_node(person, version, transports) for version, transports in WAYS]
			for client in clients:
				bench.join(client, "doctype:ToDo", site, "doctype_subscribe", "ToDo")
			arguments = json.dumps({"event": event, "user": person.name})
			bench.bench("--site", site, "execute", "frappe.publish_realtime", "--kwargs", arguments)
			name = bench.insert(person, "ToDo", description="a test")
			job = {"percent": 30, "title": "A test"}
			bench.inside(
				"enqueue", site=site, user=person.name, method="frappe.publish_progress", arguments=job
			)
			for client in clients:
				client.next(event)
				assert client.next("list_update")[0]["name"] == name
				assert client.next("progress")[0]["percent"] == 30
				client.close()
	finally:
		start.stop()
		until(lambda: not accepts(bench.port) and not accepts(bench.web_port), "the end of bench start")
		for server in bench.redis:
			until(lambda server=server: not accepts(server.port), "the end of Redis")  # type: ignore[misc]


def test_supervisor_runs_the_program(
	own_processes: Bench, written: dict[Path, str], tmp_path: Path, connect_node: ConnectNode
) -> None:
	bench, supervisord = own_processes, shutil.which("supervisord")
	if not supervisord or not shutil.which("supervisorctl"):
		pytest.skip("supervisor is not installed, and `bench setup supervisor` writes nothing without it")
	bench.bench("realtime", "setup", "--yes")
	everything = configparser.RawConfigParser()
	everything.read(bench.root / "config/supervisor.conf")
	(program,) = (name for name in everything.sections() if name.endswith("-node-socketio"))
	assert program.removeprefix("program:") in everything[f"group:{program[8:-14]}-web"]["programs"]
	own = configparser.RawConfigParser()
	own["supervisord"] = {"nodaemon": "true", "logfile": "/dev/null", "logfile_maxbytes": "0"}
	own["supervisord"]["pidfile"] = str(tmp_path / "supervisord.pid")
	own[program] = dict(everything[program])
	own[program]["stdout_logfile"] = own[program]["stderr_logfile"] = str(tmp_path / "program.log")
	with (tmp_path / "supervisord.conf").open("w") as file:
		own.write(file)
	command = [supervisord, "-c", str(tmp_path / "supervisord.conf")]
	serve_in_its_place(bench, Process(command, tmp_path, tmp_path / "supervisord.log"), connect_node)


def test_the_systemd_unit_starts_it(
	own_processes: Bench, written: dict[Path, str], tmp_path: Path, connect_node: ConnectNode
) -> None:
	bench = own_processes
	bench.bench("realtime", "setup", "--yes")
	(unit,) = (file for file in written if file.suffix == ".service")
	settings = dict(line.split("=", 1) for line in unit.read_text().splitlines() if "=" in line)
	command, folder = shlex.split(settings["ExecStart"]), Path(settings["WorkingDirectory"])
	assert Path(command[0]).is_absolute()
	serve_in_its_place(bench, Process(command, folder, tmp_path / "unit.log"), connect_node)


def serve_in_its_place(bench: Bench, process: Process, connect_node: ConnectNode) -> None:
	"""Let a process serve for a moment, and end it."""
	bench.sidecar.stop()
	try:
		process.start()
		process.wait_for(lambda: accepts(bench.port), "the realtime port")
		bench.wait_until_healthy()
		bench.settle(connect_node(bench.person()), bench.site)
		process.stop()
		until(lambda: not accepts(bench.port), "the end of the process")
	finally:
		process.stop()
		bench.start_sidecar()
