"""The code blocks of docs/handlers.md and docs/publishing.md work, and the signatures there are those of the code."""

from __future__ import annotations

import ast
import inspect
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from frappe_realtime.testing import Site

DOCS = Path(__file__).parents[3] / "docs"


def python_blocks(page: str) -> list[str]:
	blocks = re.findall(r"^```python\n(.*?)^```", (DOCS / page).read_text(), re.M | re.S)
	assert blocks
	return blocks


def block_with(page: str, text: str) -> str:
	(block,) = [block for block in python_blocks(page) if text in block]
	return block


def write_app(folder: Path, handlers: str) -> None:
	package = folder / "chat"
	(package / "realtime").mkdir(parents=True)
	(package / "__init__.py").touch()
	(package / "realtime" / "handlers.py").write_text(handlers)


def test_the_blocks_are_python() -> None:
	for block in python_blocks("handlers.md"):
		compile(block, "handlers.md", "exec")


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
	for block in python_blocks("publishing.md"):
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
