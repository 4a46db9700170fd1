"""`frappe-realtime doctor`, run for a bench of the tests."""

from __future__ import annotations

from tests.wire.bench import Bench
from tests.wire.command import run_command
from tests.wire.conditions import PATIENCE


def run_doctor(bench: Bench, *arguments: str, timeout: float = PATIENCE) -> tuple[int, str]:
	"""Run the doctor; return its exit code and its output."""
	result = run_command("doctor", "--bench", str(bench.folder), *arguments, timeout=timeout)
	return result.code, result.output
