"""`bench realtime new-handlers`: what it writes works."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from frappe_realtime.bench import scaffold as new_handlers

ROOT = Path(__file__).parents[3]


def test_the_file_it_writes_passes_the_test_it_writes(tmp_path: Path) -> None:
	package = tmp_path / "apps" / "greeter" / "greeter"
	package.mkdir(parents=True)
	(package / "__init__.py").touch()
	written = new_handlers.write(tmp_path, "greeter")
	assert [path.name for path in written] == ["__init__.py", "handlers.py", "test_handlers.py"]
	done = subprocess.run(
		[sys.executable, "-m", "unittest", "greeter.realtime.test_handlers"],
		cwd=package.parent,
		env={"PYTHONPATH": f"{ROOT}:{package.parent}"},
		capture_output=True,
		text=True,
		check=False,
	)
	assert done.returncode == 0, done.stderr


def test_it_overwrites_nothing(tmp_path: Path) -> None:
	package = tmp_path / "apps" / "greeter" / "greeter"
	(package / "realtime").mkdir(parents=True)
	(package / "__init__.py").touch()
	(package / "realtime" / "handlers.py").write_text("# mine")
	with pytest.raises(new_handlers.HasHandlers, match=r"handlers\.py: there already"):
		new_handlers.write(tmp_path, "greeter")
	assert [path.name for path in (package / "realtime").iterdir()] == ["handlers.py"]


def test_an_app_that_is_not_there(tmp_path: Path) -> None:
	with pytest.raises(new_handlers.NoSuchApp, match="no app 'greeter'"):
		new_handlers.write(tmp_path, "greeter")


def test_the_tests_of_the_example(tmp_path: Path) -> None:
	example = ROOT / "examples" / "chat"
	done = subprocess.run(
		[sys.executable, "-m", "unittest", "chat.tests.test_handlers"],
		cwd=example,
		env={"PYTHONPATH": f"{ROOT}:{example}", "PYTHONDONTWRITEBYTECODE": "1"},
		capture_output=True,
		text=True,
		check=False,
	)
	assert done.returncode == 0, done.stderr
