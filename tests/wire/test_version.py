"""The version is shown wherever an operator looks for it."""

from __future__ import annotations

import sys

from frappe_realtime import __version__
from tests.wire.bench import Bench
from tests.wire.conftest import MakeBench
from tests.wire.sidecar import Sidecar
from tests.wire.test_process import CONSOLE_SCRIPT


def test_version_option() -> None:
	for command in ((CONSOLE_SCRIPT,), (sys.executable, "-m", "realtime")):
		assert Sidecar.run(*command, "--version").strip() == f"frappe-realtime {__version__}"


def test_version_is_in_the_first_log_line(make_bench: MakeBench) -> None:
	bench = make_bench()
	assert f"frappe-realtime {__version__} on Python" in bench.sidecar.log.splitlines()[0]


def test_version_is_in_health(bench: Bench) -> None:
	assert bench.sidecar.health()[1]["version"] == __version__
