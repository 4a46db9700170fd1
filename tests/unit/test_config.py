"""The configuration: what wins over what, what is refused, and that the documentation has every key."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from realtime import config_parsers
from realtime.config import EXIT_BENCH, EXIT_CONFIG, KEYS, Config, ConfigError, find_bench, load

DOCUMENTATION = Path(__file__).parents[2] / "docs" / "configuration.md"


@pytest.fixture
def bench(tmp_path: Path) -> Path:
	(tmp_path / "sites").mkdir()
	return tmp_path


def write(bench: Path, name: str, **values: Any) -> None:
	(bench / name).write_text(json.dumps(values))


def test_later_wins(bench: Path) -> None:
	write(
		bench,
		"config.json",
		socketio_port=9001,
		webserver_port=8001,
		default_site="a",
		redis_queue="redis://a",
	)
	write(bench, "sites/common_site_config.json", socketio_port=9002, webserver_port=8002, default_site="")
	environment = {"FRAPPE_SOCKETIO_PORT": "9003", "FRAPPE_SOCKETIO_UDS": ""}
	config = load(bench, environment, {"socketio_port": None})
	assert config.socketio_port == 9003
	assert config.webserver_port == 8002
	assert config.default_site == "a", "a falsy value counts as absent"
	assert config.redis_queue == "redis://a"
	assert load(bench, environment, {"socketio_port": 9004}).socketio_port == 9004


def test_redis_is_where_frappe_looks_for_it_by_itself(bench: Path) -> None:
	"""The web process, without these keys, publishes there (`frappe.get_site_config`)."""
	config = load(bench, {})
	assert config.redis_queue == "redis://127.0.0.1:11311"
	assert config.redis_cache == "redis://127.0.0.1:13311"


def test_empty_values_are_values_in_our_own_keys(bench: Path) -> None:
	write(
		bench,
		"config.json",
		realtime_cache_seconds=0,
		realtime_guest_rooms=[],
		realtime_trusted_proxies="",
		realtime_recheck_seconds=None,
		socketio_port=0,
	)
	config, defaults = load(bench, {}), Config(bench=bench)
	assert (config.realtime_cache_seconds, config.socketio_port) == (0, 9000)
	assert (
		config.realtime_guest_rooms == config.realtime_trusted_proxies == () != defaults.realtime_guest_rooms
	)
	assert config.realtime_recheck_seconds == defaults.realtime_recheck_seconds


def test_an_empty_text_is_no_number(bench: Path) -> None:
	write(bench, "config.json", realtime_guest_rooms_per_socket="")
	with pytest.raises(
		ConfigError, match=r"realtime_guest_rooms_per_socket in .*config\.json is '': it must be a number"
	):
		load(bench, {})


def test_defaults_without_any_file(bench: Path) -> None:
	config = load(bench, {})
	assert config.socketio_port == 9000
	assert config.web_url == "http://127.0.0.1:8000"


@pytest.mark.parametrize(
	("host", "url"),
	[
		("backend", "http://backend:8000"),
		("::1", "http://[::1]:8000"),
		("https://frappe.internal/", "https://frappe.internal"),
	],
)
def test_where_the_web_process_is(bench: Path, host: str, url: str) -> None:
	write(bench, "config.json", webserver_host=host)
	assert load(bench, {}).web_url == url


@pytest.mark.parametrize(
	("values", "words"),
	[
		({"socketio_port": "nine"}, ["socketio_port", "'nine'", "a number", "common_site_config.json"]),
		({"socketio_port": 70000}, ["socketio_port", "70000", "65535"]),
		({"socketio_port": 9000.5}, ["socketio_port", "whole number"]),
		({"developer_mode": "maybe"}, ["developer_mode", "0 or 1"]),
		({"redis_queue": 5}, ["redis_queue", "string"]),
		({"realtime_transports": ["carrier pigeon"]}, ["realtime_transports", "websocket"]),
		(
			{"realtime_trusted_proxies": ["10.0.0.0/8", "nginx"]},
			["realtime_trusted_proxies", "'nginx'", "network"],
		),
	],
)
def test_a_value_that_cannot_be(bench: Path, values: dict[str, Any], words: list[str]) -> None:
	write(bench, "sites/common_site_config.json", **values)
	with pytest.raises(ConfigError) as caught:
		load(bench, {})
	assert caught.value.exit_code == EXIT_CONFIG
	assert all(word in str(caught.value) for word in words), str(caught.value)


@pytest.mark.parametrize("content", ["{", "[]", "\ud83d".encode("utf-16", "surrogatepass").decode("latin-1")])
def test_a_file_that_cannot_be_read(bench: Path, content: str) -> None:
	(bench / "sites" / "common_site_config.json").write_text(content)
	with pytest.raises(ConfigError) as caught:
		load(bench, {})
	assert caught.value.exit_code == EXIT_CONFIG
	assert "common_site_config.json" in str(caught.value)


def test_the_bench_is_named_or_found(bench: Path, tmp_path: Path) -> None:
	assert find_bench(str(bench), {}) == bench.resolve()
	assert find_bench(None, {"FRAPPE_BENCH_ROOT": str(bench)}) == bench.resolve()
	with pytest.raises(ConfigError, match="FRAPPE_BENCH_ROOT") as caught:
		find_bench(None, {"FRAPPE_BENCH_ROOT": str(tmp_path / "elsewhere")})
	assert caught.value.exit_code == EXIT_BENCH


def test_a_bench_that_this_user_may_not_enter_is_none(bench: Path, monkeypatch: pytest.MonkeyPatch) -> None:
	def refuse(path: object, *arguments: object, **options: object) -> None:
		raise PermissionError(13, "Permission denied", str(path))

	with monkeypatch.context() as patched:
		patched.setattr(os, "stat", refuse)
		patched.setattr(Path, "stat", refuse)
		with pytest.raises(ConfigError, match="is not a bench") as caught:
			find_bench(str(bench), {})
	assert caught.value.exit_code == EXIT_BENCH


def as_documented(name: str) -> str:
	"""Return the row of a key in docs/configuration.md."""
	default, key = KEYS[name].default, KEYS[name].metadata["key"]
	if isinstance(default, tuple):
		shown = ", ".join(default)
	elif isinstance(default, bool):
		shown = str(int(default))
	else:
		shown = f"{default:g}" if isinstance(default, float) else str(default)
	cells = (f"`{name}`", f"`{shown}`" if shown else "", f"`{key.env}`" if key.env else "", key.help)
	return f"| {' | '.join(cells)} |"


def test_the_documentation_has_every_key() -> None:
	rows = [line for line in DOCUMENTATION.read_text().splitlines() if line.count(" | ") == 3]
	assert rows[2:] == [as_documented(name) for name in KEYS]


def test_the_description_of_a_key_can_be_read_by_itself() -> None:
	"""An incident about a limit quotes it, without the key before it (monitor/incidents.py)."""
	helps = {name: one.metadata["key"].help for name, one in KEYS.items()}
	assert [name for name, help in helps.items() if help.startswith("the same") or "these" in help] == []


@pytest.mark.parametrize(("value", "count"), [(3, 3), ("2", 2), (1024, 1024)])
def test_a_number_of_workers(bench: Path, value: Any, count: int) -> None:
	write(bench, "sites/common_site_config.json", socketio_workers=value)
	assert load(bench, {}).socketio_workers == count


def test_one_worker_for_each_core(bench: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
	"""Of the cores that the process may run on, and of the time that its container has."""
	quota = tmp_path / "cpu.max"
	monkeypatch.setattr(config_parsers, "CPU_QUOTA", quota)
	monkeypatch.setattr("os.sched_getaffinity", lambda pid: {0, 1, 2, 3}, raising=False)
	write(bench, "sites/common_site_config.json", socketio_workers="auto")
	found = {}
	for text in ("", "max 100000\n", "150000 100000\n", "1000 100000\n"):
		quota.write_text(text)
		found[text] = load(bench, {}).socketio_workers
	assert list(found.values()) == [4, 4, 2, 1]


def test_a_worker_has_its_part_of_the_limits_of_the_host(bench: Path) -> None:
	config = load(bench, {})
	part = config.for_one_of(4)
	assert part.realtime_handshakes_per_second == config.realtime_handshakes_per_second / 4
	assert part.realtime_web_connections == 4
	assert config.for_one_of(3).realtime_web_connections == 6, "no worker has none"
	assert part.realtime_sockets_per_user == config.realtime_sockets_per_user, "counted over all workers"
	assert config.for_one_of(1) == config
