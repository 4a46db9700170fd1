"""The setup command on a real bench, and back."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest


def test_setup_and_back(bench, tmp_path):
	"""In a folder with the bench's files, so that a bench in use is left alone."""
	(tmp_path / "config" / "systemd").mkdir(parents=True)
	(tmp_path / "env" / "bin").mkdir(parents=True)
	(tmp_path / "env" / "bin" / "frappe-realtime").touch()
	texts: dict[Path, str] = {}
	for name in ("Procfile", "config/supervisor.conf"):
		if (bench.root / name).exists():
			texts[tmp_path / name] = (bench.root / name).read_text()
			(tmp_path / name).write_text(texts[tmp_path / name])
	if not texts or any("frappe-realtime" in text for text in texts.values()):
		pytest.skip(f"{bench.root} has no process configuration, or is set up already")
	place = {"FRAPPE_BENCH_ROOT": str(tmp_path)}
	declined = subprocess.run(
		[bench.python, "-m", "frappe.utils.bench_helper", "frappe", "realtime", "setup"],
		cwd=bench.root / "sites",
		env={**os.environ, **place},
		input="n\n",
		capture_output=True,
		text=True,
		check=False,
	)
	assert declined.returncode == 1
	assert "+socketio: env/bin/frappe-realtime serve --bench ." in declined.stdout
	assert {path: path.read_text() for path in texts} == texts
	output = bench.command("realtime", "setup", "--yes", **place)
	assert "supervisorctl update" in output or "supervisor.conf" not in str(texts)
	assert all("frappe-realtime serve --bench" in path.read_text() for path in texts)
	assert "Nothing to change" in bench.command("realtime", "setup", "--yes", **place)
	bench.command("realtime", "setup", "--undo", "--yes", **place)
	assert {path: path.read_text() for path in texts} == texts
	assert not list(tmp_path.rglob("*.before-frappe-realtime"))
	assert "Nothing to change" in bench.command("realtime", "setup", "--undo", "--yes", **place)
