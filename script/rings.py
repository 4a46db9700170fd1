"""Run the checks and the test rings, and say in the last lines what ran and what was left out and why."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[1]
CACHE = ROOT / ".cache"
NODE_FOLDER = CACHE / "node"
CHROMIUM_COMMANDS = ("chromium", "chromium-browser", "google-chrome")
RINGS = {"unit": ("unit",), "wire": ("wire", "browser"), "bench": ("bench",)}
"""the folders of each"""
CHECKS = {
	"ruff check": ("ruff", "check", "."),
	"ruff format": ("ruff", "format", "--check", "."),
	"mypy": ("mypy",),
}
SECOND_CHANCES = 5
"""Failures of the wire ring that are tried once more, and named: its processes and browsers share two cores."""
NO_TESTS = 5
"""pytest's exit code for it"""


@dataclass
class Result:
	"""What became of one ring."""

	name: str
	passed: int = 0
	failed: int = 0
	left_out: Counter[str] = field(default_factory=Counter)
	remark: str = ""

	def __str__(self) -> str:
		ran = f"{self.passed} passed, {self.failed} failed" if self.passed or self.failed else "nothing ran"
		reasons = "; ".join(f"{count} left out: {reason}" for reason, count in self.left_out.items())
		return f"{self.name:5} {', '.join(part for part in (ran, reasons, self.remark) if part)}"


def say(text: str) -> None:
	"""Print a headline."""
	print(f"\n== {text}", flush=True)


def lint() -> Result:
	"""Run ruff and mypy."""
	result = Result("lint")
	for name, command in CHECKS.items():
		say(name)
		if subprocess.run([sys.executable, "-m", *command], cwd=ROOT, check=False).returncode:
			result.failed += 1
			result.remark += f" ({name} failed)"
		else:
			result.passed += 1
	return result


def ring(name: str, arguments: list[str]) -> Result:
	"""Run the folders of one ring by pytest and read its report."""
	result = Result(name)
	if name == "bench" and not os.environ.get("FRAPPE_BENCH_ROOT"):
		result.remark = "left out: FRAPPE_BENCH_ROOT names no bench"
		return result
	if name in ("wire", "bench"):
		prepare_node()
		prepare_chromium()
	say(f"ring {name}")
	report = CACHE / f"{name}.xml"
	report.unlink(missing_ok=True)
	folders = [f"tests/{folder}" for folder in RINGS[name]]
	# Where nothing uses it, hypothesis is imported at the very end, and CPython 3.11 may stumble over that.
	without = [] if name == "unit" else ["-p", "no:hypothesispytest"]
	command = [sys.executable, "-m", "pytest", *without, *folders, f"--junitxml={report}"]
	if name == "wire":
		# Its tests wait more than they compute.
		command += ["--numprocesses=2", "--dist=loadfile"]
	command += arguments
	code = subprocess.run(command, cwd=ROOT, check=False).returncode
	if report.exists():
		read_report(report, result)
	if name == "wire" and code == 1 and 0 < result.failed <= SECOND_CHANCES:
		failed_first = result.failed
		report.unlink()
		say(f"ring {name}, the {failed_first} that failed, once more")
		code = subprocess.run([*command, "--last-failed"], cwd=ROOT, check=False).returncode
		result.failed = 0
		if report.exists():
			read_report(report, result)
		result.remark = f"{failed_first - result.failed} of them passed only the second time"
	if code not in (0, NO_TESTS) and not result.failed:
		result.failed += 1
		result.remark = f"pytest ended with exit code {code}"
	return result


def read_report(report: Path, result: Result) -> None:
	"""Count what a JUnit file says."""
	for case in ElementTree.parse(report).iter("testcase"):
		skipped = case.find("skipped")
		if case.find("failure") is not None or case.find("error") is not None:
			result.failed += 1
		elif skipped is not None:
			result.left_out[skipped.get("message", "")] += 1
		else:
			result.passed += 1


def prepare_node() -> None:
	"""Install the npm packages of the tests and of the demo; without them, the tests that need them are left out."""
	from realtime.config import ConfigError
	from realtime.demo import npm, run

	try:
		npm.install(NODE_FOLDER, ROOT / "tests" / "node" / "package.json")
		run.socketio_client()
	except (npm.NpmError, ConfigError) as error:
		print(error, file=sys.stderr)


def prepare_chromium() -> None:
	"""Bring a Chromium: by Playwright where it can download, else the system's, else Debian's as root."""
	tried = CACHE / "chromium"
	if tried.exists():
		return
	say("Chromium")
	CACHE.mkdir(exist_ok=True)
	install = [sys.executable, "-m", "playwright", "install", "chromium"]
	try:
		downloaded = subprocess.run(install, check=False, timeout=300).returncode == 0
	except subprocess.TimeoutExpired:
		downloaded = False
	if not downloaded and not any(map(shutil.which, CHROMIUM_COMMANDS)):
		if os.geteuid() or not shutil.which("apt-get"):
			return
		subprocess.run(["apt-get", "update", "-q"], check=False)
		environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
		subprocess.run(["apt-get", "install", "-y", "-q", "chromium"], check=False, env=environment)
	tried.touch()


def main(arguments: list[str]) -> int:
	"""Run what the arguments name; return the exit code."""
	names = ("lint", *RINGS)
	chosen = names
	if arguments and arguments[0] in names:
		chosen = (arguments.pop(0),)
	elif arguments and arguments[0] == "--":
		arguments.pop(0)
	elif arguments:
		print(f"script/test: {arguments[0]!r} is none of {', '.join(names)}, --", file=sys.stderr)
		return 2
	CACHE.mkdir(exist_ok=True)
	results = [lint() if name == "lint" else ring(name, arguments) for name in chosen]
	say("in short")
	for result in results:
		print(result)
	passed = sum(result.passed for result in results)
	failed = sum(result.failed for result in results)
	skipped = sum(result.left_out.total() for result in results)
	print(f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else ""))
	return 1 if failed else 0


if __name__ == "__main__":
	sys.exit(main(sys.argv[1:]))
