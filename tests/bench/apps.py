"""Apps that are installed on the site of a bench for a while."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.bench.installation import Bench
from tests.wire.nodejs import node
from tests.wire.sidecar import ROOT

PACKAGES = ROOT / ".cache" / "client" / "node_modules"
"""The npm packages of `client/` and the tools that build a page."""

HOOKS = """
app_name = "{app}"
app_title = "{app}"
app_publisher = app_description = app_email = app_license = "-"
"""


def skip_unless_apps_can_be_installed(bench: Bench) -> None:
	"""Skip the test if processes that import apps are not those of the tests, or if there is no bench command."""
	if names := ", ".join(bench.foreign_processes()):
		pytest.skip(f"not started by the tests, which may not stop it therefore: {names}")
	if not shutil.which("bench"):
		pytest.skip("there is no bench command on PATH")


def write_app(folder: Path, app: str, files: Mapping[str, str], hooks: str = "") -> None:
	"""Write an app.

	Args:
		folder: Where; it does not exist.
		app: The name of the app.
		files: The texts of the modules, by their paths in the package.
		hooks: More lines of its `hooks.py`.
	"""
	package = folder / app
	package.mkdir(parents=True)
	(package / "__init__.py").write_text('__version__ = "1.0"\n')
	(package / "hooks.py").write_text(HOOKS.format(app=app) + hooks)
	for name in ("modules.txt", "patches.txt"):
		(package / name).touch()
	for path, text in files.items():
		(package / path).parent.mkdir(parents=True, exist_ok=True)
		(package / path).write_text(text)


def skip_unless_pages_can_be_built() -> None:
	"""Skip the test if Vite or the packages of `client/` are missing."""
	if not (PACKAGES / "@vitejs").exists() or not (ROOT / "client" / "yjs" / "dist").exists():
		pytest.skip("the npm packages are not built: run script/test once")


def build_page(folder: Path) -> None:
	"""Build a page with Vite.

	Args:
		folder: The project, with a configuration of Vite.
	"""
	packages = folder / "node_modules"
	packages.symlink_to(PACKAGES)
	command = [node(), "node_modules/vite/bin/vite.js", "build", "--logLevel", "warn"]
	built = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
	packages.unlink()
	assert built.returncode == 0, built.stdout + built.stderr


@contextmanager
def linked_assets(bench: Bench, app: str) -> Iterator[None]:
	"""Let the web server hand out the folder `public` of an app, as `bench build` does; undo it in the end."""
	link = bench.sites / "assets" / app
	link.unlink(missing_ok=True)
	link.symlink_to(bench.root / "apps" / app / app / "public")
	try:
		yield
	finally:
		link.unlink()


@contextmanager
def installed(bench: Bench, source: Path) -> Iterator[None]:
	"""Install an app on the site with the app, while the processes that import apps are stopped; undo it in the end.

	A process that runs meanwhile may put the modules and DocTypes that it knows back into Frappe's cache, without those of the app.

	Args:
		bench: The bench.
		source: The folder of the app, which has its name; it is copied.
	"""
	app = source.name
	(site_packages,) = bench.root.glob("env/lib/python3*/site-packages")
	link = site_packages.relative_to(bench.root) / f"{app}.pth"
	folder = bench.root / "apps" / app
	with bench.kept(f"apps/{app}", str(link), "sites/apps.txt", "sites/apps.json"):
		shutil.copytree(source, folder, symlinks=True)
		# What `pip install --editable` writes, without a build.
		(bench.root / link).write_text(f"{folder}\n")
		apps = bench.sites / "apps.txt"
		apps.write_text(f"{apps.read_text().rstrip()}\n{app}\n")
		_stop(bench)
		try:
			if (source / app / "modules.txt").read_text().strip():
				# Frappe installs the DocTypes of the modules that it has in its cache.
				bench.bench("--site", bench.site, "clear-cache")
			bench.bench("--site", bench.site, "install-app", app)
			bench.start_processes()
			yield
		finally:
			_stop(bench)
			bench.bench("--site", bench.site, "uninstall-app", "--yes", "--no-backup", "--force", app)
	bench.start_processes()


def _stop(bench: Bench) -> None:
	for process in (bench.sidecar, bench.worker, bench.web):
		process.stop()
