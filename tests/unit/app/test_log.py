"""The levels of the app's log."""

from __future__ import annotations

import importlib
import logging
from typing import Any

import pytest


@pytest.mark.parametrize(("log_level", "level"), [(None, logging.INFO), (logging.ERROR, logging.ERROR)])
def test_the_log_has_the_end_of_an_outage_unless_the_bench_sets_a_level(
	frappe: Any, monkeypatch: pytest.MonkeyPatch, log_level: int | None, level: int
) -> None:
	stock = logging.Logger("frappe_realtime-all", logging.ERROR)
	monkeypatch.setattr(frappe, "logger", lambda *args, **kwargs: stock)
	monkeypatch.setattr(frappe, "log_level", log_level)
	log = importlib.import_module("frappe_realtime.publishing.log")
	assert log.logger().level == level


def test_success_is_not_logged_as_an_error(frappe: Any, monkeypatch: pytest.MonkeyPatch) -> None:
	lines: list[tuple[str, str]] = []

	class Log:
		level = logging.INFO

		def error(self, line: str) -> None:
			lines.append(("error", line))

		def info(self, line: str) -> None:
			lines.append(("info", line))

	monkeypatch.setattr(frappe, "logger", lambda *args, **kwargs: Log())
	outbox = importlib.import_module("frappe_realtime.publishing.process").outbox()
	outbox._log_line("away")
	outbox._log_success("back")
	assert lines == [("error", "away"), ("info", "back")]


def test_a_log_that_cannot_be_opened_fails_nobody(
	frappe: Any, publish: Any, sent: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
	"""As for a script that runs outside of the folder of the sites, or if another user owns the file."""

	def missing(*args: Any, **kwargs: Any) -> Any:
		raise FileNotFoundError(2, "No such file or directory", "../logs/frappe_realtime.log")

	monkeypatch.setattr(frappe, "logger", missing)
	frappe.conf["developer_mode"] = 1
	publish.publish_realtime("order_ready")
	assert [event for event, _, _ in sent.events()] == ["order_ready"]
	assert " publishes order_ready without a recipient" in caplog.text
