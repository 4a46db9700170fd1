"""Lines that the Node process prints."""

from __future__ import annotations

import json

import pytest

from realtime.javascript.journal import BURST, LINES_PER_SECOND, MAX_BYTES, MAX_LINE, Journal, Lines


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


def test_of_a_flood_the_beginning_is_logged_and_how_much_it_was(caplog: pytest.LogCaptureFixture) -> None:
	caplog.set_level("DEBUG")
	now = 0.0
	journal = Journal(lambda: now)
	taken = [journal.take(b"x") for _ in range(BURST + 50)]
	assert taken == [True] * BURST + [False] * 50
	now = 1.0
	assert journal.take(b"later")
	assert len(caplog.records) == BURST + 2
	assert caplog.records[-2].getMessage().startswith("50 lines ")
	assert [journal.take(b"x") for _ in range(LINES_PER_SECOND)] == [True] * (LINES_PER_SECOND - 1) + [False]


def test_a_line_without_end_is_not_kept() -> None:
	lines = Lines()
	found = [line for _ in range(100) for line in lines.feed(b"x" * 100_000)]
	assert found == [b"x" * MAX_BYTES]
	assert lines.end() == b""
	assert list(lines.feed(b"y\nwhole\nha")) == [b"whole"]
	assert list(lines.feed(b"lf\n" + b"z" * 2 * MAX_BYTES + b"\n")) == [b"half", b"z" * MAX_BYTES]
	assert lines.end() == b""
