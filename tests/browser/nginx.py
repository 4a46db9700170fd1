"""nginx in front of a bench, with the mistakes that a test writes into its configuration."""

from __future__ import annotations

import getpass
import shutil
import subprocess
from pathlib import Path

from tests.wire.conditions import PATIENCE, accepts, free_port, until

COMMAND = shutil.which("nginx") or "/usr/sbin/nginx"

MAIN = """
daemon off;
user {user};
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 256; }}
http {{
	default_type text/html;
	client_body_temp_path {folder}/body;
	proxy_temp_path {folder}/proxy;
	fastcgi_temp_path {folder}/fastcgi;
	uwsgi_temp_path {folder}/uwsgi;
	scgi_temp_path {folder}/scgi;
	access_log off;
	server {{
		listen 127.0.0.1:{port};
		listen 127.0.0.1:{tls_port} ssl;
		ssl_certificate {folder}/cert.pem;
		ssl_certificate_key {folder}/key.pem;
		{locations}
	}}
}}
"""

SOCKETIO = """
location /socket.io {{
	proxy_http_version 1.1;
	proxy_set_header Upgrade $http_upgrade;
	proxy_set_header Connection "upgrade";
	proxy_set_header X-Frappe-Site-Name app.test;
	proxy_set_header Origin $http_origin;
	proxy_set_header Host $http_host;
	proxy_set_header X-Forwarded-For $remote_addr;
	proxy_pass http://127.0.0.1:{port};
}}
"""
"""A location that works."""


class Nginx:
	"""nginx, on two ports.

	Args:
		folder: An empty folder.
		locations: The locations of its server.
	"""

	def __init__(self, folder: Path, locations: str) -> None:
		self.port, self.tls_port = free_port(), free_port()
		self._certificate(folder)
		path = folder / "nginx.conf"
		path.write_text(
			MAIN.format(
				user=getpass.getuser(),
				folder=folder,
				port=self.port,
				tls_port=self.tls_port,
				locations=locations,
			)
		)
		self._log = folder / "error.log"
		self._process = subprocess.Popen([COMMAND, "-c", path, "-e", self._log], cwd=folder)
		until(lambda: accepts(self.port) or self._process.poll() is not None, "nginx listens")
		assert self._process.poll() is None, self._log.read_text()

	@staticmethod
	def _certificate(folder: Path) -> None:
		"""Make a self-signed certificate."""
		files = ["-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")]
		command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
		command += ["-subj", "/CN=app.test", *files]
		subprocess.run(command, check=True, capture_output=True)

	def close(self) -> None:
		"""Stop it."""
		self._process.terminate()
		self._process.wait(PATIENCE)
