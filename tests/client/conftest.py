"""Pages in Node that edit texts, and the bench that they share."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.wire.bench import Bench
from tests.wire.editors import Editors


@pytest.fixture
def editors() -> Iterator[Editors]:
	"""Pages in Node."""
	one = Editors()
	yield one
	one.close()


@pytest.fixture
def keeping(shared_benches: Callable[[int], Bench]) -> Iterator[Bench]:
	"""A bench that keeps states."""
	one = shared_benches(16)
	yield one
	one.sidecar.check_log()
