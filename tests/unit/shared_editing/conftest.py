"""A Valkey for the states of shared documents."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.wire.valkey import Valkey


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[Valkey]:
	"""An empty Valkey."""
	one = Valkey(tmp_path / "valkey")
	one.start()
	yield one
	one.close()
