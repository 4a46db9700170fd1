"""Which site a request is for."""

from __future__ import annotations

from pathlib import Path

import pytest

from realtime.access.sites import Sites
from realtime.config import load
from realtime.socketio.errors import ConnectRefused


def test_who_asks_for_a_wrong_host_does_not_make_the_folder_be_read_each_time(
	tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
	for name in ("one.test", "two.test"):
		(tmp_path / "sites" / name).mkdir(parents=True)
		(tmp_path / "sites" / name / "site_config.json").write_text("{}")
	sites = Sites(load(tmp_path, {}))
	looked: list[int] = []
	names = sites.names
	monkeypatch.setattr(sites, "names", lambda: looked.append(1) or names())
	for number in range(100):
		with pytest.raises(ConnectRefused, match="Invalid namespace"):
			sites.resolve("/one.test", {"host": f"{number}.invalid"}, behind_proxy=False)
	assert 1 <= len(looked) < 50
