"""Takes the picture of the demo in README.md and docs/; run by script/demo-picture."""

from __future__ import annotations

import re
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Browser, FrameLocator, expect

from tests.browser.test_demo import ANN, BEN, Demo
from tests.wire.browser import NoChromium, chromium
from tests.wire.sidecar import ROOT

PICTURE = ROOT / "docs" / "images" / "demo.png"
WIDTH, HEIGHT = 1280, 800


def main() -> int:
	"""Take the picture; return the exit code."""
	with tempfile.TemporaryDirectory() as folder:
		demo = Demo(Path(folder))
		try:
			with chromium() as browser:
				take(browser, demo.url)
		except NoChromium as error:
			print(f"script/demo-picture: {error}", file=sys.stderr)
			return 1
		finally:
			demo.stop()
	print(f"{PICTURE}, {PICTURE.stat().st_size // 1000} KB")
	return 0


def take(browser: Browser, url: str) -> None:
	"""Let two users work on one order, in two frames of one page, and take the picture while a job runs."""
	page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, locale="en-GB")
	page.goto(f"{url}both")
	ann, ben = (page.frame_locator(f"iframe[src*='{user}']") for user in (ANN, BEN))
	for frame in (ann, ben):
		expect(frame.locator("#viewers .avatar")).to_have_count(2)
	say(ann, "Is the bakery's order packed?")
	expect(ben.locator(".message")).to_have_count(1)
	ben.locator("#advance").click()
	expect(ann.locator(".steps .now")).to_have_text("Packed")
	say(ben, "Yes, it leaves in ten minutes.")
	expect(ann.locator(".message")).to_have_count(2)
	ann.locator("#start").click()
	expect(ann.locator("#progress")).to_have_text(re.compile(r"Row 1\d\d"))
	ben.locator("#text").fill("Shall I")
	expect(ann.locator("#typing")).to_contain_text("is typing")
	ann.locator("#note").focus()
	expect(ben.locator("[data-field=note] .editors")).to_have_text("Ann Abara")
	ann.locator("body").evaluate("() => scrollTo(0, 0)")
	page.screenshot(path=PICTURE)


def say(frame: FrameLocator, text: str) -> None:
	"""Send a message in the chat."""
	frame.locator("#text").fill(text)
	frame.locator("#text").press("Enter")


if __name__ == "__main__":
	sys.exit(main())
