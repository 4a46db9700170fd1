"""Where benches are broken: benches, servers and pages for one test."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from playwright.sync_api import BrowserContext, Page

from tests.browser.conftest import OpenPage
from tests.browser.diagnosis.diagnosing import MANAGER, OpenAt, StartNginx
from tests.browser.nginx import SOCKETIO, Nginx
from tests.wire.background import Background
from tests.wire.bench import Bench
from tests.wire.conftest import MakeBench


class Place:
	"""Makes benches, servers and pages for one test.

	Args:
		make_bench: Makes a bench.
		get_shared: Returns a bench that other tests use too.
		start_nginx: Starts nginx.
		open_desk: Opens a page on the sidecar's port.
		open_at: Opens a page on another port.
		window: The browser.
		background: The event loop of helpers.
		cleanup: What is closed after the test.
	"""

	def __init__(
		self,
		make_bench: MakeBench,
		get_shared: Callable[[], Bench],
		start_nginx: StartNginx,
		open_desk: OpenPage,
		open_at: OpenAt,
		window: BrowserContext,
		background: Background,
		cleanup: ExitStack,
	) -> None:
		self.make_bench = make_bench
		self.shared = get_shared
		"""Returns a bench for a row that breaks something in front of it, or what is mended after the test."""
		self.open_desk = open_desk
		self.window = window
		self.background = background
		self.cleanup = cleanup
		self._start_nginx = start_nginx
		self._open_at = open_at

	def bench(self, **options: Any) -> Bench:
		"""Return a bench of its own."""
		return self.make_bench(version=17, **options)

	def page(self, bench: Bench, user: str | None = None) -> Page:
		"""Open a page of a System Manager on the sidecar's port."""
		return self.open_desk(bench, user or bench.user(), user=MANAGER)

	def behind_nginx(self, bench: Bench, locations: str) -> Page:
		"""Open a page behind nginx with these locations."""
		one: Nginx = self._start_nginx(locations)
		return self._open_at(bench, one.port, user=MANAGER)

	def at(self, bench: Bench, port: int) -> Page:
		"""Open a page on another port."""
		return self._open_at(bench, port, user=MANAGER)


Break = Callable[[Place], Page]


class Breaks(dict[str, Break]):
	"""The functions by row of the table: each breaks a bench, and opens a page."""

	def __call__(self, row: str) -> Callable[[Break], Break]:
		"""Register a function that breaks the bench of a row."""

		def register(function: Break) -> Break:
			self[row] = function
			return function

		return register


def right(bench: Bench) -> str:
	"""Return the location that works."""
	return SOCKETIO.format(port=bench.sidecar.port)
