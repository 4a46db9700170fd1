"""Sessions for the doctor where Frappe cannot be started."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from realtime.config import Config
from realtime.operations.session_maker import SessionMaker, SessionUnavailable


@pytest.mark.parametrize(("is_there", "says"), [(False, "there is no"), (True, "cannot be started")])
def test_a_python_that_cannot_be_started_is_no_session(tmp_path: Path, is_there: bool, says: str) -> None:
	(tmp_path / "sites").mkdir()
	if is_there:
		python = tmp_path / "env" / "bin" / "python"
		python.parent.mkdir(parents=True)
		# Not executable: root may not execute it either.
		python.touch(mode=0o600)

	async def scenario() -> None:
		async with SessionMaker(Config(bench=tmp_path)).session("one.test"):
			raise AssertionError("there is no session")

	with pytest.raises(SessionUnavailable, match=says):
		asyncio.run(scenario())
