"""Log lines that clients, or whoever writes to Redis, can cause are bounded."""

from __future__ import annotations

import logging

import pytest

from realtime import log_budget
from realtime.log_budget import LogBudget

logger = logging.getLogger("realtime.test")


def test_lines_beyond_the_rate_are_counted(
	monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
	now = [0.0]
	monkeypatch.setattr(log_budget, "monotonic", lambda: now[0])
	budget = LogBudget(burst=2, seconds=60)
	for number in range(5):
		budget.write(logger.warning, "line %d", number)
	now[0] = 60.0
	budget.write(logger.warning, "line %d", 5)
	assert caplog.messages == ["line 0", "line 1", "line 5 (3 more like this were left out)"]
