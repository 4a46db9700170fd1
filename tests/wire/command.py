"""The commands of `frappe-realtime` that run to their end."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, NamedTuple

from tests.wire.conditions import PATIENCE
from tests.wire.sidecar import ROOT, environment

COMMAND_TIMEOUT = 3 * PATIENCE
"""Seconds for one command: the doctor waits about 15 for what does not answer, besides what it computes."""


class Result(NamedTuple):
	"""The exit code of a command and what it wrote."""

	code: int
	output: str
	errors: str


@contextmanager
def started_command(*arguments: str) -> Iterator[tuple[subprocess.Popen[bytes], IO[bytes], IO[bytes]]]:
	"""Start `frappe-realtime` with `arguments`; yield the process, and the pipes of its output and errors."""
	with subprocess.Popen(
		[sys.executable, "-m", "realtime", *arguments],
		stdout=subprocess.PIPE,
		stderr=subprocess.PIPE,
		cwd=ROOT,
		env=environment(),
	) as process:
		assert process.stdout
		assert process.stderr
		yield process, process.stdout, process.stderr


def run_command(
	*arguments: str,
	env: dict[str, str] | None = None,
	prefix: tuple[str, ...] = (),
) -> Result:
	"""Run `frappe-realtime` with `arguments`; fail if it writes a traceback or does not end.

	Args:
		arguments: The arguments of the command.
		env: More environment variables.
		prefix: A command that runs the command, such as `prlimit`.
	"""
	done = subprocess.run(
		[*prefix, sys.executable, "-m", "realtime", *arguments],
		capture_output=True,
		text=True,
		timeout=COMMAND_TIMEOUT,
		cwd=ROOT,
		env=environment(**(env or {})),
		check=False,
	)
	assert "Traceback" not in done.stderr, done.stderr
	return Result(done.returncode, done.stdout, done.stderr)
