"""docs/architecture.md names every module, in the row of its package."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "architecture.md").read_text()
SECTIONS = {"realtime": "Modules of the sidecar", "frappe_realtime": "Modules of the app"}


@pytest.mark.parametrize("project", SECTIONS)
def test_every_module_is_listed_with_its_package(project: str) -> None:
	section = PAGE.partition(f"## {SECTIONS[project]}\n")[2].partition("\n## ")[0]
	rows = re.findall(r"^\| `([a-z_]+)/` \| (.*) \|$", section, re.M)
	listed = {package: set(re.findall(r"`([a-z_]+)`", modules)) for package, modules in rows}
	found: dict[str, set[str]] = {}
	for file in (ROOT / project).rglob("*.py"):
		if file.stem != "__init__":
			found.setdefault(file.parent.name, set()).add(file.stem)
	for package, modules in found.items():
		assert modules <= listed[package], package


@pytest.mark.parametrize("folder", ["client/core/src", "client/yjs/src", "frappe_realtime/public/js"])
def test_every_module_of_the_browser_client_is_listed(folder: str) -> None:
	section = PAGE.partition("## Modules of the browser client\n")[2].partition("\n## ")[0]
	listed = set(re.findall(r"`([a-z_]+)`", section))
	found = {file.name.partition(".")[0] for file in (ROOT / folder).glob("*.[jt]s")}
	assert found
	assert found <= listed


def test_every_file_that_is_mentioned_exists() -> None:
	mentioned = re.findall(r"`((?:realtime|frappe_realtime|tests)/[a-z_/.]+)`", PAGE)
	assert mentioned
	assert [path for path in mentioned if not (ROOT / path).exists()] == []
