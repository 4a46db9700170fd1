"""Starts Chromium through Playwright: the one that Playwright has downloaded, or else that of the system."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, Playwright, sync_playwright
from playwright.sync_api import Error as PlaywrightError

COMMANDS = ("chromium", "chromium-browser", "google-chrome")
OPTIONS = [
	"--no-sandbox",  # Chromium has no sandbox when it runs as root
	"--disable-dev-shm-usage",
	# The names of test sites are not in the DNS.
	"--host-resolver-rules=MAP *.test 127.0.0.1",
	# Pages that Playwright serves for a test have no address; Chromium would not let them send requests to this machine.
	"--disable-features=LocalNetworkAccessChecks,BlockInsecurePrivateNetworkRequests",
]


class NoChromium(Exception):
	"""Chromium is not installed, or does not start."""


def executable(playwright: Playwright) -> str:
	"""Return the path of a Chromium: `$CHROMIUM`, Playwright's, or one on PATH.

	Raises:
		NoChromium: There is none.
	"""
	if "CHROMIUM" in os.environ:
		return os.environ["CHROMIUM"]
	candidates = [playwright.chromium.executable_path, *map(shutil.which, COMMANDS)]
	for candidate in candidates:
		if candidate and os.path.exists(candidate):
			return candidate
	raise NoChromium("no Chromium: Playwright could not download one, and none is on PATH")


@contextmanager
def chromium(*options: str) -> Iterator[Browser]:
	"""Start a headless Chromium with more command line options; of repeated options the last one applies.

	Raises:
		NoChromium: There is none, or it does not start.
	"""
	with sync_playwright() as playwright:
		path = executable(playwright)
		try:
			browser = playwright.chromium.launch(executable_path=path, args=[*OPTIONS, *options])
		except PlaywrightError as error:
			raise NoChromium(f"{path} does not start: {error.message.splitlines()[0]}") from error
		yield browser
		browser.close()
