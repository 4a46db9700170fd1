"""The JSON format of the log."""

from __future__ import annotations

import json
import logging
import sys
from typing import Any

import pytest

from realtime.log_format import JSONFormatter, log_fields, set_up_log


def line(message: str, *arguments: Any, exc_info: Any = None, **extra: Any) -> dict[str, Any]:
	"""Return the object that is written for a log call."""
	logger = logging.getLogger("realtime.test")
	record = logger.makeRecord(
		logger.name, logging.WARNING, __file__, 1, message, arguments, exc_info, extra=extra
	)
	text = JSONFormatter().format(record)
	assert "\n" not in text
	found: dict[str, Any] = json.loads(text)
	return found


def test_a_line_has_time_level_logger_and_message() -> None:
	found = line("%s is %d", "the limit", 5)
	assert found.pop("time").endswith("+00:00")
	assert found == {"level": "WARNING", "logger": "realtime.test", "message": "the limit is 5"}


def test_known_fields_are_written_and_others_are_not() -> None:
	found = line("text", **log_fields("one.test", "ann@example.com"), token="secret")
	assert (found["site"], found["user"]) == ("one.test", "ann@example.com")
	assert not found.keys() & {"socket", "token"}
	assert line("text", **log_fields(socket="abc"))["socket"] == "abc"


def test_a_traceback_is_one_field() -> None:
	try:
		raise ValueError("on purpose")
	except ValueError:
		found = line("failed", exc_info=sys.exc_info())
	assert found["traceback"].endswith("ValueError: on purpose")


@pytest.mark.parametrize("format", ["text", "json"])
def test_a_line_of_a_worker_names_it(format: str, capsys: pytest.CaptureFixture[str]) -> None:
	root = logging.getLogger()
	handlers, level = root.handlers[:], root.level
	try:
		set_up_log("INFO", format, worker=2)
		logging.getLogger("realtime.test").info("hello")
	finally:
		root.handlers[:] = handlers
		root.setLevel(level)
	text = capsys.readouterr().err
	if format == "json":
		assert json.loads(text)["worker"] == 2
	else:
		assert text.endswith("INFO realtime.test: worker 2: hello\n")
