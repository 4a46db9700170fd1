"""Refused clients are logged, with where from and why, and cannot fill the log."""

from __future__ import annotations

import contextlib
import time

import pytest

from tests.wire.bench import Bench
from tests.wire.clients import Refused
from tests.wire.conditions import until
from tests.wire.conftest import Connect, MakeBench
from tests.wire.raw import WebSocketSession

ADDRESS = {"X-Forwarded-For": "198.51.100.9"}


def lines(bench: Bench) -> list[str]:
	return [line for line in bench.sidecar.log.splitlines() if "a client was refused" in line]


def test_a_refusal_says_from_where_and_why(make_bench: MakeBench, connect: Connect) -> None:
	bench = make_bench()
	with pytest.raises(Refused):
		connect(bench, headers={**ADDRESS, "Origin": "https://evil.test"})
	until(lambda: len(lines(bench)) == 1, "the line")
	for part in ("/app.test", "198.51.100.9", "Invalid origin", "https://evil.test", "sid"):
		assert part in lines(bench)[0]
	with pytest.raises(Refused):
		connect(bench, authorization="token secret-key:secret-value", headers=ADDRESS)
	until(lambda: len(lines(bench)) == 2, "the line")
	assert "Unauthorized" in lines(bench)[1]
	assert "Authorization" in lines(bench)[1]
	assert "secret-" not in bench.sidecar.log


def test_refusals_do_not_fill_the_log(make_bench: MakeBench) -> None:
	bench = make_bench()
	began = time.monotonic()
	for _ in range(10):
		raw = WebSocketSession(bench, bench.headers())
		for number in range(10):
			raw.send(f'40/{"x" * 500}{number}\n,{{"token":"a:b"}}')
		with contextlib.suppress(Exception):
			for _ in range(10):
				raw.receive()
		raw.close()
	# Ten at once, and one more every six seconds (`LogBudget`).
	assert 1 <= len(lines(bench)) <= 12 + (time.monotonic() - began) / 6
	assert max(map(len, bench.sidecar.log.splitlines())) < 600
