"""Fixtures: two sidecars for all tests of a module, and a room for each test."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from tests.wire.background import Background
from tests.wire.sidecars import Pair

rooms = itertools.count()


@pytest.fixture(scope="module")
def shared_pair(background: Background, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
	"""Start two sidecars for all tests that stop neither."""
	one = Pair(background, tmp_path_factory.mktemp("pair"))
	yield one.start()
	one.close()


@pytest.fixture
def pair(shared_pair: Pair) -> Iterator[Pair]:
	"""Return the shared sidecars."""
	yield shared_pair
	shared_pair.check_logs()


@pytest.fixture
def room() -> str:
	"""Return the name of a room that no other test uses."""
	return f"room-{next(rooms)}"
