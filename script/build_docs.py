"""Build the documentation as a site, and check its links; run by script/docs.

The pages are those of docs/, and some that stand elsewhere for GitHub (`ELSEWHERE`). They are collected in one folder, with links
between them rewritten, and the JavaScript reference is written out. zensical builds the site (zensical.toml).
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

from script.jsdoc import reference_of

ROOT = Path(__file__).parents[1]
DOCS = Path("docs")
BUILD = ROOT / ".cache" / "docs"
PAGES, SITE = BUILD / "pages", BUILD / "site"
CONFIGURATION = Path("zensical.toml")
ELSEWHERE = {
	Path("SECURITY.md"): Path("security.md"),
	Path("CONTRIBUTING.md"): Path("contributing.md"),
	Path("CHANGELOG.md"): Path("changelog.md"),
	Path("examples/chat/README.md"): Path("example-chat.md"),
	Path("examples/frappe-react-sdk/README.md"): Path("example-frappe-react-sdk.md"),
	Path("examples/frappe-ui/README.md"): Path("example-frappe-ui.md"),
	Path("examples/shared-editing/README.md"): Path("example-shared-editing.md"),
	Path("examples/team_tasks/README.md"): Path("example-team-tasks.md"),
	Path("realtime/demo/page/icon.svg"): Path("images/icon.svg"),
}
"""Files that are not in docs/: path in the repository, path in the site."""
LINK = re.compile(r"\[(?P<text>[^\[\]]*)\]\((?P<file>[^)\s#]+)(?P<fragment>#[^)\s]*)?\)")
TITLE = re.compile(r"^# (.+)$", re.MULTILINE)
JAVASCRIPT = re.compile(r"^::: (\S+\.js)$", re.MULTILINE)


class DocsError(Exception):
	"""The documentation has a defect; the message names the page."""


def sources() -> dict[Path, Path]:
	"""Return all files of the site: path in the repository, path in the site."""
	files = {path.relative_to(ROOT): path.relative_to(ROOT / DOCS) for path in (ROOT / DOCS).rglob("*.*")}
	del files[DOCS / CONFIGURATION]
	return {**files, **ELSEWHERE}


def collect(folder: Path = PAGES) -> None:
	"""Copy all files of the site into a folder, with links between them as they are there.

	Raises:
		DocsError: A page links to a file that is not part of the site.
	"""
	shutil.rmtree(folder, ignore_errors=True)
	files = sources()
	for source, target in files.items():
		path = folder / target
		path.parent.mkdir(parents=True, exist_ok=True)
		if source.suffix == ".md":
			text = _with_links((ROOT / source).read_text(), source, files)
			path.write_text(JAVASCRIPT.sub(lambda found: reference_of(ROOT / found[1]), text))
		else:
			shutil.copy(ROOT / source, path)


def _with_links(text: str, source: Path, files: dict[Path, Path]) -> str:
	"""Return the text of a page with the links to other files of the site as they are in the site."""

	def rewrite(found: re.Match[str]) -> str:
		if "://" in found["file"]:
			return found[0]
		linked = Path(os.path.normpath(source.parent / found["file"]))
		if linked not in files:
			raise DocsError(f"{source} links to {found['file']}, which is not a page or picture of the site")
		target = os.path.relpath(files[linked], files[source].parent)
		return f"[{_shown(found['text'], linked)}]({target}{found['fragment'] or ''})"

	return LINK.sub(rewrite, text)


def _shown(text: str, linked: Path) -> str:
	"""Return the text of a link; the title of the page in place of a file name, which is the text for readers on GitHub."""
	title = TITLE.search((ROOT / linked).read_text()) if text.endswith(".md") else None
	return title[1] if title else text


class _Page(HTMLParser):
	"""The links of a page, and the ids that a link can name."""

	def __init__(self, path: Path) -> None:
		super().__init__()
		self.links: list[str] = []
		self.ids: set[str] = set()
		self.feed(path.read_text())

	def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
		for name, value in attrs:
			if name in ("href", "src") and value:
				self.links.append(value)
			elif name in ("id", "name") and value:
				self.ids.add(value)


def dead_links(site: Path = SITE) -> list[str]:
	"""Return the links, pictures, scripts and styles of a built site that do not exist in it."""
	pages = {path: _Page(path) for path in site.rglob("*.html")}
	dead = []
	for path, page in pages.items():
		if path.name == "404.html":
			continue  # Its links begin at the root of the site.
		for link in page.links:
			parts = urlsplit(link)
			if parts.scheme or parts.netloc:
				continue
			target = Path(os.path.normpath(path.parent / unquote(parts.path))) if parts.path else path
			target = target / "index.html" if target.is_dir() else target
			fragment = unquote(parts.fragment)
			if not target.exists():
				dead.append(f"{path.relative_to(site)}: {link}")
			elif fragment and target in pages and fragment not in pages[target].ids:
				dead.append(f"{path.relative_to(site)}: {link} (no such heading)")
	return dead


def main() -> int:
	"""Build and check the site; return the exit code."""
	try:
		collect()
	except DocsError as error:
		print(f"script/docs: {error}", file=sys.stderr)
		return 1
	shutil.copy(ROOT / DOCS / CONFIGURATION, BUILD / CONFIGURATION)
	shutil.rmtree(SITE, ignore_errors=True)
	command = [sys.executable, "-m", "zensical", "build", "--strict", "--clean"]
	if subprocess.run(command, cwd=BUILD, check=False).returncode:
		return 1
	if dead := dead_links():
		print("dead links:", *dead, sep="\n", file=sys.stderr)
		return 1
	pages = len(list(SITE.rglob("*.html")))
	print(f"{pages} pages without a dead link: {SITE / 'index.html'}")
	return 0


if __name__ == "__main__":
	sys.exit(main())
