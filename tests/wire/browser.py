"""Starts Chromium through Playwright: the one that Playwright has downloaded, or else that of the system."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, Playwright, sync_playwright
from playwright.sync_api import Error as PlaywrightError

COMMANDS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
"""The first one needs half of the CPU time of the others, which also draw the window of the browser."""

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


def candidates() -> list[str | None]:
	"""Return the paths of what may be started: `$CHROMIUM`, or Playwright's own headless shell (None) and those on PATH."""
	if "CHROMIUM" in os.environ:
		return [os.environ["CHROMIUM"]]
	return [None, *filter(None, map(shutil.which, COMMANDS))]


@contextmanager
def chromium(*options: str) -> Iterator[Browser]:
	"""Start a headless Chromium with more command line options; of repeated options the last one applies.

	Raises:
		NoChromium: There is none, or it does not start.
	"""
	with sync_playwright() as playwright:
		browser = _launch(playwright, [*OPTIONS, *options])
		yield browser
		browser.close()


def _launch(playwright: Playwright, options: list[str]) -> Browser:
	failures: list[str] = []
	for path in candidates():
		try:
			return playwright.chromium.launch(executable_path=path, args=options)
		except PlaywrightError as error:
			failures.append(f"{path or 'of Playwright'}: {error.message.splitlines()[0]}")
	raise NoChromium(f"no Chromium starts: {'; '.join(failures)}")
