"""The commands of `frappe-realtime` in README.md and the documentation do what it says, run on a bench of the tests."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from realtime.demo.model import User
from tests.unit.docs.blocks import blocks_in
from tests.wire.bench import APP_SITE, STOCK_SITE, Bench
from tests.wire.command import run_command
from tests.wire.conditions import accepts, free_port, until
from tests.wire.conftest import Connect, MakeBench
from tests.wire.listener import Listener
from tests.wire.sidecar import ROOT, environment

COMMANDS = [
	pytest.param(arguments, id=f"{block}: {arguments[0]}-{number}")
	for block in blocks_in("sh")
	for number, arguments in enumerate(block.frappe_realtime_commands())
]
DOCUMENT = "TODO-0001"
"""The ToDo in the documented commands."""


@pytest.fixture(scope="module")
def shared(make_shared_bench: MakeBench) -> Bench:
	"""A bench with one site, which has an address that is reached. No command changes it."""
	bench = make_shared_bench(start=False, version=17)
	shutil.rmtree(bench.folder / "sites" / STOCK_SITE)
	bench.write(f"sites/{APP_SITE}/site_config.json", {"host_name": bench.sidecar.url})
	return bench.start()


@pytest.fixture
def bench(shared: Bench) -> Iterator[Bench]:
	"""The shared bench."""
	yield shared
	shared.sidecar.check_log()


@pytest.fixture
def user(bench: Bench) -> User:
	"""A user who may read the document."""
	one = bench.user()
	bench.site().allow(one.name, "ToDo", DOCUMENT)
	return one


def filled_in(arguments: list[str], bench: Bench, user: User) -> list[str]:
	"""Return the arguments with a site, a user, an API key and the folder of the bench in place of their names."""
	token = bench.site().authorization(user.name).removeprefix("token ")
	values = {"SITE": APP_SITE, "USER": user.name, "KEY:SECRET": token}
	filled = [values.get(one, one) for one in arguments]
	if "--bench" in filled:
		filled[filled.index("--bench") + 1] = str(bench.folder)
	elif filled[0] != "demo":
		filled += ["--bench", str(bench.folder)]
	return filled


@pytest.mark.parametrize("arguments", COMMANDS)
def test_documented_command(
	arguments: list[str], bench: Bench, user: User, connect: Connect, tmp_path: Path
) -> None:
	name, *options = filled_in(arguments, bench, user)
	if name == "listen":
		check_listen(options, bench, tmp_path)
	elif name == "serve":
		check_serve(options)
	elif name == "top" and "--once" not in options:
		connect(bench, user)
		check_top(options, tmp_path)
	else:
		result = run_command(name, *options)
		assert result.code == 0, result
		assert result.output


def check_listen(options: list[str], bench: Bench, folder: Path) -> None:
	"""Publish an event to everyone, and wait until it is printed."""
	position = options.index("--bench")
	listener = Listener(bench, folder, *options[:position], *options[position + 2 :])
	try:
		listener.wait_until_listening()
		bench.publish("news", {"text": "hello"}, "website")
		assert listener.next("news")["message"] == {"text": "hello"}
		if "--room" in options:
			room = options[options.index("--room") + 1]

			def arrives() -> bool:
				bench.publish("changed", 1, room)
				return bool(listener.events("changed"))

			# It listens before it has joined the room: it asks for that then, and the sidecar asks the web process.
			until(arrives, f"an event of {room}")
			assert listener.next("changed")["message"] == 1
		assert listener.interrupt() == 0
	finally:
		listener.close()


def check_serve(options: list[str]) -> None:
	"""Start the sidecar, wait until it listens, and stop it."""
	port = free_port()
	command = [
		sys.executable,
		"-m",
		"realtime",
		"serve",
		*options,
		"--host",
		"127.0.0.1",
		"--port",
		str(port),
	]
	with subprocess.Popen(
		command, cwd=ROOT, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
	) as process:
		try:
			until(lambda: accepts(port) or process.poll() is not None, "the sidecar listens")
			process.send_signal(signal.SIGTERM)
			assert process.wait(30) == 0
		finally:
			process.kill()


def check_top(options: list[str], folder: Path) -> None:
	"""Start it, wait until it shows the site, and press Ctrl-C."""
	shown = folder / "shown"
	command = [sys.executable, "-m", "realtime", "top", *options]
	with (
		shown.open("wb") as output,
		subprocess.Popen(command, cwd=ROOT, env=environment(), stdout=output) as process,
	):
		try:
			until(lambda: APP_SITE in shown.read_text() or process.poll() is not None, "the site is shown")
			process.send_signal(signal.SIGINT)
			assert process.wait(30) == 0
		finally:
			process.kill()
