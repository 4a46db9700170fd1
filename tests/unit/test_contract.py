"""The contract: it imports nothing, its names stand nowhere else and once, and JavaScript has the same."""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path

import pytest

from frappe_realtime.contract import (
	calls,
	channels,
	events,
	http,
	monitoring,
	presence,
	redis_keys,
	rooms,
	shared_editing,
	users,
)

ROOT = Path(__file__).parents[2]
CONTRACT = sorted((ROOT / "frappe_realtime" / "contract").glob("*.py"))
MODULES = [
	path
	for package in ("frappe_realtime", "realtime")
	for path in sorted((ROOT / package).rglob("*.py"))
	if path not in CONTRACT
]
UNIQUE = (
	channels.ACCESS_CHANNEL,
	channels.SIDECARS_CHANNEL,
	redis_keys.SECRET_KEY,
	redis_keys.OUTAGES_KEY,
	users.GUEST,
	users.ADMINISTRATOR,
	users.WEBSITE_USER,
	users.SYSTEM_MANAGER,
	http.SECRET_HEADER,
	http.SITE_HEADER,
	http.PAGE_HEADER,
	http.METHOD_PREFIX,
	events.DOC_VIEWERS,
	events.LIMIT_REACHED,
	events.OFFSET_EVENT,
	events.HANDLERS_ERROR,
	rooms.USER_ROOM,
	rooms.DOCTYPE_ROOM,
	rooms.DOC_ROOM,
	rooms.OPEN_DOC_ROOM,
	rooms.TASK_ROOM,
)
KEY = re.compile(r"^frappe_realtime:(?! )")


def strings(path: Path) -> list[str]:
	"""Return the string literals in a module, without docstrings."""
	tree = ast.parse(path.read_text())
	prose = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
	return [
		node.value
		for node in ast.walk(tree)
		if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in prose
	]


@pytest.mark.parametrize("path", CONTRACT, ids=lambda path: path.stem)
def test_it_imports_nothing(path: Path) -> None:
	tree = ast.parse(path.read_text())
	assert not [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]


def test_a_name_of_the_contract_stands_in_one_module() -> None:
	names = [
		name
		for path in CONTRACT
		for name in vars(importlib.import_module(f"frappe_realtime.contract.{path.stem}"))
		if not name.startswith("__") and path.stem != "__init__"
	]
	assert len(names) > 100
	assert sorted(names) == sorted(set(names))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_its_names_stand_nowhere_else(path: Path) -> None:
	found = strings(path)
	assert [text for text in found if text in UNIQUE] == []
	# Keys are made by the functions of the contract; the doctor's own event is no key.
	assert [text for text in found if KEY.match(text) and text != "frappe_realtime:doctor"] == []


@pytest.mark.parametrize(
	("file", "literal"),
	[
		("frappe_realtime/public/js/page.js", http.PAGE_HEADER),
		("frappe_realtime/public/js/calls.js", calls.CALL),
		("frappe_realtime/public/js/subscriptions.js", events.REWIND_EVENT),
		("frappe_realtime/public/js/presence.js", presence.PRESENCE_JOIN),
		("frappe_realtime/public/js/presence.js", presence.PRESENCE_SET),
		("frappe_realtime/public/js/presence.js", presence.PRESENCE_LEAVE),
		("frappe_realtime/public/js/presences.js", presence.PRESENCE_LEAVE),
		("frappe_realtime/public/js/presences.js", presence.PRESENCE),
		("frappe_realtime/public/js/presences.js", presence.PRESENCE_SYNC),
		("frappe_realtime/public/js/presences.js", presence.PRESENCE_END),
		("client/yjs/src/protocol.ts", shared_editing.SHARED_JOIN),
		("client/yjs/src/protocol.ts", shared_editing.SHARED_SYNC),
		("client/yjs/src/protocol.ts", shared_editing.SHARED_ANSWER),
		("client/yjs/src/protocol.ts", shared_editing.SHARED_UPDATE),
		("client/yjs/src/protocol.ts", shared_editing.SHARED_LEAVE),
		("client/yjs/src/protocol.ts", shared_editing.SHARED_READ_ONLY),
		("client/yjs/src/protocol.ts", shared_editing.SHARED_MAY_WRITE),
		("client/yjs/src/protocol.ts", shared_editing.SHARED_END),
		("frappe_realtime/public/js/desk.js", events.HANDLERS_ERROR),
		("frappe_realtime/public/js/monitor/feed.js", monitoring.MONITOR),
		("frappe_realtime/public/js/monitor/feed.js", monitoring.MONITOR_SNAPSHOT),
		("frappe_realtime/public/js/monitor/feed.js", monitoring.MONITOR_QUERY),
		("frappe_realtime/public/js/monitor/test_event.js", monitoring.TEST_EVENT),
		("realtime/javascript/node/frappe_client.js", http.SECRET_HEADER),
		("realtime/javascript/node/frappe_client.js", http.SITE_HEADER),
	],
)
def test_javascript_has_the_same(file: str, literal: str) -> None:
	assert f'"{literal}"' in (ROOT / file).read_text()


def test_javascript_has_the_same_reserved_events() -> None:
	source = (ROOT / "realtime" / "javascript" / "node" / "namespace.js").read_text()
	listed = source[source.index("const RESERVED") : source.index("]);")]
	assert set(re.findall(r'"(\w+)"', listed)) == events.RESERVED_EVENTS


@pytest.mark.parametrize(
	("room", "subject"),
	[
		("doc:Note/a/b", ("Note", "a/b")),
		("open_doc:Note/a", ("Note", "a")),
		("doctype:Note", ("Note", "")),
		("shared:doc:Note/a/b", ("Note", "a/b")),
		("shared_write:doc:Note/a", ("Note", "a")),
		("shared:Note/a", None),
		("shared_field::doc:Note/a", None),
		("doc:Note", None),
		("doc:Note/", None),
		("doc:/a", None),
		("doctype:", None),
		("user:a@b.c", None),
		("all", None),
		("chat:doc:Note/a", None),
		("topic:chat:doc:Note/a/b", ("Note", "a/b")),
		("topic:chat:doctype:Note", ("Note", "")),
		("topic:chat:Note/a", None),
		("topic:doc:Note/a", None),
		("topic:", None),
	],
)
def test_what_a_room_is_about(room: str, subject: tuple[str, str] | None) -> None:
	assert rooms.room_subject(room) == subject


@pytest.mark.parametrize(
	("document", "room"),
	[
		(("Note", "a"), "topic:chat:doc:Note/a"),
		(("Note", "a:b/c"), "topic:chat:doc:Note/a:b/c"),
		(("Note", 0), "topic:chat:doc:Note/0"),
		(("Note",), "topic:chat:doctype:Note"),
		(("Note", None), "topic:chat:doctype:Note"),
		(("Note", ""), "topic:chat:doctype:Note"),
	],
)
def test_the_room_of_a_topic(document: tuple[str, ...], room: str) -> None:
	assert rooms.topic_room("chat", *document) == room
	assert rooms.room_subject(room) == (document[0], room.partition("/")[2])


@pytest.mark.parametrize("topic", ["", "a:b", None, 1])
def test_what_is_no_topic(topic: object) -> None:
	with pytest.raises(ValueError, match="is not a topic"):
		rooms.topic_room(topic, "Note", "a")  # type: ignore[arg-type]


def test_a_topic_needs_a_doctype() -> None:
	with pytest.raises(ValueError, match="no room without a DocType"):
		rooms.topic_room("chat", "", "a")


def test_the_permission_of_a_room() -> None:
	assert rooms.room_permission("shared_write:doc:Note/a") == ("Note", "a", "write")
	for room in ("shared:doc:Note/a", "doc:Note/a", "presence:doc:Note/a", "topic:chat:doc:Note/a"):
		assert rooms.room_permission(room) == ("Note", "a", "read")
	assert rooms.room_permission("all") is None


def test_keys_of_a_site() -> None:
	assert redis_keys.events_key("a") == "frappe_realtime:a:events"
	assert redis_keys.last_key(redis_keys.events_key("a")) == "frappe_realtime:a:last"
	assert redis_keys.last_key(redis_keys.tasks_key("a")) == "frappe_realtime:a:taskslast"
	assert redis_keys.session_key("a", "p") == "frappe_realtime:a:session:p"
