"""What the browser says about the broken benches of docs/broken-benches.md: each is broken here, and a page diagnoses it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from playwright.sync_api import BrowserContext

from tests.broken_benches import ROWS
from tests.browser.conftest import OpenPage
from tests.browser.diagnosis.broken import proxies, services, sidecar
from tests.browser.diagnosis.broken.place import Place
from tests.browser.diagnosis.diagnosing import OpenAt, StartNginx, diagnose, needs_nginx
from tests.wire.background import Background
from tests.wire.bench import Bench
from tests.wire.conftest import MakeBench

NOTHING = "nothing: "
"""Begins the cell of a bench about which a page cannot say anything."""

WORKS = "works"
"""Begins the cell of a bench in which pages are connected."""

BREAKS = {**services.breaks, **sidecar.breaks, **proxies.breaks}


@pytest.fixture
def place(
	make_bench: MakeBench,
	shared_benches: Callable[[int], Bench],
	start_nginx: StartNginx,
	open_desk: OpenPage,
	open_at: OpenAt,
	window: BrowserContext,
	background: Background,
) -> Iterator[Place]:
	"""A place for one test."""
	with ExitStack() as cleanup:
		yield Place(
			make_bench,
			lambda: shared_benches(17),
			start_nginx,
			open_desk,
			open_at,
			window,
			background,
			cleanup,
		)


def test_each_row_is_broken_here_or_has_a_reason() -> None:
	silent = {name for name, row in ROWS.items() if row.browser.startswith(NOTHING)}
	assert BREAKS.keys() == ROWS.keys() - silent


@needs_nginx
@pytest.mark.parametrize("row", BREAKS)
def test_what_the_browser_says(row: str, place: Place) -> None:
	found = diagnose(BREAKS[row](place))
	if found["code"] == "working":
		assert ROWS[row].browser.startswith(WORKS), found
	else:
		code = found["code"]
		assert ROWS[row].browser == f"[`{code}`](troubleshooting.md#{code}): {found['message']}", found
