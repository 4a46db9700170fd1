"""`frappe-realtime doctor`, run against a bench of the tests."""

from __future__ import annotations

import os
import subprocess
import sys

from tests.wire.bench import Bench
from tests.wire.conditions import PATIENCE
from tests.wire.sidecar import ROOT


def run_doctor(bench: Bench, *arguments: str) -> tuple[int, str]:
	"""Run it; return the exit code and what it says."""
	environment = {key: value for key, value in os.environ.items() if not key.startswith("FRAPPE_")}
	done = subprocess.run(
		[sys.executable, "-m", "realtime", "doctor", "--bench", str(bench.folder), *arguments],
		capture_output=True,
		text=True,
		timeout=PATIENCE,
		cwd=ROOT,
		env=environment,
		check=False,
	)
	assert "Traceback" not in done.stderr, done.stderr
	return done.returncode, done.stdout
