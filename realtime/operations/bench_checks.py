"""The doctor's checks of the files of the bench: folders, configuration, environment and proxy."""

from __future__ import annotations

import getpass
import os
import shlex
from pathlib import Path

from frappe_realtime.contract.settings import APP_DEFAULTS, BACKEND_KEY, EMBEDDED_BACKEND

from ..access.sites import Sites, hostname
from ..config import COMMAND_LINE, KEYS, Config
from ..socketio.errors import ConnectRefused
from .bench_files import SETUP_NGINX, BenchFiles, NginxServer, parsed
from .findings import FAILED, NOTE, OK, CheckFailed, Finding


def listening_address(config: Config) -> str:
	"""Return where the sidecar listens, in words and with the key that sets it."""
	if config.socketio_uds:
		return f"the socket {config.socketio_uds} (socketio_uds)"
	return f"port {config.socketio_port} (socketio_port)"


def _user() -> str:
	"""Return the name of the user of this process; its number if it has none, as in some containers."""
	try:
		return getpass.getuser()
	except (KeyError, OSError):
		return str(os.getuid())


class BenchChecks:
	"""Checks of files; each returns a `Finding` or a list of them, or raises `CheckFailed`.

	Args:
		config: The configuration of the bench.
		files: The files of the bench.
	"""

	def __init__(self, config: Config, files: BenchFiles) -> None:
		self._config = config
		self._files = files
		self._sites = Sites(config)

	def sites_folder(self) -> list[Finding]:
		"""Look for folders and files of sites that this user may not read: the sidecar does not see such a site."""
		folder = self._config.sites
		try:
			entries = sorted(folder.iterdir())
		except OSError as error:
			return [
				self._unreadable(
					"sites.unreadable", folder, f"the folder {folder} cannot be read: {error.strerror}"
				)
			]
		found = []
		for entry in entries:
			file = entry / "site_config.json"
			try:
				if entry.is_dir() and file.is_file():
					file.read_bytes()
			except PermissionError:
				blocked = file if os.access(entry, os.R_OK | os.X_OK) else entry
				found.append(
					self._unreadable("folder.unreadable", blocked, f"{blocked} cannot be read", entry.name)
				)
			except OSError:
				continue
		return found

	def _unreadable(self, code: str, path: Path, what: str, site: str = "") -> Finding:
		user = _user()
		mode = "u+rwx" if path.is_dir() else "u+rw"
		quoted = shlex.quote(str(path))
		mend = f"chmod {mode} {quoted}"
		if path.stat().st_uid != os.getuid():
			mend = f"sudo chown -R {user} {quoted} && {mend}"
		return Finding(
			code,
			FAILED,
			f"{what} by the user {user!r}, so the sidecar of this user does not see what is in it",
			f"the permissions of {path}",
			mend,
			site=site,
		)

	def configuration(self) -> Finding:
		"""Read common_site_config.json, and report keys that are not known."""
		file = self._files.common
		known = {*KEYS, *APP_DEFAULTS}
		given = self._files.read_json(file)
		unknown = sorted(key for key in given if key.startswith("realtime_") and key not in known)
		if unknown:
			return Finding(
				"config.unknown",
				NOTE,
				f"{file} has unknown keys: {', '.join(unknown)}",
				f"{', '.join(unknown)} in {file}",
				" && ".join(f"bench config remove-common-config {key}" for key in unknown),
				"docs/configuration.md lists the keys",
			)
		return Finding("config.ok", OK, f"the configuration in {file} is valid")

	def backend(self) -> list[Finding]:
		"""Report that Frappe's web process answers `/socket.io/` too: its clients are not those of the sidecar."""
		if self._files.read_json(self._files.common).get(BACKEND_KEY) != EMBEDDED_BACKEND:
			return []
		return [
			Finding(
				"backend.embedded",
				NOTE,
				f"{BACKEND_KEY} is {EMBEDDED_BACKEND}: a web process that runs frappe.runner or frappe.asgi answers /socket.io/ "
				"itself, and clients that reach it there are not those of the sidecar",
				self._files.place(BACKEND_KEY),
				self._files.then(f"bench set-config -g {BACKEND_KEY} node", self._files.restart),
				f"the proxy must pass /socket.io to {listening_address(self._config)}; `{SETUP_NGINX}` does",
			)
		]

	def environment(self) -> list[Finding]:
		"""Report environment variables of this shell that give a key another value than the file does."""
		given = self._files.read_json(self._files.common)
		found = []
		for key, origin in self._config.origins.items():
			in_file = given.get(key)
			# Compared as they are read: "8000" is 8000, and a list may be written as text in a variable.
			if origin == COMMAND_LINE or not in_file or parsed(key, in_file) == getattr(self._config, key):
				continue
			found.append(
				Finding(
					"environment.overrides",
					NOTE,
					f"{key} comes from the environment variable {origin} and not from {self._files.common}: "
					"processes without this variable use another value",
					self._files.place(key),
					f"unset {origin}",
				)
			)
		return found

	def nginx(self) -> list[Finding]:
		"""Compare config/nginx.conf and the configuration of the sites with the port of the sidecar."""
		found = []
		config, files = self._config, self._files
		port = files.nginx_socketio_port()
		if port is not None and port != config.socketio_port and not config.socketio_uds:
			found.append(
				Finding(
					"nginx.port",
					FAILED,
					f"nginx passes /socket.io to port {port}, and socketio_port is {config.socketio_port}",
					f"the upstream of /socket.io in {config.bench / 'config' / 'nginx.conf'}; {files.place('socketio_port')}",
					SETUP_NGINX,
				)
			)
		servers = files.nginx_servers()
		behind_nginx = {name for server in servers for name in (*server.names, server.site)}
		for site in self._sites.names():
			of_site = files.site_value(site, "socketio_port")
			if of_site and str(of_site) != str(config.socketio_port):
				# Only pages of the development server connect to this port; those behind nginx to their own.
				is_note = site in behind_nginx
				condition = "with `bench start`, " if is_note else ""
				found.append(
					Finding(
						"desk.port",
						NOTE if is_note else FAILED,
						f"{condition}the Desk connects to port {of_site}, and the sidecar listens on {listening_address(config)}",
						f"socketio_port in {config.sites / site / 'site_config.json'}",
						f"bench --site {site} set-config socketio_port {config.socketio_port}",
						site=site,
					)
				)
		for server in servers:
			found += self._unserved(server)
		return found

	def _unserved(self, server: NginxServer) -> list[Finding]:
		"""Report the hosts of a server block of nginx for which the sidecar serves no site."""
		found = []
		sites = self._sites.names()
		for name in server.names if not server.site else ():
			if (
				name == "_"
				or "*" in name
				or name.startswith("~")
				or any(self._serves(site, name) for site in sites)
			):
				continue
			candidates = [site for site in sites if not self._sites.address(site)] or sites
			port = "" if server.port in (80, 443) else f":{server.port}"
			scheme = "https" if server.port == 443 else "http"
			if not candidates:
				continue
			others = f" (or of {', '.join(candidates[1:])})" if len(candidates) > 1 else ""
			found.append(
				Finding(
					"host.unserved",
					FAILED,
					f"nginx serves the host {name} and names no site for it, and no site has this name: "
					'clients get "Invalid namespace"',
					f"host_name in {self._config.sites / candidates[0] / 'site_config.json'}{others}",
					f"bench --site {candidates[0]} set-config host_name {scheme}://{name}{port}",
					"or name the folder of the site like the host, or let the location /socket.io set X-Frappe-Site-Name",
				)
			)
		return found

	def _serves(self, site: str, host: str) -> bool:
		headers = {"host": host, "origin": f"http://{hostname(host)}"}
		try:
			self._sites.resolve(f"/{site}", headers, behind_proxy=True)
		except ConnectRefused:
			return False
		return True

	def has_sites(self) -> Finding:
		"""Check that the bench has a site."""
		names = self._sites.names()
		if names:
			return Finding("sites.ok", OK, f"sites of the bench: {len(names)}")
		raise CheckFailed(
			Finding(
				"sites.none",
				FAILED,
				f"{self._config.sites} has no site",
				str(self._config.sites),
				"bench new-site NAME",
			)
		)
