"""Chromium, by Playwright: its own download where there is one, else the system's."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, Playwright, sync_playwright
from playwright.sync_api import Error as PlaywrightError

COMMANDS = ("chromium", "chromium-browser", "google-chrome")
OPTIONS = [
	"--no-sandbox",  # root in a container has no sandbox
	"--disable-dev-shm-usage",
	# Sites of tests have names that no resolver knows.
	"--host-resolver-rules=MAP *.test 127.0.0.1",
	# Pages that tests hand out themselves come from no address, and may not call this machine otherwise.
	"--disable-features=LocalNetworkAccessChecks,BlockInsecurePrivateNetworkRequests",
]


class NoChromium(Exception):
	"""There is no Chromium on this machine."""


def executable(playwright: Playwright) -> str:
	"""Return the path of a Chromium: `$CHROMIUM`, Playwright's, or one on PATH.

	Raises:
		NoChromium: there is none.
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
	"""A headless Chromium, with further options of its command line; the last of equal ones counts.

	Raises:
		NoChromium: there is none, or it does not start.
	"""
	with sync_playwright() as playwright:
		path = executable(playwright)
		try:
			browser = playwright.chromium.launch(executable_path=path, args=[*OPTIONS, *options])
		except PlaywrightError as error:
			raise NoChromium(f"{path} does not start: {error.message.splitlines()[0]}") from error
		yield browser
		browser.close()
