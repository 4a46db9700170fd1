"""nginx in front of the bench, with the configuration that bench writes, on ports of its own."""

from __future__ import annotations

import getpass
import re
import shutil
import subprocess
from pathlib import Path

from tests.bench.installation import Bench
from tests.bench.processes import Process
from tests.wire.conditions import accepts, free_port

MAIN = """
daemon off;
user {user};
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 512; }}
http {{
	default_type application/octet-stream;
	types {{ text/html html; text/css css; text/javascript js; image/svg+xml svg; }}
	client_body_temp_path {folder}/body;
	proxy_temp_path {folder}/proxy;
	fastcgi_temp_path {folder}/fastcgi;
	uwsgi_temp_path {folder}/uwsgi;
	scgi_temp_path {folder}/scgi;
	access_log {folder}/access.log;
{servers}
}}
"""


def certificate(folder: Path, host: str) -> tuple[Path, Path]:
	"""Make a self-signed certificate and its key."""
	key, cert = folder / "key.pem", folder / "cert.pem"
	command = [
		"openssl",
		"req",
		"-x509",
		"-newkey",
		"rsa:2048",
		"-nodes",
		"-days",
		"2",
		"-subj",
		f"/CN={host}",
	]
	command += ["-addext", f"subjectAltName=DNS:{host}", "-keyout", str(key), "-out", str(cert)]
	subprocess.run(command, check=True, capture_output=True)
	return cert, key


class Proxy:
	"""nginx.

	Args:
		bench: whose `config/nginx.conf` it runs with; only the numbers of the ports differ.
		folder: an empty folder.
	"""

	def __init__(self, bench: Bench, folder: Path) -> None:
		self.port, self.tls_port = free_port(), free_port()
		servers = (bench.root / "config/nginx.conf").read_text()
		for standard, own in (("80", self.port), ("443", self.tls_port)):
			servers = re.sub(rf"listen {standard}\b", f"listen 127.0.0.1:{own}", servers)
			servers = re.sub(rf"^\s*listen \[::\]:{standard}\b.*$", "", servers, flags=re.M)
		configuration = folder / "nginx.conf"
		configuration.write_text(MAIN.format(user=getpass.getuser(), folder=folder, servers=servers))
		command: list[str | Path] = [
			shutil.which("nginx") or "/usr/sbin/nginx",
			"-c",
			configuration,
			"-e",
			folder / "error.log",
		]
		self._process = Process(command, folder, folder / "output.log")

	def start(self) -> None:
		"""Start it and wait until it listens."""
		self._process.start()
		self._process.wait_for(lambda: accepts(self.port) and accepts(self.tls_port), "nginx")

	def stop(self) -> None:
		"""Stop it."""
		self._process.stop()
