"""Fixtures: a bench with apps whose handlers the test writes."""

from __future__ import annotations

import pytest

from tests.wire.apps import install, write_handlers
from tests.wire.bench import Bench
from tests.wire.conftest import MakeBench
from tests.wire.handlers.alpha import MakeAppBench


@pytest.fixture
def make_app_bench(make_bench: MakeBench) -> MakeAppBench:
	"""Make and start a bench with apps: `make(alpha="text of its handlers.py", …)`; options of the bench as `bench={…}`."""

	def make(bench: dict[str, object] | None = None, **apps: str) -> Bench:
		one = make_bench(start=False, **(bench or {}))
		for app, text in apps.items():
			write_handlers(one, app, text)
			install(one, app)
		return one.start()

	return make
