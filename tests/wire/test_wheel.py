"""The wheel: it contains every file of the packages, and its commands work in an empty virtual environment."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import urllib.request
import zipfile
from pathlib import Path

import pytest

from tests.wire.bench import APP_SITE, Bench
from tests.wire.command import COMMAND_TIMEOUT
from tests.wire.conditions import PATIENCE, free_port, until
from tests.wire.conftest import Connect, MakeBench
from tests.wire.listener import Listener
from tests.wire.sidecar import ROOT, Sidecar, environment

INSTALL_TIMEOUT = 300
"""Seconds for pip, which downloads what its cache does not have."""
pytestmark = pytest.mark.timeout(3 * INSTALL_TIMEOUT)
"""The first test builds the wheel, makes the environment and installs into it."""
GENERATED = {"__pycache__", "dist", "node_modules"}


def run(folder: Path, *command: str | Path, timeout: float = PATIENCE) -> str:
	"""Run a command in a folder to its end; return its output, fail when it fails."""
	done = subprocess.run(
		[*map(str, command)],
		cwd=folder,
		env=environment(),
		stdin=subprocess.DEVNULL,
		capture_output=True,
		text=True,
		timeout=timeout,
		check=False,
	)
	assert done.returncode == 0, f"{command}:\n{done.stdout}\n{done.stderr}"
	return done.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
	"""A folder outside the repository, from which all commands run."""
	return tmp_path_factory.mktemp("wheel")


@pytest.fixture(scope="module")
def wheel(folder: Path) -> Path:
	"""The wheel of this source tree."""
	run(
		folder, sys.executable, "-m", "pip", "wheel", "--no-deps", "-w", folder, ROOT, timeout=INSTALL_TIMEOUT
	)
	(file,) = folder.glob("*.whl")
	return file


@pytest.fixture(scope="module")
def script(folder: Path, wheel: Path) -> Path:
	"""The console script of the wheel, installed with the extra `demo` in an empty virtual environment."""
	bin_folder = folder / "venv" / "bin"
	run(folder, sys.executable, "-m", "venv", folder / "venv", timeout=INSTALL_TIMEOUT)
	# The commands compile the modules that they import; pip would compile those of all packages.
	run(folder, bin_folder / "pip", "install", "--no-compile", f"{wheel}[demo]", timeout=INSTALL_TIMEOUT)
	return bin_folder / "frappe-realtime"


@pytest.fixture
def bench(make_bench: MakeBench, script: Path, folder: Path) -> Bench:
	"""A bench whose sidecar is the installed one."""
	bench = make_bench(start=False)
	bench.sidecar = Sidecar(
		bench.folder, folder / "sidecar.log", port=bench.sidecar.port, command=(str(script),)
	)
	bench.sidecar.cwd = folder
	return bench.start()


def test_it_contains_every_file_of_the_packages(wheel: Path) -> None:
	files = {
		str(file.relative_to(ROOT))
		for package in ("frappe_realtime", "realtime")
		for file in (ROOT / package).rglob("*")
		if file.is_file() and not GENERATED.intersection(file.relative_to(ROOT).parts)
	}
	contained = set(zipfile.ZipFile(wheel).namelist())
	assert {
		"frappe_realtime/public/js/realtime.js",
		"realtime/demo/package.json",
		"realtime/javascript/node/main.js",
	} <= files
	assert files <= contained


def test_serve(bench: Bench, connect: Connect) -> None:
	user = bench.user()
	client = connect(bench, user)
	bench.publish("news", {"text": "hello"}, f"user:{user.name}", APP_SITE)
	assert client.next("news")[0] == {"text": "hello"}


def test_doctor(bench: Bench, script: Path, folder: Path) -> None:
	command = (script, "doctor", "--bench", bench.folder, "--site", APP_SITE)
	said = run(folder, *command, timeout=COMMAND_TIMEOUT)
	assert "Everything that could be checked works." in said


def test_listen(bench: Bench, script: Path, tmp_path: Path) -> None:
	listener = Listener(bench, tmp_path, command=(str(script),), cwd=tmp_path)
	try:
		listener.wait_until_listening()
		bench.publish("news", {"text": "hello"}, "website")
		assert listener.next("news")["message"] == {"text": "hello"}
		assert listener.interrupt() == 0
	finally:
		listener.close()


def test_demo(script: Path, folder: Path) -> None:
	# An empty cache folder: the demo installs socket.io-client from the package.json in the wheel.
	log, cache, temporary = folder / "demo.log", folder / "cache", folder / "tmp"
	temporary.mkdir()
	command = [str(script), "demo", "--no-browser", "--port", str(free_port())]
	with log.open("wb") as output:
		process = subprocess.Popen(
			command,
			cwd=folder,
			env=environment(XDG_CACHE_HOME=str(cache), TMPDIR=str(temporary)),
			stdin=subprocess.DEVNULL,
			stdout=output,
			stderr=output,
		)
	try:
		until(lambda: "Ctrl-C" in log.read_text() or process.poll() is not None, "the demo", 2 * PATIENCE)
		assert process.poll() is None, log.read_text()
		(url,) = re.findall(r"The page +(\S+)", log.read_text())
		for path in ("", "assets/socket.io.esm.min.js", "assets/frappe_realtime/js/realtime.js"):
			with urllib.request.urlopen(url + path, timeout=PATIENCE) as answer:
				assert answer.status == 200
		(handlers,) = temporary.glob("*/bench/apps/chat/chat/realtime/handlers.py")
		assert handlers.is_file()
	finally:
		process.send_signal(signal.SIGINT)
		assert process.wait(PATIENCE) == 0, log.read_text()
