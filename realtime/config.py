"""Every key of the configuration: its default, its environment variable, what it means. One table, read once at start."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit


class ConfigError(Exception):
	"""The sidecar cannot start with this configuration; `exit_code` tells a process manager which kind it is."""

	def __init__(self, message: str, exit_code: int) -> None:
		super().__init__(message)
		self.exit_code = exit_code


EXIT_BENCH, EXIT_CONFIG, EXIT_LISTEN = 3, 4, 5
"""Exit codes: no bench at the path; a configuration that cannot be read; the port or socket cannot be listened on."""


@dataclass(frozen=True, slots=True)
class Key:
	"""One row of the table."""

	name: str
	default: Any
	read: Callable[[Any], Any]
	help: str
	environment: str | None = None


def _text(value: Any) -> str:
	if not isinstance(value, str):
		raise ValueError("it must be a string")
	return value


def _redis(value: Any) -> str:
	text = _text(value)
	url = urlsplit(text)
	try:
		there = bool(url.path if url.scheme == "unix" else url.hostname and url.port != 0)
	except ValueError:
		there = False
	if url.scheme not in ("redis", "rediss", "unix") or not there:
		raise ValueError("it must be redis://HOST:PORT, rediss://HOST:PORT (TLS) or unix:///PATH")
	return text


def _number(low: float, high: float) -> Callable[[Any], float]:
	def read(value: Any) -> float:
		if isinstance(value, bool):
			raise ValueError("it must be a number")
		try:
			number = float(value)
		except (TypeError, ValueError):
			raise ValueError("it must be a number") from None
		if not low <= number <= high:
			raise ValueError(f"it must be from {low:g} to {high:g}")
		return number

	return read


def _integer(low: int, high: int) -> Callable[[Any], int]:
	def read(value: Any) -> int:
		number = _number(low, high)(value)
		if number != int(number):
			raise ValueError("it must be a whole number")
		return int(number)

	return read


def _flag(value: Any) -> bool:
	if value in (True, 1, "1", "true", "True"):
		return True
	if value in (False, 0, "0", "false", "False", None, ""):
		return False
	raise ValueError("it must be 0 or 1")


def _choice(*choices: str) -> Callable[[Any], str]:
	def read(value: Any) -> str:
		if value not in choices:
			raise ValueError(f"it must be one of {', '.join(map(repr, choices))}")
		return str(value)

	return read


def _list(value: Any) -> tuple[str, ...]:
	if isinstance(value, str):
		return tuple(item.strip() for item in value.split(",") if item.strip())
	if isinstance(value, list) and all(isinstance(item, str) for item in value):
		return tuple(value)
	raise ValueError("it must be a list of strings")


PRIVATE = (
	"127.0.0.0/8",
	"::1",
	"10.0.0.0/8",
	"172.16.0.0/12",
	"192.168.0.0/16",
	"100.64.0.0/10",
	"169.254.0.0/16",
	"fc00::/7",
	"fe80::/10",
)
"""This machine, and the networks that containers and clusters put a proxy in: what no address of the internet is."""

KEYS: tuple[Key, ...] = (
	Key("socketio_port", 9000, _integer(0, 65535), "port to listen on", "FRAPPE_SOCKETIO_PORT"),
	Key("socketio_uds", "", _text, "Unix socket to listen on instead of the port", "FRAPPE_SOCKETIO_UDS"),
	Key("redis_queue", "redis://127.0.0.1:11000", _redis, "Redis with the events", "FRAPPE_REDIS_QUEUE"),
	Key("redis_queue_sentinel_enabled", False, _flag, "ask Sentinels where redis_queue is"),
	Key("redis_queue_sentinels", (), _list, "the Sentinels, each as host:port"),
	Key("redis_queue_sentinel_username", "", _text, "user at the Sentinels"),
	Key("redis_queue_sentinel_password", "", _text, "password at the Sentinels"),
	Key("redis_queue_master_service", "", _text, "name of redis_queue at the Sentinels"),
	Key("redis_queue_master_username", "", _text, "user at the master"),
	Key("redis_queue_master_password", "", _text, "password at the master"),
	Key("redis_cache", "redis://127.0.0.1:13000", _redis, "Redis cache, for handlers", "FRAPPE_REDIS_CACHE"),
	Key("default_site", "", _text, "site of requests to localhost", "FRAPPE_SITE"),
	Key("webserver_host", "127.0.0.1", _text, "host of the web process", "FRAPPE_WEBSERVER_HOST"),
	Key("webserver_port", 8000, _integer(1, 65535), "port of the web process", "FRAPPE_WEBSERVER_PORT"),
	Key("developer_mode", False, _flag, "open_in_editor, reload of handlers"),
	Key(
		"realtime_host",
		"",
		_text,
		"address to listen on; empty: all, IPv4 and IPv6",
		"FRAPPE_REALTIME_HOST",
	),
	Key(
		"realtime_transports",
		("polling", "websocket"),
		_list,
		"transports that clients may use",
		"FRAPPE_REALTIME_TRANSPORTS",
	),
	Key("realtime_ping_interval", 25.0, _number(1, 3600), "seconds between two pings of a client"),
	Key("realtime_ping_timeout", 20.0, _number(1, 3600), "seconds that a client has to answer a ping"),
	Key("realtime_max_payload", 1_000_000, _integer(1000, 1 << 30), "bytes of a client's message"),
	Key(
		"realtime_max_unsent",
		4 * 1024 * 1024,
		_integer(1000, 1 << 30),
		"bytes that may wait for a client; past them it is closed and recovers",
	),
	Key(
		"realtime_max_packets",
		1000,
		_integer(10, 1_000_000),
		"packets in one polling request; socket.io-client sends what it has buffered at once",
	),
	Key(
		"realtime_events_per_second",
		200.0,
		_number(1, 1_000_000),
		"events that a connection may send; ten seconds' worth at once",
	),
	Key("realtime_guest_events_per_second", 10.0, _number(0.1, 1_000_000), "the same for Guests"),
	Key(
		"realtime_rooms_per_socket",
		1000,
		_integer(1, 10_000_000),
		"rooms that a client may ask for at a time",
	),
	Key("realtime_guest_rooms_per_socket", 50, _integer(1, 10_000_000), "the same for Guests"),
	Key(
		"realtime_guest_rooms",
		("doc", "doctype"),
		_list,
		"kinds of rooms that Guests may ask for: doc, doctype, open_doc",
		"FRAPPE_REALTIME_GUEST_ROOMS",
	),
	Key(
		"realtime_task_subscribers",
		"System User",
		_choice("System User", "owner"),
		"who may follow a background job beside the user who started it: every System User, or nobody (owner)",
	),
	Key("realtime_sockets_per_user", 500, _integer(1, 10_000_000), "sockets of one user of a site"),
	Key(
		"realtime_guests_per_address",
		500,
		_integer(1, 10_000_000),
		"sockets of Guests from one address, where it is known",
	),
	Key(
		"realtime_connections_per_address",
		5000,
		_integer(1, 10_000_000),
		"connections from one address, where it is known",
	),
	Key(
		"realtime_unknown_connections",
		20_000,
		_integer(1, 10_000_000),
		"connections that are no site's yet: nobody has said who they are",
	),
	Key(
		"realtime_namespaces_per_connection",
		16,
		_integer(1, 1000),
		"namespaces of one connection: a client talks to one site, or to a few",
	),
	Key(
		"realtime_trusted_proxies",
		PRIVATE,
		_list,
		"addresses and networks whose X-Frappe-Site-Name, X-Forwarded-Host and X-Forwarded-For count",
		"FRAPPE_REALTIME_TRUSTED_PROXIES",
	),
	Key(
		"realtime_connect_timeout",
		45.0,
		_number(1, 3600),
		"seconds a connection may live without a namespace",
	),
	Key(
		"realtime_recovery_seconds",
		120.0,
		_number(1, 86400),
		"seconds past a disconnect in which a client can recover",
	),
	Key(
		"realtime_recovery_agents",
		(),
		_list,
		"User-Agents, by how they begin, of further clients that can recover; '!' before it: cannot",
	),
	Key("realtime_web_timeout", 10.0, _number(0.1, 600), "seconds the web process has for one answer"),
	Key(
		"realtime_web_patience",
		120.0,
		_number(0, 3600),
		"seconds a client waits while the web process does not answer",
	),
	Key("realtime_web_connections", 16, _integer(1, 1000), "requests to the web process at a time"),
	Key("realtime_cache_seconds", 5.0, _number(0, 3600), "seconds that answers of the web process are kept"),
	Key(
		"realtime_recheck_seconds",
		30.0,
		_number(0, 86400),
		"seconds after which a session and its rooms are asked about again on sites without the app; 0: never",
	),
	Key("realtime_cache_size", 50_000, _integer(100, 10_000_000), "answers that are kept at a time"),
	Key(
		"realtime_node", "", _text, "Node for handlers in JavaScript; empty: on PATH", "FRAPPE_REALTIME_NODE"
	),
	Key(
		"realtime_javascript_timeout",
		30.0,
		_number(0.5, 3600),
		"seconds that a handler in JavaScript may block all others before their process is ended",
	),
	Key(
		"realtime_allowed_origins",
		(),
		_list,
		"hostnames of pages elsewhere that may connect",
		"FRAPPE_REALTIME_ALLOWED_ORIGINS",
	),
	Key(
		"realtime_handler_queue", 2000, _integer(1, 1_000_000), "events of a socket that may wait for an app"
	),
	Key(
		"realtime_handler_seconds",
		10.0,
		_number(0.1, 3600),
		"seconds after which a handler is reported and overtaken",
	),
	Key(
		"realtime_handler_blocking",
		1.0,
		_number(0.05, 600),
		"seconds a handler may block the event loop unnamed",
	),
	Key("realtime_handler_threads", 16, _integer(1, 1000), "threads for plain handlers"),
	Key("realtime_sidecars", 64, _integer(1, 10_000), "other sidecars of the bench that this one listens to"),
	Key(
		"realtime_sidecar_members",
		100_000,
		_integer(1, 10_000_000),
		"sockets in rooms on other sidecars that this one remembers",
	),
	Key(
		"realtime_sidecar_unsent",
		8 * 1024 * 1024,
		_integer(10_000, 1 << 30),
		"bytes for other sidecars that may wait for Redis",
	),
	Key("realtime_log_level", "INFO", _text, "DEBUG, INFO, WARNING or ERROR", "FRAPPE_REALTIME_LOG_LEVEL"),
)


@dataclass(frozen=True, slots=True)
class Config:
	"""What the sidecar runs with. `values` has every key of the table; `bench` is the root of the bench."""

	bench: Path
	values: Mapping[str, Any]

	def __getitem__(self, name: str) -> Any:
		return self.values[name]

	@property
	def sites(self) -> Path:
		"""The folder with a folder for each site."""
		return self.bench / "sites"

	@property
	def web_url(self) -> str:
		"""The one address that is ever called: never one that a request names."""
		host = self["webserver_host"]
		if "://" in host:
			return host.rstrip("/")
		if ":" in host:
			host = f"[{host.strip('[]')}]"
		return f"http://{host}:{self['webserver_port']}"


def find_bench(path: str | None, environment: Mapping[str, str] = os.environ) -> Path:
	"""The bench root: `path`, else FRAPPE_BENCH_ROOT, else two levels above the app. Raises `ConfigError`."""
	if path:
		origin, bench = "--bench", Path(path)
	elif environment.get("FRAPPE_BENCH_ROOT"):
		origin, bench = "FRAPPE_BENCH_ROOT", Path(environment["FRAPPE_BENCH_ROOT"])
	else:
		origin, bench = "the place of the app", Path(__file__).resolve().parents[3]
	if not (bench / "sites").is_dir():
		raise ConfigError(
			f"{bench} (from {origin}) is not a bench: it has no folder 'sites'. Name the bench root with --bench PATH or FRAPPE_BENCH_ROOT.",
			EXIT_BENCH,
		)
	return bench.resolve()


def load(
	bench: Path,
	environment: Mapping[str, str] = os.environ,
	overrides: Mapping[str, Any] | None = None,
) -> Config:
	"""Read the configuration of `bench`.

	Later wins: the defaults, `config.json`, `sites/common_site_config.json` (in both a falsy value of Frappe's own keys counts
	as absent), the environment, `overrides` of the command line. Raises `ConfigError` naming the file or variable and the key.
	"""
	values = {key.name: key.default for key in KEYS}
	for name in ("config.json", "sites/common_site_config.json"):
		_apply_file(bench / name, values)
	for key in KEYS:
		if key.environment and environment.get(key.environment):
			values[key.name] = _read(key, environment[key.environment], key.environment)
	for name, value in (overrides or {}).items():
		if value is not None:
			values[name] = value
	unknown = set(values["realtime_transports"]) - {"polling", "websocket"}
	if unknown or not values["realtime_transports"]:
		raise ConfigError("realtime_transports must be a list of 'polling' and 'websocket'", EXIT_CONFIG)
	return Config(bench, values)


def _apply_file(path: Path, values: dict[str, Any]) -> None:
	try:
		content = json.loads(path.read_text())
	except FileNotFoundError:
		return
	except (OSError, ValueError) as error:
		raise ConfigError(f"{path} cannot be read: {error}", EXIT_CONFIG) from error
	if not isinstance(content, dict):
		raise ConfigError(f"{path} does not hold a JSON object", EXIT_CONFIG)
	for key in KEYS:
		value = content.get(key.name)
		# Frappe's own keys are read as the Node server reads them; in ours a 0 says something.
		if value or (key.name.startswith("realtime_") and value in (0, False)):
			values[key.name] = _read(key, value, str(path))


def _read(key: Key, value: Any, origin: str) -> Any:
	try:
		return key.read(value)
	except ValueError as error:
		shown = value.rpartition("@")[2] if key.read is _redis and isinstance(value, str) else value
		raise ConfigError(f"{key.name} in {origin} is {shown!r}: {error}", EXIT_CONFIG) from error
