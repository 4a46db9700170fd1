"""Fixtures: the clock of the limits."""

from __future__ import annotations

import pytest

from realtime.access import limits as module


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
	"""The time of the limits, in a list: tests change it."""
	now = [1000.0]
	monkeypatch.setattr(module, "monotonic", lambda: now[0])
	return now
