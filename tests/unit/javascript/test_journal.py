"""Lines that the Node process prints."""

from __future__ import annotations

import json

import pytest

from realtime.javascript.journal import MAX_LINE, Journal


def line(*values: object) -> bytes:
	"""One line as the process writes it."""
	return b"\x1e" + json.dumps(values).encode()


def test_lines_of_handlers_have_the_app_and_the_level(caplog: pytest.LogCaptureFixture) -> None:
	caplog.set_level("DEBUG")
	journal = Journal()
	journal.take(line("info", "chat", "hello\nworld"))
	journal.take(line("failed", "chat", "Error"))
	journal.take(line("failed", None, "Error"))
	assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
		("INFO", "chat: hello\nworld"),
		("ERROR", "chat: Error"),
		("ERROR", "an app: Error"),
	]
	assert journal.failures == {"chat": 1, "": 1}


def test_other_lines_are_nodes(caplog: pytest.LogCaptureFixture) -> None:
	caplog.set_level("DEBUG")
	journal = Journal()
	for one in (b"a warning of Node \xff", b"", b"\x1eno JSON"):
		journal.take(one)
	assert [record.getMessage() for record in caplog.records] == [
		"node: a warning of Node \N{REPLACEMENT CHARACTER}"
	]


def test_a_long_line_is_cut_off(caplog: pytest.LogCaptureFixture) -> None:
	caplog.set_level("DEBUG")
	Journal().take(line("info", "chat", "x" * 2 * MAX_LINE))
	assert len(caplog.records[0].getMessage()) == len("chat: ") + MAX_LINE
