"""Sessions for the doctor: made by Frappe in the environment of the bench, and deleted after their use."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from ..config import Config

START_TIMEOUT = 15.0
"""Seconds for the start of Frappe."""

MODULE = "frappe_realtime.bench.session"


class SessionUnavailable(Exception):
	"""No session can be made; the message is the reason."""


class SessionMaker:
	"""Makes sessions of Administrator.

	Args:
		config: The configuration of the bench.
	"""

	def __init__(self, config: Config) -> None:
		self._sites = config.sites
		self._python = config.bench / "env" / "bin" / "python"

	@asynccontextmanager
	async def session(self, site: str) -> AsyncIterator[str]:
		"""Make a session, and delete it at the end of the context.

		Args:
			site: The site.

		Yields:
			The session id.

		Raises:
			SessionUnavailable: There is no environment with Frappe, or Frappe cannot make a session.
		"""
		try:
			process = await self._start(site)
		except FileNotFoundError as error:
			raise SessionUnavailable(
				f"there is no {self._python}, by which Frappe would make a session"
			) from error
		except OSError as error:
			raise SessionUnavailable(f"{self._python} cannot be started: {error}") from error
		try:
			assert process.stdout is not None
			line = b""
			with suppress(asyncio.TimeoutError):
				line = await asyncio.wait_for(process.stdout.readline(), START_TIMEOUT)
			sid = line.decode(errors="replace").strip()
			if not sid:
				raise SessionUnavailable(await _reason(process))
			yield sid
		finally:
			# The process deletes the session when its input ends.
			with suppress(ProcessLookupError, BrokenPipeError, ConnectionResetError):
				if process.stdin is not None:
					process.stdin.close()
				with suppress(asyncio.TimeoutError):
					await asyncio.wait_for(process.wait(), START_TIMEOUT)
				if process.returncode is None:
					process.kill()
					await process.wait()

	async def _start(self, site: str) -> asyncio.subprocess.Process:
		return await asyncio.create_subprocess_exec(
			str(self._python),
			"-m",
			MODULE,
			site,
			cwd=self._sites,
			stdin=asyncio.subprocess.PIPE,
			stdout=asyncio.subprocess.PIPE,
			stderr=asyncio.subprocess.PIPE,
		)


async def _reason(process: asyncio.subprocess.Process) -> str:
	"""Return the last line that a process writes to its standard error."""
	if process.returncode is None:
		with suppress(ProcessLookupError):
			process.terminate()
	assert process.stderr is not None
	text = (await process.stderr.read()).decode(errors="replace").strip()
	return text.splitlines()[-1] if text else f"Frappe did not start within {START_TIMEOUT:g} s"
