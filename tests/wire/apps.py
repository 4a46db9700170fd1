"""Adds apps with Python handlers to a bench of the wire ring."""

from __future__ import annotations

from pathlib import Path

from tests.wire.bench import APP_SITE, Bench
from tests.wire.conditions import until

CHAT = Path(__file__).parents[2] / "examples" / "chat"


def write_handlers(bench: Bench, app: str, text: str, place: str = "{app}/realtime/handlers.py") -> Path:
	"""Write an app's handlers file and return its path.

	Args:
		bench: The bench.
		app: The name of the app.
		text: The content of the file.
		place: The path of the file in the folder of the app.
	"""
	folder = bench.folder / "apps" / app
	(folder / app).mkdir(parents=True, exist_ok=True)
	(folder / app / "__init__.py").touch()
	path = folder / place.format(app=app)
	path.parent.mkdir(parents=True, exist_ok=True)
	path.write_text(text)
	return path


def install(bench: Bench, *apps: str, site: str = APP_SITE) -> None:
	"""Install apps on a site, after the apps that it has."""
	bench.site(site).installed_apps.extend(apps)


def add_chat(bench: Bench) -> None:
	"""Add the example app to the bench and install it."""
	(bench.folder / "apps" / "chat").symlink_to(CHAT)
	install(bench, "chat")


def in_log(bench: Bench, text: str) -> None:
	"""Wait until the sidecar has logged `text`."""
	until(lambda: text in bench.sidecar.log, f"{text!r} in the log, which is\n{bench.sidecar.log[-3000:]}")
