"""What the commands share that print for a terminal or a pipe."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Coroutine
from contextlib import suppress
from io import TextIOWrapper
from typing import Any


def print_what_can_be_encoded() -> None:
	"""Escape characters that the encoding of the standard output does not have: they must not end the command."""
	if isinstance(sys.stdout, TextIOWrapper):
		sys.stdout.reconfigure(errors="backslashreplace")


def run_until_signal(work: Coroutine[Any, Any, None]) -> None:
	"""Run `work` until it ends, or until SIGINT or SIGTERM."""
	print_what_can_be_encoded()
	asyncio.run(_until_signal(work))


async def _until_signal(work: Coroutine[Any, Any, None]) -> None:
	task = asyncio.create_task(work)
	for number in (signal.SIGINT, signal.SIGTERM):
		asyncio.get_running_loop().add_signal_handler(number, task.cancel)
	with suppress(asyncio.CancelledError):
		await task


def discard_output() -> None:
	"""Discard what is still to be written, after BrokenPipeError: Python flushes the standard output when it exits."""
	os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def printable(text: str) -> str:
	"""Escape what is not printable: a name or a message must not control the operator's terminal."""
	if text.isprintable():
		return text
	return "".join(each if each.isprintable() else f"\\u{ord(each):04x}" for each in text)
