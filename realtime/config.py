"""The configuration of the sidecar: every key with its default, its parser, its environment variable and its meaning."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import Field, dataclass, field, fields, replace
from math import ceil
from pathlib import Path
from typing import Any

from frappe_realtime.contract.users import SYSTEM_USER

from .config_parsers import (
	choice,
	flag,
	integer,
	log_level,
	networks,
	number,
	redis_url,
	string_list,
	text,
	transports,
	worker_count,
)


class ConfigError(Exception):
	"""The sidecar cannot start with this configuration.

	Args:
		message: What was found, where, and what to do; names the key.
		exit_code: The exit code of the process, by which a process manager can tell the cause.
	"""

	def __init__(self, message: str, exit_code: int) -> None:
		super().__init__(message)
		self.exit_code = exit_code


COMMAND_LINE = "the command line"

EXIT_BENCH, EXIT_CONFIG, EXIT_LISTEN = 3, 4, 5
"""Exit codes: no bench at the path; a configuration that cannot be read; an address that cannot be listened on."""

PRIVATE_NETWORKS = (
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
"""Loopback, and the networks in which containers and clusters put a proxy."""


@dataclass(frozen=True, slots=True)
class Key:
	"""What belongs to one key besides its name, its type and its default.

	Args:
		parse: Returns the value of the key from what a file or a variable holds; raises `ValueError`.
		help: One line for docs/configuration.md.
		env: The environment variable that overrides the files; empty if there is none.
		divided: True if each of several workers of a host gets an equal part of the value.
	"""

	parse: Callable[[Any], Any]
	help: str
	env: str
	divided: bool


def key(default: Any, parse: Callable[[Any], Any], help: str, env: str = "", divided: bool = False) -> Any:
	"""Declare a key as a field of `Config`."""
	return field(default=default, metadata={"key": Key(parse, help, env, divided)})


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
	"""The configuration that the sidecar runs with; each field but `bench` is a key of `common_site_config.json`."""

	bench: Path
	"""The root of the bench."""

	origins: Mapping[str, str] = field(default_factory=dict)
	"""By key, the environment variable that its value comes from, or `COMMAND_LINE`; keys of files are missing."""

	# Where to listen
	socketio_port: int = key(9000, integer(0, 65535), "port to listen on", env="FRAPPE_SOCKETIO_PORT")
	socketio_uds: str = key(
		"", text, "Unix socket to listen on instead of the port", env="FRAPPE_SOCKETIO_UDS"
	)
	socketio_workers: int = key(
		1,
		worker_count,
		"worker processes that share the port or Unix socket; auto: one for each core",
		env="FRAPPE_SOCKETIO_WORKERS",
	)
	realtime_host: str = key(
		"", text, "address to listen on; empty: all, IPv4 and IPv6", env="FRAPPE_REALTIME_HOST"
	)
	realtime_peer_address: str = key(
		"",
		text,
		"host, or host:port, at which the sidecars of other hosts reach this one; empty: realtime_host, or the address of this host on the way to redis_queue",
		env="FRAPPE_REALTIME_PEER_ADDRESS",
	)
	realtime_transports: tuple[str, ...] = key(
		("polling", "websocket"),
		transports,
		"transports that clients may use",
		env="FRAPPE_REALTIME_TRANSPORTS",
	)
	# Redis
	redis_queue: str = key(
		"redis://127.0.0.1:11311", redis_url, "URL of the Redis with the events", env="FRAPPE_REDIS_QUEUE"
	)
	redis_queue_sentinel_enabled: bool = key(False, flag, "whether redis_queue is found through Sentinels")
	redis_queue_sentinels: tuple[str, ...] = key((), string_list, "the Sentinels, each as host:port")
	redis_queue_sentinel_username: str = key("", text, "user name at the Sentinels")
	redis_queue_sentinel_password: str = key("", text, "password at the Sentinels")
	redis_queue_master_service: str = key("", text, "name of redis_queue at the Sentinels")
	redis_queue_master_username: str = key("", text, "user name at the master")
	redis_queue_master_password: str = key("", text, "password at the master")
	redis_cache: str = key(
		"redis://127.0.0.1:13311",
		redis_url,
		"URL of the Redis in which Frappe caches sessions; used while there are too many failed logins",
		env="FRAPPE_REDIS_CACHE",
	)
	# The web process
	default_site: str = key(
		"",
		text,
		"site of requests to localhost, and to hosts that are no site, where no proxy names the site",
		env="FRAPPE_SITE",
	)
	webserver_host: str = key("127.0.0.1", text, "host of the web process", env="FRAPPE_WEBSERVER_HOST")
	webserver_port: int = key(8000, integer(1, 65535), "port of the web process", env="FRAPPE_WEBSERVER_PORT")
	developer_mode: bool = key(
		False, flag, "open_in_editor, reloading of handlers, and their errors in the browser"
	)
	realtime_web_timeout: float = key(
		10.0, number(0.1, 600), "seconds that the web process has for one answer"
	)
	realtime_web_patience: float = key(
		120.0, number(0, 3600), "seconds that a client waits while the web process does not answer"
	)
	realtime_web_connections: int = key(
		16, integer(1, 1000), "concurrent requests to the web process", divided=True
	)
	# Engine.IO and Socket.IO
	realtime_ping_interval: float = key(25.0, number(1, 3600), "seconds between two pings of a client")
	realtime_ping_timeout: float = key(20.0, number(1, 3600), "seconds that a client has to answer a ping")
	realtime_connect_timeout: float = key(
		45.0, number(1, 3600), "seconds that a connection may stay without a login to a site"
	)
	realtime_max_payload: int = key(
		1_000_000, integer(1000, 1 << 30), "bytes of one message of a client, or of one polling request"
	)
	realtime_max_packets: int = key(1000, integer(10, 1_000_000), "packets in one polling request")
	realtime_max_unsent: int = key(
		4 * 1024 * 1024,
		integer(1000, 1 << 30),
		"bytes that may wait for a client; beyond them it is closed and recovers",
	)
	realtime_handovers_waiting: int = key(
		1000,
		integer(1, 1_000_000),
		"connections that may wait until another worker of the host can receive them; further ones are refused",
	)
	realtime_forwarded_connections: int = key(
		10_000,
		integer(1, 10_000_000),
		"connections that a process forwards to the sidecars of other hosts at a time, and that it accepts from them; further ones are refused",
	)
	realtime_namespaces_per_connection: int = key(16, integer(1, 1000), "namespaces of one connection")
	# Limits of clients
	realtime_frames_per_second: float = key(
		500.0,
		number(1, 1_000_000),
		"WebSocket frames, polling requests and packets in them that a connection may send, at least realtime_events_per_second; bursts of ten seconds' worth",
	)
	realtime_unknown_frames_per_second: float = key(
		3.0,
		number(1, 1_000_000),
		"WebSocket frames, polling requests and packets in them that a connection without a login to a site may send; bursts of ten seconds' worth",
	)
	realtime_events_per_second: float = key(
		200.0,
		number(1, 1_000_000),
		"events that a connection may send, and their binary attachments; bursts of ten seconds' worth",
	)
	realtime_guest_events_per_second: float = key(
		10.0,
		number(0.1, 1_000_000),
		"events that a connection of a Guest may send, and their binary attachments; bursts of ten seconds' worth",
	)
	realtime_questions_per_second: float = key(
		20.0,
		number(0.1, 1_000_000),
		"requests to the web process that subscriptions of a client, and permission questions of handlers about it, may cause; bursts of ten seconds' worth",
	)
	realtime_guest_questions_per_second: float = key(
		2.0,
		number(0.1, 1_000_000),
		"requests to the web process that subscriptions of a Guest, and permission questions of handlers about it, may cause; bursts of ten seconds' worth",
	)
	realtime_failed_logins_per_second: float = key(
		4.0,
		number(0.1, 1_000_000),
		"credentials from one address that the web process may find invalid; bursts of 30 seconds' worth",
		divided=True,
	)
	realtime_unknown_failed_logins_per_second: float = key(
		4.0,
		number(0.1, 1_000_000),
		"credentials of all clients without a known address that the web process may find invalid; bursts of 30 seconds' worth",
		divided=True,
	)
	realtime_attachment_bytes: int = key(
		10_000_000, integer(1000, 1 << 30), "bytes of the binary attachments of one event"
	)
	realtime_guest_attachment_bytes: int = key(
		100_000, integer(1000, 1 << 30), "bytes of the binary attachments of one event of a Guest"
	)
	realtime_rooms_per_socket: int = key(
		1000, integer(1, 10_000_000), "rooms that a client may subscribe to at a time"
	)
	realtime_guest_rooms_per_socket: int = key(
		50, integer(1, 10_000_000), "rooms that a Guest may subscribe to at a time"
	)
	realtime_guest_rooms: tuple[str, ...] = key(
		("doc", "doctype"),
		string_list,
		"kinds of rooms that Guests may subscribe to: doc, doctype, open_doc, presence, shared",
		env="FRAPPE_REALTIME_GUEST_ROOMS",
	)
	realtime_task_subscribers: str = key(
		SYSTEM_USER,
		choice(SYSTEM_USER, "owner"),
		"users that may subscribe to a background job besides its owner: every System User, or none (owner)",
	)
	realtime_sockets_per_user: int = key(500, integer(1, 10_000_000), "sockets of one user of a site")
	realtime_guests_per_address: int = key(
		500, integer(1, 10_000_000), "sockets of Guests from one address, where it is known"
	)
	realtime_connections_per_address: int = key(
		5000, integer(1, 10_000_000), "connections from one address, where it is known"
	)
	realtime_handshakes_per_second: float = key(
		20.0,
		number(0.1, 1_000_000),
		"new connections from one address, where it is known; bursts of realtime_connections_per_address, or of ten seconds' worth if that is more",
		divided=True,
	)
	realtime_pages_per_second: float = key(
		5.0,
		number(0.1, 1_000_000),
		"requests for /health and /metrics from one address, where it is known; bursts of ten seconds' worth",
		divided=True,
	)
	realtime_unknown_connections: int = key(
		20_000,
		integer(1, 10_000_000),
		"connections without a login to a site; beyond them the oldest is closed",
		divided=True,
	)
	# Proxies and origins
	realtime_trusted_proxies: tuple[str, ...] = key(
		PRIVATE_NETWORKS,
		networks,
		"addresses and networks of proxies whose X-Frappe-Site-Name, X-Forwarded-Host, X-Forwarded-For and X-Real-IP are trusted; they may read /metrics",
		env="FRAPPE_REALTIME_TRUSTED_PROXIES",
	)
	realtime_allowed_origins: tuple[str, ...] = key(
		(),
		string_list,
		"hostnames of other origins whose pages may connect",
		env="FRAPPE_REALTIME_ALLOWED_ORIGINS",
	)
	# Access
	realtime_cache_seconds: float = key(
		5.0,
		number(0, 3600),
		"seconds that answers of the web process are cached; with less than 1, list updates may name no document",
	)
	realtime_cache_size: int = key(50_000, integer(100, 10_000_000), "answers that are cached")
	realtime_recheck_seconds: float = key(
		30.0,
		number(0, 86400),
		"seconds after which sessions and rooms are revalidated on sites without the app, ten times as many on the others; 0: never",
	)
	realtime_list_updates_per_second: int = key(
		100,
		integer(0, 100_000),
		"documents that the list_update events of one list name in one second; events in between are joined; 0: all are sent",
	)
	# Presence
	realtime_presence_places: int = key(8, integer(1, 10_000), "places in which one socket is present")
	realtime_presence_state_bytes: int = key(
		2048, integer(2, 1 << 20), "bytes of the state of one member, as JSON"
	)
	realtime_presence_changes_per_second: float = key(
		50.0,
		number(0.1, 1_000_000),
		"joins and changes of state of one socket; bursts of ten seconds' worth",
	)
	realtime_presence_roster: int = key(
		50, integer(1, 100_000), "members of a place that are listed, those who came first; all are counted"
	)
	realtime_presence_states: int = key(
		50, integer(1, 100_000), "listed members of a place whose states are shown"
	)
	realtime_presence_guest_states: int = key(
		10, integer(0, 100_000), "listed Guests of a place whose states are shown"
	)
	realtime_presence_interval: float = key(
		0.1, number(0.01, 10), "seconds between two messages about the members of one place"
	)
	realtime_presence_writes_per_second: int = key(
		20_000,
		integer(1, 100_000_000),
		"messages about members that are written to sockets; places beyond wait for their turn",
	)
	realtime_presence_grace_seconds: float = key(
		5.0,
		number(0, 600),
		"seconds for which a member whose connection is lost stays, so that nobody sees it leave when it reconnects",
	)
	# Shared editing
	realtime_shared_documents: int = key(
		8, integer(1, 10_000), "documents that one socket edits together with others"
	)
	realtime_shared_update_bytes: int = key(
		262_144, integer(100, 1 << 30), "bytes of one change of a shared document"
	)
	realtime_shared_document_bytes: int = key(
		900_000,
		integer(100, 1 << 30),
		"bytes of the state of a shared document, and of what one client sends another that lacks it; below realtime_max_payload",
	)
	realtime_shared_updates_per_second: float = key(
		50.0,
		number(0.1, 1_000_000),
		"changes of shared documents that one socket sends; one counts again for each 16 KiB; bursts of ten seconds' worth",
	)
	realtime_shared_states: int = key(
		1000,
		integer(0, 10_000_000),
		"shared documents whose state is kept in Redis, with the extra shared-editing; changes of further ones are passed on only",
	)
	realtime_shared_state_seconds: int = key(
		3600,
		integer(60, 10_000_000),
		"seconds for which the state of a shared document that nobody follows is kept",
	)
	realtime_shared_store_seconds: float = key(
		10.0, number(0.1, 3600), "seconds from a change of a shared document until the app is given its state"
	)
	# Recovery
	realtime_recovery_seconds: float = key(
		120.0, number(1, 86400), "seconds after a disconnect in which a client can recover its session"
	)
	realtime_recovery_agents: tuple[str, ...] = key(
		(),
		string_list,
		"prefixes of the User-Agents of further clients that can recover; with '!' before it: that cannot",
	)
	realtime_recovery_bytes_per_second: int = key(
		1_000_000,
		integer(1000, 1 << 40),
		"bytes of missed events that are read for or sent to the clients of one user; bursts of 30 seconds' worth",
	)
	realtime_guest_recovery_bytes_per_second: int = key(
		250_000,
		integer(1000, 1 << 40),
		"bytes of missed events that are read for or sent to the Guests of one address, where it is known; bursts of 30 seconds' worth",
	)
	realtime_address_recovery_bytes_per_second: int = key(
		8_000_000,
		integer(1000, 1 << 40),
		"bytes of missed events that are read for or sent to all clients of one address, where it is known; bursts of 30 seconds' worth",
	)
	realtime_rewind_events: int = key(
		200, integer(1, 100_000), "last events of a room that a subscription or a handler may ask for"
	)
	# Handlers
	realtime_handler_queue: int = key(
		2000, integer(1, 1_000_000), "events of one socket that may wait for the handlers of one app"
	)
	realtime_handler_queue_bytes: int = key(
		4 * 1024 * 1024,
		integer(1000, 1 << 30),
		"bytes of memory that the events of one socket that wait for the handlers of one app may take",
	)
	realtime_handler_seconds: float = key(
		10.0,
		number(0.1, 3600),
		"seconds after which a handler is logged, and the next event of its socket is handled",
	)
	realtime_handler_blocking: float = key(
		1.0, number(0.05, 600), "seconds that a handler may block the event loop before it is logged"
	)
	realtime_handler_threads: int = key(16, integer(1, 1000), "threads for plain `def` handlers")
	realtime_node: str = key(
		"", text, "Node binary for JavaScript handlers; empty: from PATH", env="FRAPPE_REALTIME_NODE"
	)
	realtime_javascript_timeout: float = key(
		30.0,
		number(0.5, 3600),
		"seconds that a JavaScript handler may block the Node process before it is restarted",
	)
	# Other sidecars
	realtime_sidecars: int = key(64, integer(1, 10_000), "other sidecars of the bench that are tracked")
	realtime_sidecar_members: int = key(
		100_000, integer(1, 10_000_000), "sockets, and sockets in rooms, of other sidecars that are tracked"
	)
	realtime_sidecar_counts: int = key(
		100_000,
		integer(1, 10_000_000),
		"users and addresses with many sockets on other sidecars that are tracked, for the limits over all",
	)
	realtime_sidecar_unsent: int = key(
		8 * 1024 * 1024, integer(10_000, 1 << 30), "bytes for other sidecars that may wait for Redis"
	)
	# Logs
	realtime_log_level: str = key(
		"INFO",
		log_level,
		"DEBUG, INFO, WARNING or ERROR",
		env="FRAPPE_REALTIME_LOG_LEVEL",
	)
	realtime_log_format: str = key(
		"text", choice("text", "json"), "format of the log: text or json", env="FRAPPE_REALTIME_LOG_FORMAT"
	)

	def for_one_of(self, workers: int) -> Config:
		"""Return the configuration of one of several workers of a host, among which the kernel spreads the clients evenly."""
		parts: dict[str, Any] = {
			name: part_of(getattr(self, name), workers)
			for name, one in KEYS.items()
			if one.metadata["key"].divided
		}
		return replace(self, **parts)

	@property
	def sites(self) -> Path:
		"""The folder with one folder for each site."""
		return self.bench / "sites"

	@property
	def web_url(self) -> str:
		"""The address of the web process, the only one that is ever called: never one from a request."""
		host = self.webserver_host
		if "://" in host:
			return host.rstrip("/")
		if ":" in host:
			host = f"[{host.strip('[]')}]"
		return f"http://{host}:{self.webserver_port}"


def part_of(value: float, parts: int) -> float:
	"""Return an equal part of a limit; of a whole number, the whole number above it."""
	return ceil(value / parts) if isinstance(value, int) else value / parts


KEYS: dict[str, Field[Any]] = {one.name: one for one in fields(Config) if "key" in one.metadata}
"""The keys by name, as fields of `Config`; `metadata["key"]` is a `Key`."""


def find_bench(path: str | None, environment: Mapping[str, str] = os.environ) -> Path:
	"""Return the bench root: `path`, else FRAPPE_BENCH_ROOT, else two levels above the app.

	Raises:
		ConfigError: It has no folder `sites`.
	"""
	if path:
		origin, bench = "--bench", Path(path)
	elif environment.get("FRAPPE_BENCH_ROOT"):
		origin, bench = "FRAPPE_BENCH_ROOT", Path(environment["FRAPPE_BENCH_ROOT"])
	else:
		origin, bench = "the place of the app", Path(__file__).resolve().parents[3]
	# Not Path.is_dir, which raises if this user may not enter a folder of the path.
	if not os.path.isdir(bench / "sites"):
		raise ConfigError(
			f"{bench} (from {origin}) is not a bench: it has no folder 'sites' that this user can see. Name the bench root with --bench PATH or FRAPPE_BENCH_ROOT.",
			EXIT_BENCH,
		)
	return bench.resolve()


def load(
	bench: Path,
	environment: Mapping[str, str] = os.environ,
	overrides: Mapping[str, Any] | None = None,
) -> Config:
	"""Read the configuration of a bench.

	Later sources win: the defaults, `config.json`, `sites/common_site_config.json`, the environment, `overrides`. As the
	Node server does, a falsy value of one of Frappe's own keys counts as absent.

	Args:
		bench: The root of the bench.
		environment: The environment variables.
		overrides: Parsed values from the command line, by key; None counts as absent.

	Raises:
		ConfigError: A file cannot be read or a value is invalid; names the file or variable, and the key.
	"""
	values: dict[str, Any] = {}
	for name in ("config.json", "sites/common_site_config.json"):
		values |= _read_file(bench / name)
	origins: dict[str, str] = {}
	for name, one in KEYS.items():
		variable = one.metadata["key"].env
		if variable and environment.get(variable):
			values[name] = _parse(name, environment[variable], variable)
			origins[name] = variable
	given = {name: value for name, value in (overrides or {}).items() if value is not None}
	return Config(
		bench=bench, origins={**origins, **dict.fromkeys(given, COMMAND_LINE)}, **{**values, **given}
	)


def _read_file(path: Path) -> dict[str, Any]:
	"""Return the parsed values of the keys that a file has."""
	try:
		content = json.loads(path.read_text())
	except FileNotFoundError:
		return {}
	except (OSError, ValueError) as error:
		raise ConfigError(f"{path} cannot be read: {error}", EXIT_CONFIG) from error
	if not isinstance(content, dict):
		raise ConfigError(f"{path} does not hold a JSON object", EXIT_CONFIG)
	values: dict[str, Any] = {}
	for name in KEYS:
		value = content.get(name)
		# In our own keys, 0, an empty text and an empty list are values.
		if value or (value is not None and name.startswith("realtime_")):
			values[name] = _parse(name, value, str(path))
	return values


def _parse(name: str, value: Any, origin: str) -> Any:
	parse = KEYS[name].metadata["key"].parse
	try:
		return parse(value)
	except ValueError as error:
		# A URL may hold a password.
		shown = value.rpartition("@")[2] if parse is redis_url and isinstance(value, str) else value
		raise ConfigError(f"{name} in {origin} is {shown!r}: {error}", EXIT_CONFIG) from error
