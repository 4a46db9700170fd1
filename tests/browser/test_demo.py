"""The demo: its page, and that it removes its processes and files."""

from __future__ import annotations

import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from frappe_realtime.contract.events import OFFSET_EVENT
from realtime.demo.run import CLIENT, CLIENT_FOLDERS
from tests.wire.conditions import PATIENCE, free_port, until
from tests.wire.sidecar import ROOT, environment

ANN, BEN = "ann@example.com", "ben@example.com"


class Demo:
	"""A running `frappe-realtime demo`, whose temporary folder is below `folder`."""

	def __init__(self, folder: Path) -> None:
		self.folder = folder / "tmp"
		self.folder.mkdir()
		self._output = folder / "output"
		command = [sys.executable, "-m", "realtime", "demo", "--no-browser", "--port", str(free_port())]
		with self._output.open("wb") as output:
			self.process = subprocess.Popen(
				command,
				cwd=ROOT,
				stdout=output,
				stderr=output,
				stdin=subprocess.DEVNULL,
				env=environment(TMPDIR=str(self.folder)),
			)
		until(lambda: "Ctrl-C" in self.output or self.process.poll() is not None, "the demo has started")
		assert self.process.poll() is None, self.output

	@property
	def output(self) -> str:
		"""The output of the command so far."""
		return self._output.read_text()

	@property
	def url(self) -> str:
		"""The URL of the page."""
		found = re.search(r"http://\S+/", self.output)
		assert found
		return found[0]

	def processes(self) -> list[str]:
		"""Return the command lines of all processes that use the temporary folder."""
		lines = []
		for file in Path("/proc").glob("[0-9]*/cmdline"):
			try:
				lines.append(file.read_bytes().replace(b"\0", b" ").decode())
			except OSError:
				continue
		return [line for line in lines if str(self.folder) in line]

	def stop(self, signum: int = signal.SIGINT) -> None:
		"""Stop the demo with a signal; fail if a process or file is left."""
		self.process.send_signal(signum)
		assert self.process.wait(PATIENCE) == 0, self.output
		assert "Traceback" not in self.output, self.output
		assert list(self.folder.iterdir()) == []
		assert self.processes() == []


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Demo]:
	if not any((folder / CLIENT).exists() for folder in CLIENT_FOLDERS):
		pytest.skip("no socket.io-client for the demo: run script/test once")
	demo = Demo(tmp_path)
	yield demo
	if demo.process.poll() is None:
		demo.stop()


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
	context = browser.new_context()
	context.set_default_timeout(PATIENCE * 1000)
	yield context
	context.close()


def log_in(context: BrowserContext, demo: Demo, user: str) -> Page:
	"""Open the page of a user, and wait until it is connected."""
	page = context.new_page()
	page.goto(f"{demo.url}?user={user}")
	expect(page.locator("#status")).to_have_text("connected")
	return page


def test_two_users_see_each_others_changes(demo: Demo, context: BrowserContext) -> None:
	welcome = context.new_page()
	welcome.goto(demo.url)
	expect(welcome.locator(".people a")).to_have_count(2)
	ann, ben = log_in(context, demo, ANN), log_in(context, demo, BEN)
	for page in (ann, ben):
		expect(page.locator("#viewers .avatar")).to_have_count(2)

	ben.click("#advance")
	expect(ann.locator(".steps .now")).to_have_text("Packed")
	expect(ann.locator("#orders [aria-current] small")).to_contain_text("Packed")

	ann.fill("#text", "Hello Ben")
	expect(ben.locator("#typing")).to_contain_text("Ann Abara is typing")
	ann.press("#text", "Enter")
	expect(ben.locator(".message span")).to_have_text("Hello Ben")
	expect(ben.locator("#typing")).to_be_empty()

	ann.click("#start")
	expect(ann.locator("#progress")).to_have_text("Done.")
	expect(ann.locator(".bar")).to_have_attribute("aria-valuenow", "100")
	expect(ben.locator(".bar")).not_to_have_attribute("aria-valuenow", re.compile("."))

	ben.click("#orders button:last-child")
	expect(ann.locator("#viewers .avatar")).to_have_count(1)


def test_a_page_shows_who_edits_which_field(demo: Demo, context: BrowserContext) -> None:
	ann, ben = log_in(context, demo, ANN), log_in(context, demo, BEN)
	for page in (ann, ben):
		expect(page.locator("#viewers .avatar")).to_have_count(2)
	ann.focus("#note")
	expect(ben.locator("[data-field=note] .editors")).to_have_text("Ann Abara")
	expect(ben.locator("[data-field=delivery] .editors")).to_be_empty()
	expect(ann.locator("[data-field=note] .editors")).to_be_empty()
	ann.fill("#note", "To the back door")
	ann.focus("#delivery")
	expect(ben.locator("#note")).to_have_value("To the back door")
	expect(ben.locator("[data-field=delivery] .editors")).to_have_text("Ann Abara")
	expect(ben.locator("[data-field=note] .editors")).to_be_empty()

	ben.fill("#delivery", "half a word")
	ann.fill("#delivery", "Friday")
	ann.press("#delivery", "Tab")
	expect(ben.locator("#activity")).to_contain_text("changed the delivery to Friday")
	expect(ben.locator("#delivery")).to_have_value("half a word")

	ann.click("#orders button:last-child")
	expect(ben.locator("[data-field=delivery] .editors")).to_be_empty()
	expect(ann.locator("#note")).to_have_value("")


def test_a_page_that_is_opened_late_shows_what_has_happened(demo: Demo, context: BrowserContext) -> None:
	"""The last events of the order come with its subscription: in order, and before the live ones."""
	ben = log_in(context, demo, BEN)
	expect(ben.locator("#activity li")).to_have_count(0)
	for step in ("Packed", "Shipped"):
		ben.click("#advance")
		expect(ben.locator(".steps .now")).to_have_text(step)
	ann = log_in(context, demo, ANN)
	expect(ann.locator("#activity b")).to_have_text(["set it to Shipped", "set it to Packed"])
	expect(ann.locator("#toasts p")).to_have_count(0)
	ben.click("#advance")
	live = ["set it to Draft", "set it to Shipped", "set it to Packed"]
	for page in (ann, ben):
		expect(page.locator("#activity b")).to_have_text(live)
	expect(ann.locator("#toasts")).to_have_text("Ben Osei set it to Draft: SO-0042")

	ann.click("#orders button:last-child")
	expect(ann.locator("#activity li")).to_have_count(0)
	ann.click("#orders button:first-child")
	expect(ann.locator("#activity b")).to_have_text(live)
	expect(ann.locator(".steps .now")).to_have_text("Draft")


def test_an_order_that_changes_while_it_is_clicked_is_opened(demo: Demo, context: BrowserContext) -> None:
	ann, ben = log_in(context, demo, ANN), log_in(context, demo, BEN)
	ann.click("#orders button:last-child")
	button = ann.locator("#orders button:first-child")
	button.hover()
	ann.mouse.down()
	ben.click("#advance")
	expect(button).to_contain_text("Packed")
	ann.mouse.up()
	expect(button).to_have_attribute("aria-current", "true")


def test_event_from_the_command_line(demo: Demo, context: BrowserContext) -> None:
	ann, ben = log_in(context, demo, ANN), log_in(context, demo, BEN)
	command = shlex.split(ann.locator("#command").inner_text())
	assert f" {shlex.join(command[1:])}" in demo.output, "the page and the terminal show the same command"
	done = subprocess.run(
		[sys.executable, "-m", "realtime", *command[1:]],
		cwd=ROOT,
		env=environment(),
		capture_output=True,
		check=False,
	)
	assert done.returncode == 0, done
	expect(ann.locator("#toasts")).to_contain_text("Hello from a terminal")
	# A later event: what was published before would have come.
	ben.click("#advance")
	expect(ben.locator("#feed")).to_contain_text("doc_update")
	assert "hello" not in ben.locator("#feed").inner_text()


def test_page_shows_no_internal_events(demo: Demo, context: BrowserContext) -> None:
	"""A client that can recover gets the offset in an event of its own, first of all when it connects."""
	ann = log_in(context, demo, ANN)
	ann.click("#advance")
	expect(ann.locator("#feed")).to_contain_text("doc_update")
	assert OFFSET_EVENT not in ann.locator("#feed").inner_text()
	assert OFFSET_EVENT not in ann.locator("#toasts").inner_text()


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_no_process_and_no_file_is_left(demo: Demo, context: BrowserContext, signum: int) -> None:
	log_in(context, demo, ANN)
	assert len(demo.processes()) >= 1
	demo.stop(signum)


def test_port_that_is_taken(demo: Demo) -> None:
	port = demo.url.rsplit(":", 1)[1].rstrip("/")
	again = subprocess.run(
		[sys.executable, "-m", "realtime", "demo", "--no-browser", "--port", port],
		cwd=ROOT,
		env=environment(TMPDIR=str(demo.folder)),
		capture_output=True,
		text=True,
		timeout=PATIENCE,
		check=False,
	)
	assert again.returncode not in (0, 1)
	assert f"port {port}" in again.stderr
	assert "Traceback" not in again.stderr
