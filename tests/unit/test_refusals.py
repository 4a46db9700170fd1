"""Each refusal of the server has a code, which the sources, the browser and the documentation share."""

from __future__ import annotations

import ast
import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from frappe_realtime.contract import refusals
from realtime.engine import errors
from realtime.socketio.errors import ConnectRefused

ROOT = Path(__file__).parents[2]
JS = ROOT / "frappe_realtime" / "public" / "js"
TROUBLESHOOTING = (ROOT / "docs" / "troubleshooting.md").read_text()
SOURCES = sorted((ROOT / "realtime").rglob("*.py"))
HTTP_REFUSING = ("engine", "access")
"""The packages that refuse HTTP requests with the engine's `RequestRefused`; realtime/monitor has a class of the same name."""


def calls(name: str) -> Iterator[tuple[Path, ast.Call]]:
	"""Yield the calls of a class in the sources."""
	for path in SOURCES:
		source = path.read_text()
		if name not in source:
			continue
		for node in ast.walk(ast.parse(source)):
			if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name:
				yield path, node


def names_of(node: ast.expr) -> list[str]:
	"""Return the names that an argument may be: of itself, or of both branches of a condition."""
	if isinstance(node, ast.IfExp):
		return names_of(node.body) + names_of(node.orelse)
	return [node.id] if isinstance(node, ast.Name) else []


def codes_in_sources() -> set[str]:
	found = set()
	for path, call in calls("ConnectRefused"):
		where = f"{path.relative_to(ROOT)}:{call.lineno}"
		assert len(call.args) >= 3, f"{where}: a refusal has a message, a code and a reason"
		names = names_of(call.args[1])
		assert names, f"{where}: the code is not a name of the contract"
		codes = {getattr(refusals, name) for name in names}
		assert codes <= refusals.CONNECT_REFUSALS, where
		found |= codes
	return found


def remedies() -> set[str]:
	"""Return the codes for which the browser has a remedy."""
	return set(re.findall(r"^\t(\w+): \[", (JS / "remedies.js").read_text(), re.M))


def test_each_refusal_in_the_sources_has_a_code_of_the_contract() -> None:
	assert codes_in_sources() == refusals.CONNECT_REFUSALS


def test_the_data_of_a_refusal() -> None:
	refused = ConnectRefused("No", "a_code", "a reason", most=2)
	assert refused.data == {"code": "a_code", "reason": "a reason", "most": 2}
	assert (refused.message, refused.counted_as) == ("No", "No")
	assert ConnectRefused("No").data is None


def test_codes_are_names() -> None:
	for code in {*refusals.CONNECT_REFUSALS, *refusals.HTTP_REFUSALS.values(), *remedies()}:
		assert re.fullmatch(r"[a-z]+(_[a-z]+)*", code)


def test_each_code_of_engine_io_has_a_name() -> None:
	assert set(refusals.HTTP_REFUSALS) == set(errors.ERROR_MESSAGES)


def test_the_browser_has_the_same_names_of_engine_io() -> None:
	source = (JS / "diagnosis.js").read_text()
	listed = source.partition("const HTTP_REFUSALS")[2].partition("];")[0]
	assert dict(enumerate(re.findall(r'"(\w+)"', listed))) == refusals.HTTP_REFUSALS


def test_the_browser_has_a_remedy_for_each_refusal() -> None:
	assert {*refusals.CONNECT_REFUSALS, *refusals.HTTP_REFUSALS.values()} <= remedies()


def test_each_code_that_the_browser_finds_has_a_remedy() -> None:
	source = (JS / "diagnosis.js").read_text()
	found = set(re.findall(r'"([a-z]+(?:_[a-z]+)+)"', source))
	assert {"no_socketio_path", "blocked_by_policy", "connect_not_answered"} <= found
	assert found <= remedies()


def test_each_code_is_a_heading_of_the_documentation() -> None:
	headings = re.findall(r"^### `(\w+)`$", TROUBLESHOOTING, re.M)
	assert set(headings) == remedies() - {"working"}
	assert len(set(headings)) == len(headings)


def test_each_heading_has_a_text() -> None:
	for part in TROUBLESHOOTING.split("\n### `")[1:]:
		code, text = part.split("`\n", 1)
		assert text.split("\n## ")[0].strip(), code


def test_each_http_refusal_is_documented_with_its_message() -> None:
	for code, message in errors.ERROR_MESSAGES.items():
		assert f"| {code} | {message} | [`{refusals.HTTP_REFUSALS[code]}`]" in TROUBLESHOOTING


def test_messages_of_http_refusals_are_documented() -> None:
	literals = set()
	for path, call in calls("RequestRefused"):
		if path.relative_to(ROOT / "realtime").parts[0] not in HTTP_REFUSING:
			continue
		for node in call.args[1:2]:
			literals |= {part.value for part in ast.walk(node) if isinstance(part, ast.Constant)}
	texts = {str(text).strip("( )") for text in literals} - {""}
	assert texts >= {"Too many connections", "Too many packets", "Too many requests"}
	assert {text for text in texts if text not in TROUBLESHOOTING} == set()


def test_links_inside_the_page_have_targets() -> None:
	targets = set(re.findall(r"\]\(#([\w-]+)\)", TROUBLESHOOTING))
	headings = re.findall(r"^#+ (.+)$", TROUBLESHOOTING, re.M)
	anchors = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
	assert targets
	assert targets <= anchors


@pytest.mark.parametrize(
	("importer", "imported"),
	[
		("realtime.js", "connection.js"),
		("connection.js", "diagnosis.js"),
		("diagnosis.js", "remedies.js"),
		("connection.js", "presences.js"),
		("presences.js", "presence.js"),
		("presence.js", "presence_state.js"),
		("connection.js", "api.js"),
	],
)
def test_an_import_has_a_hash_of_the_imported_file(importer: str, imported: str) -> None:
	"""Browsers cache the files of /assets for a year; the URL changes with the file."""
	expected = hashlib.sha256((JS / imported).read_bytes()).hexdigest()[:12]
	assert f'"./{imported}?v={expected}"' in (JS / importer).read_text()
