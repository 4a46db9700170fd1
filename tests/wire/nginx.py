"""A real nginx in front of the sidecar, with the configuration that `bench setup nginx` writes, or one that is broken."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
from pathlib import Path

from tests.wire.conditions import PATIENCE, accepts, free_port, until

NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")

UPGRADE = 'proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection "upgrade";'
ORIGIN = "proxy_set_header Origin $scheme://$http_host;"

_CONFIGURATION = """
daemon off; pid {folder}/pid; error_log {folder}/error.log;
events {{ worker_connections {connections}; }}
http {{
	log_format requests '$status $request_method $args'; access_log {folder}/access.log requests;
	client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
	fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
	upstream bench-socketio-server {{ {servers} }}
	server {{
		{listen}
		server_name {names};
		location / {{ return 404; }}
		location {location} {{
			proxy_http_version 1.1;
			{upgrade}
			{site}
			{origin}
			proxy_set_header Host $http_host;
			{more}
			proxy_pass http://bench-socketio-server;
		}}
	}}
}}
"""

_REFUSED_UPGRADE = re.compile(r"400 GET EIO=4&transport=websocket&sid=")


class Nginx:
	"""An nginx with one server.

	Args:
		folder: An empty folder.
		target: The port of the sidecar.
		site: The site in X-Frappe-Site-Name; empty for no such header.
		hosts: The addresses of the sidecars; each in its turn gets a request.
		port: The port to listen on; None to choose one.
		addresses: The addresses to listen on.
		connections: TCP connections that it may have, to both sides.
	"""

	def __init__(
		self,
		folder: Path,
		target: int,
		site: str,
		hosts: tuple[str, ...] = ("127.0.0.1",),
		port: int | None = None,
		addresses: tuple[str, ...] = ("127.0.0.1", "127.0.0.2"),
		connections: int = 1024,
	) -> None:
		self.port = free_port() if port is None else port
		self._hosts = hosts
		self._addresses = addresses
		self._connections = connections
		self.url = f"http://127.0.0.1:{self.port}"
		self.configuration = folder / "nginx.conf"
		self._folder = folder
		self._target = target
		self._site = site
		self.write()
		assert NGINX
		self._process = subprocess.Popen(
			[NGINX, "-p", str(folder), "-c", str(self.configuration)], stderr=subprocess.DEVNULL
		)
		# It listens before it forks; `reload` has to know the workers that it replaces.
		until(lambda: accepts(self.port) and self._workers() != set(), "nginx has workers")

	def write(
		self,
		*,
		target: int | None = None,
		location: str = "/socket.io",
		upgrade: str = UPGRADE,
		origin: str = ORIGIN,
		site: str | None = None,
		names: str = "_",
		more: str = "",
	) -> None:
		"""Write the configuration; without arguments it is a right one."""
		named = self._site if site is None else site
		self.configuration.write_text(
			_CONFIGURATION.format(
				folder=self._folder,
				port=self.port,
				connections=self._connections,
				servers=" ".join(
					f"server {host}:{target or self._target} fail_timeout=0;" for host in self._hosts
				),
				listen=" ".join(f"listen {address}:{self.port};" for address in self._addresses),
				location=location,
				upgrade=upgrade,
				origin=origin,
				site=f"proxy_set_header X-Frappe-Site-Name {named};" if named else "",
				names=names,
				more=more,
			)
		)

	def reload(self) -> None:
		"""Start workers with the present configuration, and wait until no older one accepts connections."""
		before = self._workers()
		self._process.send_signal(signal.SIGHUP)
		until(lambda: (now := self._workers()) and not now & before, "nginx has new workers")

	@property
	def answered(self) -> int:
		"""The number of requests so far."""
		return len(self._lines())

	@property
	def failed(self) -> list[str]:
		"""The requests, as status, method and query, that clients have waited for and that were answered with an error.

		Not the upgrade of a session that ends before it arrives: its client has read of the end with its poll by then.
		"""
		# 499: the client has left before.
		return [
			line
			for line in self._lines()
			if line[:1] not in "123" and not line.startswith("499") and not _REFUSED_UPGRADE.match(line)
		]

	def _lines(self) -> list[str]:
		return (self._folder / "access.log").read_text().splitlines()

	def _workers(self) -> set[int]:
		children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text()
		return {int(pid) for pid in children.split()}

	def close(self) -> None:
		"""Stop."""
		self._process.terminate()
		self._process.wait(PATIENCE)
