"""The process: its start, its exit codes, and its stop."""

from __future__ import annotations

import http.client
import json
import os
import resource
import signal
import socket
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.wire.bench import APP_SITE, STOCK_SITE, Bench
from tests.wire.clients import POLLING, WEBSOCKET, Client
from tests.wire.conditions import PATIENCE, accepts, free_port, until
from tests.wire.conftest import Connect, ConnectNode, MakeBench
from tests.wire.nodejs import VERSIONS
from tests.wire.raw import HANDSHAKE
from tests.wire.sidecar import Sidecar

CONSOLE_SCRIPT = str(Path(sys.executable).with_name("frappe-realtime"))


def start_with(bench: Bench, sidecar: Sidecar) -> None:
	"""Start a bench with another sidecar than its own."""
	bench.sidecar = sidecar
	bench.start()


def run_until_failure(sidecar: Sidecar) -> tuple[int, str]:
	"""Start a sidecar that must fail; return its exit code and the last line of its log."""
	sidecar.launch()
	code = sidecar.wait()
	lines = sidecar.log.strip().splitlines()
	assert lines, "the log is empty"
	assert "Traceback" not in sidecar.log, sidecar.log
	return code, lines[-1]


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_process_and_clients_reconnect(
	make_bench: MakeBench, connect_node: ConnectNode, signum: int
) -> None:
	bench = make_bench()
	clients = [
		connect_node(bench, version, bench.user(), transports=transports)
		for version in VERSIONS
		for transports in (WEBSOCKET, POLLING)
	]
	bench.sidecar.signal(signum)
	assert bench.sidecar.wait() == 0
	for client in clients:
		reason = client.wait_for("disconnect")["disconnect"]
		assert reason in ("transport close", "transport error"), (
			"the client does not reconnect after any other reason"
		)
	bench.sidecar.start()
	bench.wait_until_subscribed()
	for client in clients:
		client.connect(2)
		client.fence()


def test_clients_reconnect_after_a_kill(make_bench: MakeBench, connect_node: ConnectNode) -> None:
	bench = make_bench()
	clients = [connect_node(bench, version, bench.user()) for version in VERSIONS]
	bench.sidecar.kill()
	bench.sidecar.start()
	bench.wait_until_subscribed()
	for client in clients:
		client.connect(2)
		client.fence()


def test_the_limit_of_descriptors_is_raised(make_bench: MakeBench) -> None:
	"""The default of many systems is 1024, which would limit the number of clients."""
	bench = make_bench(start=False)
	limits = resource.getrlimit(resource.RLIMIT_NOFILE)
	resource.setrlimit(resource.RLIMIT_NOFILE, (256, limits[1]))
	try:
		bench.sidecar.start()
	finally:
		resource.setrlimit(resource.RLIMIT_NOFILE, limits)
	assert bench.sidecar.process
	soft, hard = resource.prlimit(bench.sidecar.process.pid, resource.RLIMIT_NOFILE)
	assert soft == min(hard, 1 << 20) != 256


def test_running_out_of_descriptors(make_bench: MakeBench, connect: Connect) -> None:
	"""Connected clients stay connected, and new clients can connect when descriptors are free again."""
	bench = make_bench()
	assert bench.sidecar.process
	client = connect(bench, bench.user())
	pid = bench.sidecar.process.pid
	held = len(os.listdir(f"/proc/{pid}/fd"))
	_, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
	resource.prlimit(pid, resource.RLIMIT_NOFILE, (held + 10, hard))
	more = [socket.create_connection(("127.0.0.1", bench.sidecar.port)) for _ in range(60)]
	until(lambda: len(os.listdir(f"/proc/{pid}/fd")) > held, "the connections to be accepted")
	client.fence()
	for one in more:
		one.close()
	until(lambda: len(os.listdir(f"/proc/{pid}/fd")) <= held, "the descriptors to be released")
	connect(bench, bench.user()).fence()


def test_sigterm_while_clients_wait_for_the_web_process(make_bench: MakeBench) -> None:
	bench = make_bench()
	bench.web.fail(hang=True)
	client = bench.client(bench.user())
	client.start_connecting(5).add_done_callback(lambda future: future.exception())
	until(lambda: bench.web.counts["frappe.realtime.get_user_info"], "a request")
	assert bench.sidecar.stop() == 0
	client.close()


def test_a_failed_start_names_its_cause(make_bench: MakeBench, tmp_path: Path) -> None:
	bench = make_bench()
	folder = bench.folder
	codes = {}

	codes["port in use"], line = run_until_failure(
		Sidecar(folder, tmp_path / "port.log", port=None, arguments=("--port", str(bench.sidecar.port)))
	)
	assert str(bench.sidecar.port) in line
	assert "socketio_port" in line

	nowhere = tmp_path / "nowhere"
	codes["wrong bench"], line = run_until_failure(Sidecar(nowhere, tmp_path / "bench.log"))
	assert str(nowhere) in line

	config = folder / "sites" / "common_site_config.json"
	for number, content in enumerate(("{", "[]", '{"socketio_port": "nine thousand"}', '{"redis_queue": 7}')):
		config.write_text(content)
		code, line = run_until_failure(Sidecar(folder, tmp_path / f"config-{number}.log", port=free_port()))
		codes["broken config"] = code
		assert any(name in line for name in (str(config), "socketio_port", "redis_queue")), line

	assert 0 not in codes.values()
	assert 1 not in codes.values(), "1 is the exit code after an uncaught exception"
	assert len(set(codes.values())) == len(codes), codes


def test_a_configured_port_is_used(make_bench: MakeBench, tmp_path: Path) -> None:
	bench = make_bench(start=False)
	bench.write_config(socketio_port=free_port())
	start_with(bench, Sidecar(bench.folder, tmp_path / "log", port=bench.config["socketio_port"]))
	connect_once(bench)


def connect_once(bench: Bench, site: str = APP_SITE) -> None:
	"""Connect a client, send and receive events, and close it."""
	client: Client = bench.client(bench.user(site), site)
	try:
		client.connect().fence()
		bench.settle(client, site=site)
	finally:
		client.close()


def test_it_listens_on_ipv4_and_ipv6_by_default(make_bench: MakeBench, tmp_path: Path) -> None:
	bench = make_bench(start=False)
	bench.write_config(socketio_port=free_port())
	port = bench.config["socketio_port"]
	start_with(bench, Sidecar(bench.folder, tmp_path / "log", port=port))
	assert accepts(port)
	with socket.socket(socket.AF_INET6) as probe:
		assert probe.connect_ex(("::1", port)) == 0


def test_the_environment_overrides_the_configuration(make_bench: MakeBench, tmp_path: Path) -> None:
	bench = make_bench(start=False)
	port = free_port()
	bench.write_config(socketio_port=free_port(), redis_queue="redis://127.0.0.1:1", default_site=APP_SITE)
	environment = {
		"FRAPPE_SOCKETIO_PORT": str(port),
		"FRAPPE_REDIS_QUEUE": bench.valkey.url,
		"FRAPPE_SITE": STOCK_SITE,
	}
	start_with(bench, Sidecar(bench.folder, tmp_path / "log", env=environment, port=port))
	client = bench.client(bench.user(STOCK_SITE), STOCK_SITE, headers={"Host": "localhost", "Origin": None})
	client.connect()
	bench.settle(client, site=STOCK_SITE)
	client.close()


def test_the_order_of_the_files(make_bench: MakeBench, tmp_path: Path) -> None:
	"""common_site_config.json overrides config.json, except for falsy values."""
	bench = make_bench(start=False)
	port = free_port()
	bench.write("config.json", {"socketio_port": port, "redis_queue": "redis://127.0.0.1:1"})
	bench.write_config(socketio_port=0)
	start_with(bench, Sidecar(bench.folder, tmp_path / "log", port=port))
	connect_once(bench)


def test_the_bench_from_the_environment(make_bench: MakeBench, tmp_path: Path) -> None:
	bench = make_bench(start=False)
	sidecar = Sidecar(
		bench.folder,
		tmp_path / "log",
		env={"FRAPPE_BENCH_ROOT": str(bench.folder)},
		port=bench.sidecar.port,
	)
	sidecar.leave_out_bench()
	start_with(bench, sidecar)
	connect_once(bench)


def test_webserver_host(make_bench: MakeBench, tmp_path: Path) -> None:
	"""In containers the web process runs on another host."""
	bench = make_bench(start=False)
	bench.write_config(webserver_host="localhost")
	bench.start()
	connect_once(bench)


def unix_get(path: Path, target: str, headers: dict[str, str]) -> tuple[int, str]:
	"""GET over a Unix socket; return status and body."""
	connection = http.client.HTTPConnection("localhost", timeout=PATIENCE)
	connection.sock = socket.socket(socket.AF_UNIX)
	connection.sock.connect(str(path))
	try:
		connection.request("GET", target, headers=headers)
		answer = connection.getresponse()
		return answer.status, answer.read().decode()
	finally:
		connection.close()


@pytest.mark.parametrize("how", ["argument", "config", "environment"])
def test_a_unix_socket(make_bench: MakeBench, tmp_path: Path, how: str) -> None:
	bench = make_bench(start=False)
	bench.valkey.start()
	bench.start_web()
	path = tmp_path / "realtime.sock"
	arguments = ("--uds", str(path)) if how == "argument" else ()
	env = {"FRAPPE_SOCKETIO_UDS": str(path)} if how == "environment" else {}
	if how == "config":
		bench.write_config(socketio_uds=str(path))
	bench.sidecar = Sidecar(bench.folder, tmp_path / "log", arguments, env, port=free_port())

	for end in (bench.sidecar.kill, bench.sidecar.stop):
		# The second start finds the socket file of the killed process.
		bench.sidecar.launch()
		until(lambda: listens(path) or not bench.sidecar.alive, "a socket that accepts")
		assert bench.sidecar.alive, bench.sidecar.log
		status, body = unix_get(path, f"{HANDSHAKE}polling", bench.headers())
		assert status == 200
		assert json.loads(body[1:])["upgrades"] == ["websocket"]
		assert not accepts(bench.sidecar.port)
		end()
	assert not path.exists()


def listens(path: Path) -> bool:
	"""Return whether a process listens on a Unix socket."""
	with socket.socket(socket.AF_UNIX) as probe:
		return probe.connect_ex(str(path)) == 0


def test_another_package_named_realtime(make_bench: MakeBench, tmp_path: Path) -> None:
	"""PyPI has a package of this name, and other apps have a folder of this name in sys.path."""
	neighbour = tmp_path / "elsewhere" / "realtime"
	neighbour.mkdir(parents=True)
	(neighbour / "__init__.py").write_text("raise ImportError('the wrong realtime')\n")
	bench = make_bench(start=False)
	sidecar = Sidecar(
		bench.folder,
		tmp_path / "log",
		env={"PYTHONPATH": str(neighbour.parent)},
		command=(CONSOLE_SCRIPT,),
	)
	sidecar.cwd = neighbour.parent
	start_with(bench, sidecar)
	connect_once(bench)


def test_health(every_bench: Bench) -> None:
	until(lambda: every_bench.sidecar.health()[0] == 200, "a healthy sidecar")
	status, body = every_bench.sidecar.health()
	assert status == 200
	assert isinstance(body, dict)


def test_aiohttp_is_loaded_with_the_first_page(make_bench: MakeBench, connect: Connect) -> None:
	bench = make_bench()
	assert bench.sidecar.process
	maps = Path(f"/proc/{bench.sidecar.process.pid}/maps")
	client = connect(bench, bench.user())
	client.fence()
	assert "aiohttp" not in maps.read_text()
	with ThreadPoolExecutor(3) as threads:
		answers = list(threads.map(bench.sidecar.get, ["/metrics", "/health", "/metrics"]))
	assert [status for status, _ in answers] == [200, 200, 200]
	assert "aiohttp" in maps.read_text()
	client.fence()


def test_other_paths_are_not_found(bench: Bench, connect: Connect) -> None:
	for path in ("/", "/nowhere", "/socket.io", "/app", "/../etc/passwd"):
		assert bench.sidecar.get(path)[0] in (400, 404)
	connect(bench).fence()


def test_publish_from_the_command_line(bench: Bench, connect: Connect) -> None:
	user = bench.user()
	client, other = connect(bench, user), connect(bench, bench.user())
	for arguments in (("--user", user.name), ("--room", "all")):
		Sidecar.run(
			CONSOLE_SCRIPT,
			"publish",
			"news",
			'{"text": "hello"}',
			"--bench",
			str(bench.folder),
			"--site",
			APP_SITE,
			*arguments,
		)
		assert client.next("news")[0] == {"text": "hello"}
	bench.settle(other)
	assert len(other.all("news")) == 1
