"""`bench realtime new-handlers`: the files that it writes. The example app's tests run here too."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from frappe_realtime.bench import scaffold

ROOT = Path(__file__).parents[3]


def test_the_written_handlers_pass_the_written_test(tmp_path: Path) -> None:
	package = tmp_path / "apps" / "greeter" / "greeter"
	package.mkdir(parents=True)
	(package / "__init__.py").touch()
	written = scaffold.write_handlers(tmp_path, "greeter")
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


def test_existing_files_are_not_overwritten(tmp_path: Path) -> None:
	package = tmp_path / "apps" / "greeter" / "greeter"
	(package / "realtime").mkdir(parents=True)
	(package / "__init__.py").touch()
	(package / "realtime" / "handlers.py").write_text("# mine")
	with pytest.raises(scaffold.ScaffoldError, match=r"handlers\.py: already there"):
		scaffold.write_handlers(tmp_path, "greeter")
	assert [path.name for path in (package / "realtime").iterdir()] == ["handlers.py"]


def test_a_module_that_a_package_would_hide_is_left_alone(tmp_path: Path) -> None:
	"""Frappe itself is such an app: without `frappe.realtime` nothing on the bench runs."""
	package = tmp_path / "apps" / "greeter" / "greeter"
	package.mkdir(parents=True)
	(package / "__init__.py").touch()
	(package / "realtime.py").touch()
	with pytest.raises(
		scaffold.ScaffoldError,
		match=r"greeter/greeter/realtime\.py: .* write .*apps/greeter/realtime/handlers\.py",
	):
		scaffold.write_handlers(tmp_path, "greeter")
	assert not (package / "realtime").exists()


def test_handlers_beside_the_package_are_not_replaced(tmp_path: Path) -> None:
	"""The server loads those in the package before them."""
	app = tmp_path / "apps" / "greeter"
	(app / "greeter").mkdir(parents=True)
	(app / "greeter" / "__init__.py").touch()
	(app / "realtime").mkdir()
	(app / "realtime" / "handlers.py").write_text("# mine")
	with pytest.raises(scaffold.ScaffoldError, match=r"handlers\.py: already there"):
		scaffold.write_handlers(tmp_path, "greeter")
	assert not (app / "greeter" / "realtime").exists()


def test_an_unknown_app(tmp_path: Path) -> None:
	with pytest.raises(scaffold.ScaffoldError, match="no app 'greeter'"):
		scaffold.write_handlers(tmp_path, "greeter")


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
