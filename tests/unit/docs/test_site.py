"""The documentation as a site: all pages are in its navigation, links have a target, the references have every public name."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

import frappe_realtime
from script import build_docs
from script.jsdoc import reference, reference_of
from tests.unit.docs.blocks import ROOT

REALTIME_JS = ROOT / "frappe_realtime" / "public" / "js" / "realtime.js"
PYTHON_REFERENCE = ROOT / "docs" / "reference" / "python.md"


def test_all_pages_are_in_the_navigation() -> None:
	pages = {str(target) for target in build_docs.sources().values() if target.suffix == ".md"}
	configuration = (ROOT / "docs" / "zensical.toml").read_text()
	assert set(re.findall(r'^\t+\{ ".+" = "(\S+\.md)" \}', configuration, re.MULTILINE)) == pages


def test_links_lead_to_files_of_the_site(tmp_path: Path) -> None:
	build_docs.collect(tmp_path / "pages")
	pages = {path.relative_to(tmp_path / "pages") for path in (tmp_path / "pages").rglob("*.*")}
	assert set(build_docs.sources().values()) == pages
	for page in pages:
		if page.suffix == ".md":
			for link in build_docs.LINK.finditer((tmp_path / "pages" / page).read_text()):
				assert "://" in link["file"] or (tmp_path / "pages" / page.parent / link["file"]).is_file()


def test_readme_links_to_files() -> None:
	for link in build_docs.LINK.finditer((ROOT / "README.md").read_text()):
		assert "://" in link["file"] or (ROOT / link["file"]).is_file(), link[0]


@pytest.mark.parametrize("link", ["../SECURITY.md", "../docs/publishing.md"])
def test_links_for_github_become_links_of_the_site(link: str) -> None:
	files = {Path("SECURITY.md"): Path("security.md"), Path("docs/publishing.md"): Path("publishing.md")}
	page = Path("docs/handlers.md")
	name = Path(link).name.lower()
	rewritten = build_docs._with_links(
		f"see [this]({link}#there)", page, {**files, page: Path("handlers.md")}
	)
	assert rewritten == f"see [this]({name}#there)"


def test_a_link_to_a_file_that_is_not_in_the_site_is_an_error() -> None:
	page = Path("docs/handlers.md")
	with pytest.raises(build_docs.DocsError, match=r"handlers\.md links to \.\./LICENSE"):
		build_docs._with_links("[it](../LICENSE)", page, {page: Path("handlers.md")})


def test_dead_links_and_missing_pictures_of_a_built_site_are_found(tmp_path: Path) -> None:
	(tmp_path / "other").mkdir()
	(tmp_path / "other" / "index.html").write_text('<h2 id="there"></h2><a href="../">back</a>')
	(tmp_path / "index.html").write_text(
		'<a href="other/#there"></a> <a href="https://example.com/x"></a> <a href="gone/"></a>'
		' <a href="other/#gone"></a> <img src="gone.png">'
	)
	assert build_docs.dead_links(tmp_path) == [
		"index.html: gone/",
		"index.html: other/#gone (no such heading)",
		"index.html: gone.png",
	]


def test_the_python_reference_has_every_public_name() -> None:
	names = re.findall(r"^::: (\S+)$", PYTHON_REFERENCE.read_text(), re.MULTILINE)
	public = {name: f"frappe_realtime.{module}.{name}" for name, module in frappe_realtime._MODULES.items()}
	public["realtime"] = "frappe_realtime.handlers.registry.Registry.on"
	assert set(public.values()) <= set(names)
	for name in set(names) - set(public.values()):
		module, _, attribute = name.rpartition(".")
		assert getattr(importlib.import_module(module), attribute).__doc__, name


def test_the_javascript_reference_has_every_export_and_method() -> None:
	source = REALTIME_JS.read_text()
	written = reference_of(REALTIME_JS)
	exports = re.findall(r"^export (?:const|class|(?:async )?function) (\w+)", source, re.MULTILINE)
	for names in re.findall(r"^export \{ (.+) \} from", source, re.MULTILINE):
		exports += names.split(", ")
	connection = (REALTIME_JS.parent / "connection.js").read_text()
	methods = re.findall(
		r"^\t([a-z]\w*)\([^\n]*\) \{$",
		connection.partition("class Connection")[2].partition("\n}\n")[0],
		re.MULTILINE,
	)
	assert len(exports) > 5
	assert len(methods) > 10
	for name in {*exports, *methods} - {"constructor"}:
		assert re.search(rf"^##.*`{name}\b", written, re.MULTILINE), name
	# A method without a comment is described with the one before it.
	for call in ("on(event, callback, options)", "once(event, callback)"):
		assert re.search(rf"^### `{re.escape(call)}`$", written, re.MULTILINE), call


def test_a_javascript_method_is_written_with_its_parameters() -> None:
	lines = [
		"/** A thing. */",
		"export class Thing {",
		"\t/**",
		"\t * Do it.",
		"\t *",
		"\t * @param {string | null} name the name",
		"\t * @param {object} [options] of",
		"\t *     all kinds",
		"\t * @returns {Promise<void>} when it is done",
		"\t */",
		"\tasync act(name, options) {",
		"\t}",
		"\tundo(name) {",
		"\t}",
		"\t_hidden() {",
		"\t}",
		"}",
	]
	assert reference("\n".join(lines)) == (
		"## `Thing`\n\nA thing.\n\n### `act(name, options)`, `undo(name)`\n\nDo it.\n\n"
		"| | | |\n| --- | --- | --- |\n| `name` | `string | null` | the name |\n"
		"| `options` (optional) | `object` | of all kinds |\n| **Returns** | `Promise<void>` | when it is done |"
	)


def test_names_from_another_module_are_described_without_its_other_names(tmp_path: Path) -> None:
	(tmp_path / "parts.js").write_text(
		"/** One. */\nexport const ONE = 1;\n\n/** Two. */\nexport const TWO = 2;\n\n/** @typedef {object} Part */\n"
	)
	module = tmp_path / "whole.js"
	module.write_text(
		'export { TWO } from "./parts.js?v=0123456789ab";\n\n/** All. */\nexport const ALL = 3;\n'
	)
	assert reference_of(module) == "## `ALL`\n\nAll.\n\n## `TWO`\n\nTwo.\n\n## `Part`"
