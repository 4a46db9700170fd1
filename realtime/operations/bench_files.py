"""What the files of a bench say about its processes: where a key is set, which ports they use, and how they are restarted."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from ..config import COMMAND_LINE, KEYS, Config
from .containers import Containers
from .findings import KeyChange

COMMON = "common_site_config.json"

DEFAULT_REDIS_PORT, DEFAULT_WEB_PORT = 11000, 8000
"""The ports of bench's own templates."""

SETUP_NGINX = "bench setup nginx --yes && sudo nginx -s reload"

_UNIT = "-node-socketio.service"
"""The end of the name of the unit that bench writes for the realtime server."""

_FILES_OF_PILOT = ("config/Procfile", "config/supervisor/supervisord.conf", "config/gunicorn.conf.py")
"""The files by which pilot starts the processes of a bench."""

_OPTIONS = {"socketio_port": "--port", "socketio_uds": "--uds"}
"""The options of `frappe-realtime serve` that say where it listens, by the keys that they override."""

_PORT_OF_REDIS = re.compile(r"^\s*port\s+(\d+)", re.M)
_REDIS_PASSWORD = re.compile(r"^\s*(?:requirepass|aclfile|user\s)", re.M)
_WEB_PORT_OF_PROCFILE = re.compile(r"^web:.*?(?:--port[ =]|-b\s*\S*?:|-p\s)(\d+)", re.M)
_WEB_PORT_OF_SUPERVISOR = re.compile(r"^command=\S*gunicorn\s+-b\s+\S*?:(\d+)(?!\S)", re.M)
_UPSTREAM = re.compile(r"upstream\s+(\S+)\s*\{\s*server\s+[^;{}]*?:(\d+)(?=[\s;])", re.M)
_SERVER = re.compile(r"^\s*server\s*\{", re.M)


def without_password(value: str) -> str:
	"""Return a URL with words in the place of its user and password; other values unchanged."""
	scheme, separator, rest = value.partition("://")
	login, at, host = rest.rpartition("@")
	return f"{scheme}{separator}USER:PASSWORD@{host}" if separator and at and login else value


def parsed(key: str, value: Any) -> Any:
	"""Return the value of a key as the sidecar reads it: `bench set-config` writes numbers as text."""
	return KEYS[key].metadata["key"].parse(value)


class NginxServer(NamedTuple):
	"""A server block of config/nginx.conf: its names, its port, and the site in X-Frappe-Site-Name, empty if it names none."""

	names: tuple[str, ...]
	port: int
	site: str


class BenchFiles:
	"""Reads the files of a bench; a file that is missing or cannot be read says nothing.

	Args:
		config: The configuration of the bench.
		containers: What restarts the container that this process is in; None outside of a container.
	"""

	def __init__(self, config: Config, containers: Containers | None = None) -> None:
		self.config = config
		self.bench = config.bench
		self.common = config.sites / COMMON
		# A process manager may run in a container, too.
		self._containers = None if self._has_process_manager else containers

	def _read(self, path: str) -> str:
		with suppress(OSError, UnicodeDecodeError):
			return (self.bench / path).read_text()
		return ""

	def read_json(self, file: Path) -> dict[str, Any]:
		"""Return the object in a JSON file; empty if there is none."""
		with suppress(OSError, ValueError):
			content = json.loads(file.read_text())
			return content if isinstance(content, dict) else {}
		return {}

	def site_value(self, site: str, key: str) -> Any:
		"""Return the value of a key in the configuration of a site; None if it does not have it."""
		return self.read_json(self.config.sites / site / "site_config.json").get(key)

	# -- where a key is set

	def place(self, key: str, overrides: Mapping[str, str] | None = None, of: str = "this shell") -> str:
		"""Return where the value of a key comes from.

		Args:
			key: A key of the configuration.
			overrides: As in `Config.origins`; by default those of this process.
			of: Whose environment the overrides are from.
		"""
		origin = (self.config.origins if overrides is None else overrides).get(key, "")
		if not origin:
			return f"{key} in {self.common}"
		if origin == COMMAND_LINE:
			return f"{key} on the command line of {of}{self._mentioned('frappe-realtime serve')}"
		return f"{origin} ({key}) in the environment of {of}{self._mentioned(origin)}"

	def _mentioned(self, text: str) -> str:
		files = [name for name in self._process_files if text in self._read(name)]
		return f", set in {' and '.join(files)}" if files else ""

	def left_in_files(self, key: str, origin: str) -> str:
		"""Return what to remove from the files that start the server, because each restart sets it again; empty for nothing.

		Args:
			key: A key of the configuration.
			origin: Where the sidecar has its value from, as in `Config.origins`.
		"""
		text, before = origin, ""
		if origin == COMMAND_LINE:
			text, before = _OPTIONS.get(key, ""), "frappe-realtime serve.*"
		pattern = re.compile(before + re.escape(text))
		files = [name for name in self._process_files if text and pattern.search(self._read(name))]
		if not files:
			return ""
		return f"a restart sets it again: remove {text} from {' and '.join(files)}, then {self._restart_after_setup}"

	def set_key(self, key: str, value: Any) -> str:
		"""Return the command that gives a key of this process another value, and restarts the processes."""
		variable = self.config.origins.get(key, "")
		if variable and variable != COMMAND_LINE:
			return self.restart_sidecar_without(variable) if self._containers else f"unset {variable}"
		command = f"bench set-config -g {key} {shlex.quote(without_password(str(value)))}"
		# The others do not read where the web process is.
		return self.then(command, self.restart if key == "redis_queue" else self.restart_sidecar)

	def change(self, key: str, value: Any) -> KeyChange | None:
		"""Return the change of common_site_config.json that `set_key` makes; None if the value is not from there."""
		if key in self.config.origins:
			return None
		return KeyChange(self.common, key, self.read_json(self.common).get(key), value)

	@property
	def restart(self) -> str:
		"""The command that restarts the processes of the bench."""
		if not self._has_supervisor:
			if unit := self._unit:
				# `bench restart` restarts units only with a key of its own (restart_systemd_on_update).
				return f"sudo systemctl restart '{unit.removesuffix(_UNIT)}-*.service'"
			if self._read("Procfile"):
				return "bench start"
		return self._containers.restart if self._containers else "bench restart"

	@property
	def restart_sidecar(self) -> str:
		"""The command that restarts the sidecar: on a bench, with the other processes."""
		return self._containers.restart_sidecar if self._containers else self.restart

	@property
	def start(self) -> str:
		"""The command that starts the processes of the bench that do not run."""
		if self._containers:
			return self._containers.start
		return "sudo supervisorctl start all" if self.restart == "bench restart" else self.restart

	def then(self, command: str, restart: str) -> str:
		"""Return `command`, followed by one of the commands that restart something."""
		if self._containers:
			return f"{command}  # then, outside of the container: {restart}"
		return f"{command} && {restart}"

	def restart_sidecar_without(self, variable: str) -> str:
		"""Return the command that restarts the sidecar without a variable of its environment."""
		if self._containers:
			return f"{self._containers.apply}  # without {variable} in {self._containers.definition}"
		return f"unset {variable} && {self.restart}"

	@property
	def set_up(self) -> str:
		"""The command that lets the process manager start the sidecar as `bench realtime setup` writes it."""
		if self._containers:
			return f"{self._containers.apply}  # with the command in {self._containers.definition}"
		return f"bench realtime setup && {self._restart_after_setup}"

	@property
	def _restart_after_setup(self) -> str:
		"""The command that brings into force what `bench realtime setup` has written: `bench restart` does not read it."""
		if self._has_supervisor:
			return "sudo supervisorctl reread && sudo supervisorctl update"
		if self._unit:
			return f"sudo systemctl daemon-reload && {self.restart}"
		return self.restart

	@property
	def _has_process_manager(self) -> bool:
		files = ("Procfile", *_FILES_OF_PILOT)
		return self._has_supervisor or bool(self._unit) or any((self.bench / file).exists() for file in files)

	@property
	def _has_supervisor(self) -> bool:
		return (self.bench / "config" / "supervisor.conf").exists()

	@property
	def _process_files(self) -> tuple[str, ...]:
		"""The files of bench that start the realtime server."""
		return ("Procfile", "config/supervisor.conf", f"config/systemd/{self._unit}")

	@property
	def _unit(self) -> str:
		"""The name of the unit of the realtime server that bench has written for systemd; empty if there is none."""
		return next((unit.name for unit in (self.bench / "config" / "systemd").glob(f"*{_UNIT}")), "")

	# -- ports

	@property
	def redis_key(self) -> str:
		"""The key that says where redis_queue is."""
		has_sentinels = self.config.redis_queue_sentinel_enabled and self.config.redis_queue_sentinels
		return "redis_queue_sentinels" if has_sentinels else "redis_queue"

	def redis_urls(self) -> list[str]:
		"""Return other URLs at which redis_queue may be: the configured one with the port of its own configuration file."""
		url = urlsplit(self.config.redis_queue)
		if url.scheme not in ("redis", "rediss") or url.hostname not in ("127.0.0.1", "localhost", "::1"):
			return []
		match = _PORT_OF_REDIS.search(self._read("config/redis_queue.conf"))
		# Without the file only: what answers at the default port may be the Redis of another bench of this machine.
		port = int(match[1]) if match else DEFAULT_REDIS_PORT
		login, separator, _ = url.netloc.rpartition("@")
		urls = []
		if port != url.port:
			urls.append(url._replace(netloc=f"{login}{separator}127.0.0.1:{port}").geturl())
		in_file = self.read_json(self.common).get("redis_queue")
		if (
			"redis_queue" in self.config.origins
			and isinstance(in_file, str)
			and in_file != self.config.redis_queue
		):
			urls.insert(0, in_file)
		return urls

	@property
	def redis_has_password(self) -> bool:
		"""True if config/redis_queue.conf sets a password or users."""
		return _REDIS_PASSWORD.search(self._read("config/redis_queue.conf")) is not None

	@property
	def web_key(self) -> str:
		"""The key that says where the web process is: with a whole URL in webserver_host, webserver_port has no effect."""
		return "webserver_host" if "://" in self.config.webserver_host else "webserver_port"

	def web_ports(self) -> list[int]:
		"""Return other ports on which the web process may listen, by the files that start it and the proxy."""
		found = [
			*_WEB_PORT_OF_PROCFILE.findall(self._read("Procfile")),
			*_WEB_PORT_OF_SUPERVISOR.findall(self._read("config/supervisor.conf")),
			*(
				port
				for name, port in _UPSTREAM.findall(self._read("config/nginx.conf"))
				if not name.endswith("socketio-server")
			),
		]
		if not found:
			# Otherwise the web process of another bench of this machine may be there.
			found.append(DEFAULT_WEB_PORT)
		in_file = self.read_json(self.common).get("webserver_port")
		if "webserver_port" in self.config.origins and in_file:
			found.insert(0, parsed("webserver_port", in_file))
		return [port for port in dict.fromkeys(map(int, found)) if port != self.config.webserver_port]

	def nginx_socketio_port(self) -> int | None:
		"""Return the port to which config/nginx.conf passes `/socket.io`; None if it does not say."""
		for name, port in _UPSTREAM.findall(self._read("config/nginx.conf")):
			if name.endswith("socketio-server"):
				return int(port)
		return None

	def nginx_servers(self) -> list[NginxServer]:
		"""Return the server blocks of config/nginx.conf that have names."""
		servers = []
		for block in _SERVER.split(self._read("config/nginx.conf"))[1:]:
			names = re.search(r"\bserver_name\s+([^;]+);", block)
			port = re.search(r"\blisten\s+(?:\S*:)?(\d+)", block)
			site = re.search(r"X-Frappe-Site-Name\s+([^;\s]+)", block)
			if names and "/socket.io" in block:
				named = site[1].strip("\"'") if site else ""
				servers.append(
					NginxServer(
						tuple(names[1].split()), int(port[1]) if port else 80, "" if "$" in named else named
					)
				)
		return servers

	@property
	def has_no_proxy(self) -> bool:
		"""True if `bench start` starts the bench and bench has written no configuration of nginx, as in development."""
		return self.restart == "bench start" and not self._read("config/nginx.conf")

	@property
	def starts_node(self) -> bool:
		"""True if Procfile, config/supervisor.conf or the unit of systemd start the Node server."""
		files = [self._read(path) for path in self._process_files]
		return any(command in file for file in files for command in ("socketio.js", "bench socketio"))

	@property
	def descriptor_limit(self) -> tuple[str, str]:
		"""Where the limit of open files of the processes of this bench is set, and the command that raises it."""
		if containers := self._containers:
			return (
				f"the limit of open files in {containers.definition}",
				f"{containers.apply}  # with a higher limit",
			)
		if self._read("config/supervisor.conf"):
			return (
				"minfds in /etc/supervisor/supervisord.conf",
				"sudo sed -i '/^minfds/d; s/^\\[supervisord\\]/&\\nminfds=65536/' /etc/supervisor/supervisord.conf"
				" && sudo systemctl restart supervisor",
			)
		if unit := self._unit:
			drop_ins = shlex.quote(f"/etc/systemd/system/{unit}.d")
			return (
				f"LimitNOFILE of the unit {unit}",
				f"sudo mkdir -p {drop_ins} && printf '[Service]\\nLimitNOFILE=65536\\n' | sudo tee {drop_ins}/limits.conf"
				f" && {self._restart_after_setup}",
			)
		return (
			"the limit of the shell or service that starts the sidecar (ulimit -n, LimitNOFILE)",
			f"ulimit -n 65536 && {self.restart}",
		)
