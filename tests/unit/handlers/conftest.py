"""A site in memory, with apps whose handlers files the test writes."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from frappe_realtime.testing import Site

MakeSite = Callable[..., Site]

_numbers = itertools.count(1)


def write_app(folder: Path, app: str, text: str) -> Path:
	"""Write the package of an app with a handlers file; return the path of the file."""
	package = folder / "apps" / app / app
	(package / "realtime").mkdir(parents=True, exist_ok=True)
	(package / "__init__.py").touch()
	path = package / "realtime" / "handlers.py"
	path.write_text(text)
	return path


@pytest.fixture
def make_site(tmp_path: Path) -> Iterator[MakeSite]:
	"""Make a site with apps; each argument is the text of a handlers file, or `app_name=text`."""
	made: list[Site] = []

	def make(*texts: str, **named: str) -> Site:
		apps = {f"app{next(_numbers)}": text for text in texts} | named
		site = Site(*[(app, write_app(tmp_path, app, text)) for app, text in apps.items()])
		made.append(site)
		return site.open()

	yield make
	for site in made:
		site.close()
