"""The output of the Node process in the log of the sidecar."""

from __future__ import annotations

import json

import pytest

from realtime.access.limit_source import Source
from realtime.javascript.process_log import (
	BURST,
	LINES_PER_SECOND,
	MAX_LINE,
	MAX_TEXT,
	LineSplitter,
	ProcessLog,
)


def record(*values: object) -> bytes:
	"""Return a line as node/log.js writes it."""
	return b"\x1e" + json.dumps(values).encode()


def test_records_have_a_level_and_an_app(caplog: pytest.LogCaptureFixture) -> None:
	caplog.set_level("DEBUG")
	log = ProcessLog()
	log.write(record("info", "chat", "hello\nworld", None))
	log.write(record("failed", "chat", "Error", None))
	log.write(record("failed", None, "Error", None))
	assert [(entry.levelname, entry.getMessage()) for entry in caplog.records] == [
		("INFO", "chat: hello\nworld"),
		("ERROR", "chat: Error"),
		("ERROR", "an app: Error"),
	]
	assert log.failures == {"chat": 1, "": 1}


def test_errors_are_reported_with_the_client(caplog: pytest.LogCaptureFixture) -> None:
	log = ProcessLog()
	reported: list[tuple[str, Source]] = []
	log.handler_failed.connect(lambda app, source: reported.append((app, source)))
	client = {"site": "one.test", "user": "ann", "socket": "a"}
	log.write(b"\x1e" + json.dumps(["failed", "chat", "Error", client]).encode())
	log.write(b"\x1e" + json.dumps(["failed", "chat", "Error", {"token": "a"}]).encode())
	log.write(b"\x1e" + json.dumps(["error", "chat", "Error", None]).encode())
	assert reported == [("chat", Source("one.test", "ann", socket="a"))]
	assert [(entry.site, entry.user, entry.socket) for entry in caplog.records] == [  # type: ignore[attr-defined]
		("one.test", "ann", "a"),
		("", "", ""),
	]


def test_other_lines_are_logged_as_output_of_node(caplog: pytest.LogCaptureFixture) -> None:
	caplog.set_level("DEBUG")
	log = ProcessLog()
	for line in (b"a warning of Node \xff", b"", b"\x1enot JSON"):
		log.write(line)
	assert [entry.getMessage() for entry in caplog.records] == [
		"node: a warning of Node \N{REPLACEMENT CHARACTER}"
	]


def test_long_text_is_cut_off(caplog: pytest.LogCaptureFixture) -> None:
	caplog.set_level("DEBUG")
	ProcessLog().write(record("info", "chat", "x" * 2 * MAX_TEXT, None))
	assert len(caplog.records[0].getMessage()) == len("chat: ") + MAX_TEXT


def test_rate_limit(caplog: pytest.LogCaptureFixture) -> None:
	caplog.set_level("DEBUG")
	now = 0.0
	log = ProcessLog(lambda: now)
	written = [log.write(b"x") for _ in range(BURST + 50)]
	assert written == [True] * BURST + [False] * 50
	now = 1.0
	assert log.write(b"later")
	assert len(caplog.records) == BURST + 2
	assert caplog.records[-2].getMessage().startswith("50 lines ")
	assert [log.write(b"x") for _ in range(LINES_PER_SECOND)] == [True] * (LINES_PER_SECOND - 1) + [False]


def test_endless_line_is_not_kept() -> None:
	lines = LineSplitter()
	found = [line for _ in range(100) for line in lines.feed(b"x" * 100_000)]
	assert found == [b"x" * MAX_LINE]
	assert lines.end() == b""
	assert list(lines.feed(b"y\nwhole\nha")) == [b"whole"]
	assert list(lines.feed(b"lf\n" + b"z" * 2 * MAX_LINE + b"\n")) == [b"half", b"z" * MAX_LINE]
	assert lines.end() == b""
