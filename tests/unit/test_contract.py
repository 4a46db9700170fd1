"""The contract: it imports nothing, its names stand nowhere else, and JavaScript has the same."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from frappe_realtime import contract

ROOT = Path(__file__).parents[2]
CONTRACT = ROOT / "frappe_realtime" / "contract.py"
MODULES = [
	path
	for package in ("frappe_realtime", "realtime")
	for path in sorted((ROOT / package).rglob("*.py"))
	if path != CONTRACT
]
UNIQUE = (
	contract.ACCESS_CHANNEL,
	contract.SIDECARS_CHANNEL,
	contract.SECRET_KEY,
	contract.OUTAGES_KEY,
	contract.GUEST,
	contract.ADMINISTRATOR,
	contract.WEBSITE_USER,
	contract.SYSTEM_MANAGER,
	contract.SECRET_HEADER,
	contract.SITE_HEADER,
	contract.PAGE_HEADER,
	contract.METHOD_PREFIX,
	contract.DOC_VIEWERS,
	contract.LIMIT_REACHED,
	contract.OFFSET_EVENT,
	contract.HANDLERS_ERROR,
	contract.USER_ROOM,
	contract.DOCTYPE_ROOM,
	contract.DOC_ROOM,
	contract.OPEN_DOC_ROOM,
	contract.TASK_ROOM,
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


def test_it_imports_nothing() -> None:
	tree = ast.parse(CONTRACT.read_text())
	assert not [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_its_names_stand_nowhere_else(path: Path) -> None:
	found = strings(path)
	assert [text for text in found if text in UNIQUE] == []
	# Keys are made by the functions of the contract; the doctor's own event is no key.
	assert [text for text in found if KEY.match(text) and text != "frappe_realtime:doctor"] == []


@pytest.mark.parametrize(
	("file", "literal"),
	[
		("frappe_realtime/public/js/page.js", contract.PAGE_HEADER),
		("frappe_realtime/public/js/calls.js", contract.CALL),
		("frappe_realtime/public/js/subscriptions.js", contract.REWIND_EVENT),
		("frappe_realtime/public/js/presence.js", contract.PRESENCE_JOIN),
		("frappe_realtime/public/js/presence.js", contract.PRESENCE_SET),
		("frappe_realtime/public/js/presence.js", contract.PRESENCE_LEAVE),
		("frappe_realtime/public/js/presences.js", contract.PRESENCE_LEAVE),
		("frappe_realtime/public/js/presences.js", contract.PRESENCE),
		("frappe_realtime/public/js/presences.js", contract.PRESENCE_SYNC),
		("frappe_realtime/public/js/presences.js", contract.PRESENCE_END),
		("client/yjs/src/protocol.ts", contract.SHARED_JOIN),
		("client/yjs/src/protocol.ts", contract.SHARED_SYNC),
		("client/yjs/src/protocol.ts", contract.SHARED_ANSWER),
		("client/yjs/src/protocol.ts", contract.SHARED_UPDATE),
		("client/yjs/src/protocol.ts", contract.SHARED_LEAVE),
		("client/yjs/src/protocol.ts", contract.SHARED_READ_ONLY),
		("client/yjs/src/protocol.ts", contract.SHARED_MAY_WRITE),
		("client/yjs/src/protocol.ts", contract.SHARED_END),
		("frappe_realtime/public/js/desk.js", contract.HANDLERS_ERROR),
		("frappe_realtime/public/js/monitor/feed.js", contract.MONITOR),
		("frappe_realtime/public/js/monitor/feed.js", contract.MONITOR_SNAPSHOT),
		("frappe_realtime/public/js/monitor/feed.js", contract.MONITOR_QUERY),
		("frappe_realtime/public/js/monitor/test_event.js", contract.TEST_EVENT),
		("realtime/javascript/node/frappe_client.js", contract.SECRET_HEADER),
		("realtime/javascript/node/frappe_client.js", contract.SITE_HEADER),
	],
)
def test_javascript_has_the_same(file: str, literal: str) -> None:
	assert f'"{literal}"' in (ROOT / file).read_text()


def test_javascript_has_the_same_reserved_events() -> None:
	source = (ROOT / "realtime" / "javascript" / "node" / "namespace.js").read_text()
	listed = source[source.index("const RESERVED") : source.index("]);")]
	assert set(re.findall(r'"(\w+)"', listed)) == contract.RESERVED_EVENTS


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
	assert contract.room_subject(room) == subject


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
	assert contract.topic_room("chat", *document) == room
	assert contract.room_subject(room) == (document[0], room.partition("/")[2])


@pytest.mark.parametrize("topic", ["", "a:b", None, 1])
def test_what_is_no_topic(topic: object) -> None:
	with pytest.raises(ValueError, match="is not a topic"):
		contract.topic_room(topic, "Note", "a")  # type: ignore[arg-type]


def test_a_topic_needs_a_doctype() -> None:
	with pytest.raises(ValueError, match="no room without a DocType"):
		contract.topic_room("chat", "", "a")


def test_the_permission_of_a_room() -> None:
	assert contract.room_permission("shared_write:doc:Note/a") == ("Note", "a", "write")
	for room in ("shared:doc:Note/a", "doc:Note/a", "presence:doc:Note/a", "topic:chat:doc:Note/a"):
		assert contract.room_permission(room) == ("Note", "a", "read")
	assert contract.room_permission("all") is None


def test_keys_of_a_site() -> None:
	assert contract.events_key("a") == "frappe_realtime:a:events"
	assert contract.last_key(contract.events_key("a")) == "frappe_realtime:a:last"
	assert contract.last_key(contract.tasks_key("a")) == "frappe_realtime:a:taskslast"
	assert contract.session_key("a", "p") == "frappe_realtime:a:session:p"
