"""Arguments of `frappe-realtime` that are refused before anything is done."""

from __future__ import annotations

import json
import resource
import sys
from pathlib import Path

import pytest

from frappe_realtime.bench import launch
from realtime.__main__ import _parser, _raise_descriptor_limit, main
from realtime.config import EXIT_CONFIG, ConfigError, load
from realtime.operations.publish import publish


@pytest.mark.parametrize(
	("arguments", "says"),
	[
		("serve --port 70000", "--port: it must be from 0 to 65535"),
		("serve --port -1", "--port: it must be from 0 to 65535"),
		("serve --port http", "--port: it must be a number"),
		("demo --port 65536", "--port: it must be from 0 to 65535"),
		("publish news --site one.test --user=", "--user: it is empty"),
		("publish news --site one.test --room=", "--room: it is empty"),
		("listen --site one.test --user=", "--user: it is empty"),
	],
)
def test_a_value_that_cannot_be(arguments: str, says: str, capsys: pytest.CaptureFixture[str]) -> None:
	with pytest.raises(SystemExit) as ended:
		main(arguments.split())
	assert ended.value.code == 2
	assert says in capsys.readouterr().err


def test_a_port_is_a_number() -> None:
	assert _parser().parse_args(["serve", "--port", "9000"]).port == 9000
	assert _parser().parse_args(["serve"]).port is None


def test_an_event_that_no_client_would_get_is_not_published(tmp_path: Path) -> None:
	site = tmp_path / "sites" / "one.test"
	site.mkdir(parents=True)
	(site / "site_config.json").write_text(json.dumps({}))
	with pytest.raises(ConfigError, match="reserves the event 'connect'") as refused:
		publish(load(tmp_path, {}), "one.test", "connect", "{}", None, None)
	assert refused.value.exit_code == EXIT_CONFIG


def test_a_limit_of_open_files_that_the_system_refuses_is_no_reason_not_to_start(
	monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
	"""The hard limit may be above what the system allows a process to set, as on macOS, where it is unlimited."""

	def refuse(kind: int, limits: tuple[int, int]) -> None:
		raise ValueError("current limit exceeds maximum limit")

	monkeypatch.setattr(resource, "getrlimit", lambda kind: (256, resource.RLIM_INFINITY))
	monkeypatch.setattr(resource, "setrlimit", refuse)
	_raise_descriptor_limit()
	assert "the limit of open files stays 256" in caplog.text


def test_an_installation_without_the_sidecar_says_what_to_do(
	monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
	monkeypatch.setattr(launch, "SIDECAR_FOLDER", tmp_path / "realtime")
	with pytest.raises(SystemExit, match="is missing; install the app again"):
		launch._load("frappe_realtime_without_files")
	assert "frappe_realtime_without_files" not in sys.modules
