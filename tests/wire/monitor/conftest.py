"""Fixtures: benches with handlers in Python and in JavaScript."""

from __future__ import annotations

import pytest

from tests.wire.apps import install, write_handlers
from tests.wire.bench import Bench
from tests.wire.conftest import MakeBench
from tests.wire.javascript import make_javascript_bench

__all__ = ["make_javascript_bench"]

HANDLERS = """
from frappe.realtime import realtime

@realtime.on("say")
async def say(socket, text):
	if text == "fail":
		raise ValueError("on purpose")
	await socket.nsp.emit("said", text)
	return text
"""


@pytest.fixture
def own_bench(make_bench: MakeBench) -> Bench:
	"""A bench whose sockets are those of one test, with an app that has handlers."""
	bench = make_bench(start=False)
	write_handlers(bench, "chat", HANDLERS)
	install(bench, "chat")
	return bench.start()
