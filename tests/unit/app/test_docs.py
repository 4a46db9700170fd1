"""The Python blocks of the documentation run, and the signatures there are those of the code."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from frappe_realtime.testing import Site
from tests.unit.app.conftest import Frappe, Sent
from tests.unit.docs.blocks import Block, blocks_in

PYTHON = blocks_in("python")
SENDS = re.compile(r"\b(publish_\w+)\(")
HANDLERS = re.compile(r"^@realtime\.on|socket\.on\(", re.MULTILINE)
TESTS = re.compile(r"^def (test_\w+)", re.MULTILINE)


def block_with(page: str, text: str) -> str:
	(block,) = [block for block in PYTHON if block.page.name == page and text in block.text]
	return block.text


def write_app(folder: Path, handlers: str) -> None:
	package = folder / "chat"
	(package / "realtime").mkdir(parents=True)
	(package / "__init__.py").touch()
	(package / "realtime" / "handlers.py").write_text(handlers)


@pytest.mark.parametrize("block", [block for block in PYTHON if not block.reason], ids=str)
def test_blocks_run(
	block: Block, frappe: Frappe, sent: Sent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
	"""A block with tests is compiled, one with handlers is loaded as the file of an app, any other sends its events."""
	code = compile(block.text, str(block), "exec")
	if TESTS.search(block.text):
		return
	if HANDLERS.search(block.text):
		write_app(tmp_path, block.text)
		with Site(("chat", tmp_path / "chat" / "realtime" / "handlers.py")):
			return
	importlib.import_module("frappe_realtime.overrides").install_overrides()
	exec(code, {"frappe": frappe})
	assert len(sent.messages) == len(SENDS.findall(block.text)) > 0


def test_the_documented_test_passes_with_the_documented_handlers(
	tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
	write_app(tmp_path, block_with("handlers.md", "async def project_open"))
	monkeypatch.syspath_prepend(str(tmp_path))
	monkeypatch.delitem(sys.modules, "chat", raising=False)
	names: dict[str, Any] = {}
	exec(block_with("handlers.md", "def test_project_open"), names)
	names["test_project_open"]()


def test_the_documented_set_up_function_runs(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
	write_app(tmp_path, block_with("handlers.md", "def chat_app_handlers"))
	with Site(("chat", tmp_path / "chat" / "realtime" / "handlers.py")) as site:
		site.connect("ann@example.com").emit("hello_chat")
	assert capfd.readouterr().out == "hello world!\n"


def test_the_documented_signatures_are_those_of_the_code(publish: Any) -> None:
	documented = {}
	for block in [block.text for block in PYTHON if block.page.name == "publishing.md"]:
		# A signature is written as a call: defaults are keyword arguments, `*` separates the keyword-only ones.
		for line in re.findall(r"^(publish_\w+\(event=.*?\)|publish_\w+\([^)]*\))", block, re.M | re.S):
			function = ast.parse(f"def {line}: ...").body[0]
			assert isinstance(function, ast.FunctionDef)
			arguments = function.args
			documented[function.name] = (
				[argument.arg for argument in arguments.args],
				[ast.literal_eval(default) for default in arguments.defaults],
				[argument.arg for argument in arguments.kwonlyargs],
			)
	assert len(documented) == 8
	for name, found in documented.items():
		parameters = inspect.signature(getattr(publish, name)).parameters.values()
		positional = [one for one in parameters if one.kind is one.POSITIONAL_OR_KEYWORD]
		assert found == (
			[one.name for one in positional],
			[one.default for one in positional if one.default is not one.empty],
			[one.name for one in parameters if one.kind is one.KEYWORD_ONLY],
		), name
