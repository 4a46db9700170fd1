"""Benches whose sidecar or files are broken on purpose: the doctor ends with the cause, and its remedy mends the bench.

Each test breaks one thing, checks the last line of the doctor, does what that line says, and runs the doctor again.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from frappe_realtime.contract.channels import SIDECARS_CHANNEL
from realtime.cluster import message_writer
from tests.wire import nodejs
from tests.wire.apps import write_handlers
from tests.wire.bench import APP_SITE, STOCK_SITE, Bench
from tests.wire.command import run_command
from tests.wire.conditions import accepts, free_port, until
from tests.wire.conftest import MakeBench
from tests.wire.doctor import (
	ON_APP_SITE,
	common,
	cure,
	diagnose,
	holds,
	is_well,
	remedies,
	replace_sidecar,
	set_site_key,
	with_addresses,
)
from tests.wire.sidecar import Sidecar, copy_older


@pytest.fixture
def bench(make_bench: MakeBench) -> Bench:
	"""A bench in which both sites have an address that is reached."""
	return with_addresses(make_bench(version=17))


@pytest.fixture
def unstarted(make_bench: MakeBench) -> Bench:
	"""The same, for tests that break something before it is started."""
	return with_addresses(make_bench(version=17, start=False))


# -- the sidecar


def test_the_sidecar_does_not_run(bench: Bench) -> None:
	bench.sidecar.stop()
	cause = diagnose(bench, *ON_APP_SITE, row="the sidecar does not run")
	assert f"the sidecar does not run: nothing answers on port {bench.sidecar.port}" in cause.what
	assert cause.command == "bench restart"
	bench.sidecar.start()
	bench.wait_until_subscribed()
	is_well(bench, *ON_APP_SITE)


NODE_SERVER = """
const server = require("http").createServer();
new (require("socket.io").Server)(server);
server.listen(Number(process.argv[1]), "127.0.0.1");
"""
"""As Frappe's Node server: any request outside of /socket.io hangs."""

SOCKET_IO = Path(__file__).parents[2] / ".cache" / "benchmark"


@pytest.mark.skipif(
	not nodejs.node() or not (SOCKET_IO / "node_modules" / "socket.io").exists(), reason="no socket.io"
)
def test_node_is_on_the_port(bench: Bench) -> None:
	bench.sidecar.stop()
	node = subprocess.Popen([nodejs.node(), "-e", NODE_SERVER, str(bench.sidecar.port)], cwd=SOCKET_IO)
	try:
		until(lambda: accepts(bench.sidecar.port), "Node listens")
		cause = diagnose(bench, *ON_APP_SITE, row="Node is on the port")
		assert "is not this sidecar, but another Socket.IO server: Frappe's Node server" in cause.what
		assert f"socketio_port in {common(bench)}" in cause.where
		assert cause.command == "bench realtime setup && bench restart"
	finally:
		node.terminate()
		node.wait()

	def restart() -> None:
		bench.sidecar.start()
		bench.wait_until_subscribed()

	cure(bench, cause.command, {"bench realtime setup": lambda: None, "bench restart": restart})
	is_well(bench, *ON_APP_SITE)


@pytest.mark.parametrize("by_environment", [True, False], ids=["environment", "command line"])
def test_the_sidecar_runs_on_another_port(unstarted: Bench, by_environment: bool) -> None:
	bench = unstarted
	configured, other = bench.sidecar.port, free_port()
	(bench.folder / "Procfile").write_text("socketio: env/bin/frappe-realtime serve --bench .\n")
	log = bench.sidecar.log_path
	bench.sidecar = (
		Sidecar(bench.folder, log, env={"FRAPPE_SOCKETIO_PORT": str(other)}, port=other)
		if by_environment
		else Sidecar(bench.folder, log, ("--port", str(other)), port=other)
	)
	bench.start()
	cause = diagnose(bench, *ON_APP_SITE, row="the sidecar runs on another port")
	assert (
		f"the sidecar runs on port {other}, and browsers, nginx and this command use port {configured}"
		in cause.what
	)
	if by_environment:
		assert cause.where == "FRAPPE_SOCKETIO_PORT (socketio_port) in the environment of the sidecar"
		assert cause.command == "unset FRAPPE_SOCKETIO_PORT && bench start"
	else:
		assert cause.where == "socketio_port on the command line of the sidecar, set in Procfile"
		assert cause.command == "bench realtime setup && bench start"
	bench.sidecar.stop()
	bench.sidecar = Sidecar(bench.folder, log, port=configured)
	bench.sidecar.start()
	bench.wait_until_subscribed()
	is_well(bench, *ON_APP_SITE)


def test_the_sidecar_runs_on_another_machine(bench: Bench) -> None:
	bench.sidecar.stop()
	beat = message_writer.heartbeat("A" * 16, "elsewhere:9000", 1)
	stopped = threading.Event()

	def publish() -> None:
		while not stopped.wait(0.2):
			bench.valkey.client.publish(SIDECARS_CHANNEL, beat)

	thread = threading.Thread(target=publish)
	thread.start()
	try:
		cause = diagnose(bench, *ON_APP_SITE, row="the sidecar runs on another machine")
	finally:
		stopped.set()
		thread.join()
	assert "a sidecar of this bench runs on elsewhere:9000, and not here" in cause.what
	assert cause.command == "frappe-realtime doctor"


def test_another_port_by_a_variable_of_the_shell(bench: Bench) -> None:
	cause = diagnose(
		bench,
		*ON_APP_SITE,
		row="`FRAPPE_SOCKETIO_PORT` is set in a shell",
		env={"FRAPPE_SOCKETIO_PORT": str(free_port())},
	)
	assert f"the sidecar runs on port {bench.sidecar.port}" in cause.what
	assert cause.where == "FRAPPE_SOCKETIO_PORT (socketio_port) in the environment of this shell"
	assert cause.command == "unset FRAPPE_SOCKETIO_PORT"
	is_well(bench, *ON_APP_SITE)


def test_an_older_sidecar_still_runs(unstarted: Bench, tmp_path: Path) -> None:
	bench = unstarted
	bench.sidecar.cwd = copy_older(tmp_path / "older")
	bench.start()
	note = diagnose(bench, *ON_APP_SITE, row="an older sidecar still runs", code=0)
	assert "has the version 0.0.1, installed is" in note.what
	assert note.where == "the process of the sidecar, which was started before the update"
	assert note.command == "bench restart"
	bench.sidecar.cwd = Path(__file__).parents[2]
	cure(bench, note.command)
	assert not remedies(is_well(bench, *ON_APP_SITE))


@pytest.mark.skipif(shutil.which("prlimit") is None, reason="there is no prlimit")
def test_too_few_descriptors(unstarted: Bench) -> None:
	bench = unstarted
	limited = ("prlimit", "--nofile=200:200", sys.executable, "-m", "realtime")
	bench.sidecar = Sidecar(bench.folder, bench.sidecar.log_path, port=bench.sidecar.port, command=limited)
	bench.start()
	note = diagnose(bench, *ON_APP_SITE, row="the sidecar may have too few open files", code=0)
	assert "the sidecar may have 200 open files" in note.what
	assert note.where == "the limit of the shell or service that starts the sidecar (ulimit -n, LimitNOFILE)"
	assert note.command == "ulimit -n 65536 && bench restart"
	connections = [socket.create_connection(("127.0.0.1", bench.sidecar.port)) for _ in range(165)]
	try:
		# The sidecar counts them once a second at most.
		until(lambda: bench.sidecar.health()[1]["descriptors"]["open"] > 165, "the connections are counted")
		cause = diagnose(bench, *ON_APP_SITE)
		assert "the sidecar may have 200 open files" in cause.what
	finally:
		for connection in connections:
			connection.close()
	cure(bench, cause.command, {"ulimit": lambda: None, "bench restart": lambda: replace_sidecar(bench)})
	is_well(bench, *ON_APP_SITE)


def test_a_handlers_file_that_does_not_import(unstarted: Bench) -> None:
	bench = unstarted
	file = write_handlers(bench, "shop", "import no_such_module\n")
	bench.sidecar.expects_traceback = True
	bench.start()
	cause = diagnose(bench, *ON_APP_SITE, row="a handlers file does not import")
	assert (
		"the handlers of the app shop are not loaded: ModuleNotFoundError: No module named 'no_such_module'"
		in cause.what
	)
	assert cause.where == str(file)
	assert cause.command == "bench restart"
	file.write_text(
		"from frappe_realtime import realtime\n\n\n@realtime.on('greet')\ndef greet(socket):\n\tpass\n"
	)
	cure(bench, cause.command)
	is_well(bench, *ON_APP_SITE)


# -- files of the bench


WITHOUT_PRIVILEGE = ("setpriv", "--bounding-set=-dac_override,-dac_read_search")


@pytest.fixture
def unprivileged() -> tuple[str, ...]:
	"""What precedes a command so that the permissions of files apply to it, also for root."""
	if shutil.which("setpriv") is None:
		pytest.skip("there is no setpriv")
	return WITHOUT_PRIVILEGE


def diagnose_unprivileged(
	bench: Bench, row: str, prefix: tuple[str, ...], *arguments: str
) -> tuple[str, ...]:
	result = run_command("doctor", "--bench", str(bench.folder), *arguments, prefix=prefix)
	assert result.code == 1, result.output
	(cause,) = remedies(result.output)
	return holds(row, cause)


@pytest.mark.parametrize("path", ["", "site_config.json"], ids=["folder", "file"])
def test_a_site_that_is_not_readable(bench: Bench, unprivileged: tuple[str, ...], path: str) -> None:
	site = bench.folder / "sites" / APP_SITE / path
	site.chmod(0)
	_, what, where, command = diagnose_unprivileged(
		bench, "the folder of a site is not readable", unprivileged, *ON_APP_SITE
	)
	assert f"{APP_SITE}: {site} cannot be read by the user" in what
	assert where == f"the permissions of {site}"
	assert command == f"chmod {'u+rw' if path else 'u+rwx'} {site}"
	cure(bench, command)
	is_well(bench, *ON_APP_SITE)


def test_the_folder_of_sites_is_not_readable(bench: Bench, unprivileged: tuple[str, ...]) -> None:
	sites = bench.folder / "sites"
	sites.chmod(0o100)
	try:
		_, what, where, command = diagnose_unprivileged(
			bench, "the folder of all sites is not readable", unprivileged
		)
	finally:
		sites.chmod(0o755)
	assert f"the folder {sites} cannot be read" in what
	assert where == f"the permissions of {sites}"
	assert command == f"chmod u+rwx {sites}"
	is_well(bench, *ON_APP_SITE)


def test_a_configuration_that_is_no_json(bench: Bench) -> None:
	Path(common(bench)).write_text("{")
	result = run_command("doctor", "--bench", str(bench.folder))
	assert (result.code, result.output) == (4, "")
	assert common(bench) in result.errors


def test_a_default_site_that_hides_another_site(bench: Bench) -> None:
	cause = diagnose(bench, "--site", STOCK_SITE, row="`default_site` hides another site")
	assert f"default_site is {APP_SITE}, so requests to 127.0.0.1 are never for {STOCK_SITE}" in cause.what
	assert cause.where == f"default_site in {common(bench)}"
	assert cause.command == "bench config remove-common-config default_site && bench restart"
	cure(bench, cause.command)
	is_well(bench, "--site", STOCK_SITE)


def test_the_desk_uses_another_port(bench: Bench) -> None:
	set_site_key(bench, APP_SITE, "socketio_port", 9999)
	cause = diagnose(bench, *ON_APP_SITE, row="the Desk has another port")
	assert f"{APP_SITE}: the Desk connects to port 9999" in cause.what
	assert cause.where == f"socketio_port in {bench.folder / 'sites' / APP_SITE / 'site_config.json'}"
	cure(bench, cause.command)
	is_well(bench, *ON_APP_SITE)


def test_the_app_is_on_no_site(make_bench: MakeBench) -> None:
	bench = make_bench(version=17, start=False)
	shutil.rmtree(bench.folder / "sites" / APP_SITE)
	bench.write_config(default_site=STOCK_SITE)
	set_site_key(bench, STOCK_SITE, "host_name", bench.sidecar.url)
	bench.start()
	note = diagnose(bench, row="the app is on no site", code=0)
	assert "the app frappe_realtime is installed on no site" in note.what
	assert note.command == f"bench --site {STOCK_SITE} install-app frappe_realtime"
	cure(
		bench,
		note.command,
		{note.command: lambda: bench.site(STOCK_SITE).installed_apps.append("frappe_realtime")},
	)
	assert not remedies(is_well(bench))


def test_an_unknown_key(bench: Bench) -> None:
	bench.write_config(realtime_cache_second=1)
	note = diagnose(bench, *ON_APP_SITE, row="an unknown key", code=0)
	assert "unknown keys: realtime_cache_second" in note.what
	cure(bench, note.command)
	is_well(bench, *ON_APP_SITE)
