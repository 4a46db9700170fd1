"""Run the linters and the test rings, then print a summary: what passed, what failed with which error, what was left out and why."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from realtime.demo import npm
from script.library_examples import build_library_examples

ROOT = Path(__file__).parents[1]
CACHE = ROOT / ".cache"
NODE_FOLDER = CACHE / "node"
ESLINT_FOLDER = CACHE / "eslint"
CHROMIUM_PACKAGES = ("chromium-headless-shell", "chromium")
"""Debian's packages of a Chromium without a window; older releases have the second one only."""
DOWNLOAD_TIMEOUT = 300
"""Seconds for the download of Chromium."""
CLIENT_FOLDER = CACHE / "client"
CLIENT_SCRIPTS = ("build.mjs", "tests/pages/build.mjs")
"""What builds the packages of `client/`, and the pages that use them in tests; relative to `client/`."""
RINGS = {"unit": ("unit",), "wire": ("wire", "hostile", "browser", "client"), "bench": ("bench",)}
"""The folders of `tests/` that belong to each ring."""
PYTHON_LINTERS = {
	"ruff check": ("ruff", "check", "."),
	"ruff format": ("ruff", "format", "--check", "."),
	"mypy": ("mypy",),
}
"""The modules that check the Python sources, with their arguments."""
ERROR_LENGTH = 600
"""How many characters of a failed test's error the summary shows."""
NO_TESTS_COLLECTED = 5
"""pytest's exit code for a run without tests."""


@dataclass
class Result:
	"""The result of the linters or of one ring."""

	name: str
	passed: int = 0
	failed: int = 0
	left_out: Counter[str] = field(default_factory=Counter)
	"""How many checks or tests did not run, by reason."""
	remarks: list[str] = field(default_factory=list)
	failures: list[str] = field(default_factory=list)
	"""Each failed test with the beginning of its error."""

	def __str__(self) -> str:
		ran = f"{self.passed} passed, {self.failed} failed" if self.passed or self.failed else "nothing ran"
		reasons = "; ".join(f"{count} left out: {reason}" for reason, count in self.left_out.items())
		return f"{self.name:5} {', '.join(filter(None, (ran, reasons, *self.remarks)))}"


def print_headline(text: str) -> None:
	"""Print a headline."""
	print(f"\n== {text}", flush=True)


def lint() -> Result:
	"""Run ruff, mypy and ESLint."""
	result = Result("lint")
	for name, arguments in PYTHON_LINTERS.items():
		_check(result, name, [sys.executable, "-m", *arguments])
	try:
		npm.install(ESLINT_FOLDER, ROOT / "script" / "eslint" / "package.json")
		node = npm.node()
	except npm.NpmError as error:
		print(error, file=sys.stderr)
		result.left_out["ESLint cannot be installed"] += 1
		return result
	packages = ESLINT_FOLDER / "node_modules"
	command = [node, str(packages / "eslint" / "bin" / "eslint.js"), "--max-warnings=0"]
	command += ["--config", "script/eslint/eslint.config.cjs", "."]
	_check(result, "eslint", command, {"NODE_PATH": str(packages)})
	return result


def _check(result: Result, name: str, command: list[str], environment: dict[str, str] | None = None) -> None:
	"""Run one linter and count it."""
	print_headline(name)
	done = subprocess.run(command, cwd=ROOT, env={**os.environ, **(environment or {})}, check=False)
	if done.returncode:
		result.failed += 1
		result.remarks.append(f"{name} failed")
	else:
		result.passed += 1


def run_ring(name: str, arguments: list[str]) -> Result:
	"""Run the folders of one ring with pytest.

	Args:
		name: A key of `RINGS`.
		arguments: Further arguments of pytest.
	"""
	result = Result(name)
	if name == "bench" and not os.environ.get("FRAPPE_BENCH_ROOT"):
		result.remarks.append("left out: FRAPPE_BENCH_ROOT is not set")
		return result
	print_headline(f"ring {name}")
	report = CACHE / f"{name}.xml"
	report.unlink(missing_ok=True)
	command = [sys.executable, "-m", "pytest", *(f"tests/{folder}" for folder in RINGS[name])]
	command.append(f"--junitxml={report}")
	if name == "unit" and not arguments:
		command += ["--numprocesses=2", "--dist=loadfile"]
		# The floor is in pyproject.toml (tool.coverage.report.fail_under); it holds for the whole ring only.
		command += ["--cov", "--cov-report=term:skip-covered"]
	if name != "unit":
		# No test of these rings uses hypothesis; its late import at exit can crash CPython 3.11.
		command += ["-p", "no:hypothesispytest"]
	if name == "wire":
		# Its tests wait longer than they compute: two cores have time for eight of them.
		# With the option, they run the files in the order of tests/conftest.py, else those with most tests first.
		command += ["--numprocesses=8", "--dist=loadfile", "--no-loadscope-reorder"]
	code = subprocess.run([*command, *arguments], cwd=ROOT, check=False).returncode
	if report.exists():
		read_report(report, result)
	if code not in (0, NO_TESTS_COLLECTED) and not result.failed:
		result.failed += 1
		result.remarks.append(f"pytest ended with exit code {code}")
	return result


def read_report(report: Path, result: Result) -> None:
	"""Add the counts of a JUnit file to a result."""
	for case in ElementTree.parse(report).iter("testcase"):
		skipped = case.find("skipped")
		if errors := [*case.findall("failure"), *case.findall("error")]:
			result.failed += 1
			message = " ".join(errors[0].get("message", "").split())[:ERROR_LENGTH]
			result.failures.append(f"{case.get('classname')}::{case.get('name')}: {message}")
		elif skipped is not None:
			result.left_out[skipped.get("message", "")] += 1
		else:
			result.passed += 1


def prepare(chosen: tuple[str, ...]) -> None:
	"""Install and build what the tests of the chosen rings need besides Python."""
	if "wire" in chosen or ("bench" in chosen and os.environ.get("FRAPPE_BENCH_ROOT")):
		install_npm_packages()
		install_chromium()
	if "wire" in chosen:
		build_client()


def install_npm_packages() -> None:
	"""Install the npm packages of the tests and of the demo; tests that need a missing package are left out."""
	# Imported here: the linters must run even if a module of the project cannot be imported.
	from realtime.config import ConfigError
	from realtime.demo.run import socketio_client

	try:
		npm.install(NODE_FOLDER, ROOT / "tests" / "node" / "package.json")
		socketio_client()
	except (npm.NpmError, ConfigError) as error:
		print(error, file=sys.stderr)


def build_client() -> None:
	"""Build the npm packages of `client/`, and the pages that use them; tests that need them are left out if it fails."""
	print_headline("client packages")
	try:
		install_client_tools()
		for script in CLIENT_SCRIPTS:
			subprocess.run([npm.node(), script], cwd=ROOT / "client", check=True)
		build_library_examples()
	except (npm.NpmError, subprocess.CalledProcessError) as error:
		print(error, file=sys.stderr)


def install_client_tools() -> None:
	"""Install what builds and tests the packages of `client/`, where Node finds it from there.

	Raises:
		NpmError: It cannot be installed.
	"""
	npm.install(CLIENT_FOLDER, ROOT / "client" / "package.json")
	packages = CLIENT_FOLDER / "node_modules"
	_link(ROOT / "client" / "node_modules", packages)
	for package in (ROOT / "client").glob("*/package.json"):
		_link(packages / "@frappe-realtime" / package.parent.name, package.parent)


def _link(link: Path, target: Path) -> None:
	link.parent.mkdir(parents=True, exist_ok=True)
	if link.is_symlink() or not link.exists():
		link.unlink(missing_ok=True)
		link.symlink_to(os.path.relpath(target, link.parent))


def install_chromium() -> None:
	"""Install a headless Chromium once: with Playwright, or as root with apt-get if the machine has none."""
	from tests.wire.browser import COMMANDS

	done = CACHE / "chromium"
	if done.exists():
		return
	print_headline("Chromium")
	command = [sys.executable, "-m", "playwright", "install", "--only-shell", "chromium"]
	try:
		downloaded = subprocess.run(command, check=False, timeout=DOWNLOAD_TIMEOUT).returncode == 0
	except subprocess.TimeoutExpired:
		downloaded = False
	if not downloaded and not any(map(shutil.which, COMMANDS)):
		if os.geteuid() or not shutil.which("apt-get"):
			return
		subprocess.run(["apt-get", "update", "-q"], check=False)
		environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
		for package in CHROMIUM_PACKAGES:
			command = ["apt-get", "install", "-y", "-q", package]
			if subprocess.run(command, check=False, env=environment).returncode == 0:
				break
	done.touch()


def main(arguments: list[str]) -> int:
	"""Run the ring that the first argument names, or everything; return the exit code."""
	names = ("lint", *RINGS)
	chosen: tuple[str, ...] = names
	if arguments and arguments[0] in names:
		chosen = (arguments.pop(0),)
	elif arguments and arguments[0] == "--":
		arguments.pop(0)
	elif arguments:
		print(f"script/test: {arguments[0]!r} is not one of {', '.join(names)}, --", file=sys.stderr)
		return 2
	CACHE.mkdir(exist_ok=True)
	# The tests start hundreds of Python processes: each would compile all modules that it imports.
	os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
	results: list[Result] = []
	with ThreadPoolExecutor(1) as background:
		# It waits for the network, and builds on one core. Neither the linters nor the unit ring needs it.
		prepared = background.submit(prepare, chosen)
		if "lint" in chosen:
			results.append(lint())
		if "unit" in chosen:
			results.append(run_ring("unit", arguments))
		prepared.result()
	results += [run_ring(name, arguments) for name in chosen if name not in ("lint", "unit")]
	print_headline("summary")
	for result in results:
		print(result)
	for result in results:
		for failure in result.failures:
			print(f"FAILED {failure}")
	passed = sum(result.passed for result in results)
	failed = sum(result.failed for result in results)
	skipped = sum(result.left_out.total() for result in results)
	print(f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else ""))
	return 1 if failed else 0


if __name__ == "__main__":
	sys.exit(main(sys.argv[1:]))
