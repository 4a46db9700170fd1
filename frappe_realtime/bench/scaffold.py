"""The first handlers file of an app, with a test: `bench realtime new-handlers --app chat`."""

from __future__ import annotations

from pathlib import Path

HANDLERS = '''"""Realtime events of {app}: what browsers emit, and the acknowledgements that they get."""

from __future__ import annotations

from frappe_realtime import Socket, realtime


@realtime.on("{app}_hello")
async def {app}_hello(socket: Socket, name: str = "") -> dict[str, str]:
	"""Acknowledge `await frappe.realtime.emitWithAck("{app}_hello", "Ann")`, and notify the user's other tabs."""
	await socket.to(f"user:{{socket.user}}").emit("{app}_greeted", {{"name": name}})
	return {{"message": f"Hello {{name or socket.user}}"}}
'''

TEST = '''"""Tests the realtime events of {app} between clients in memory.

Run with `{command}`.
"""

from __future__ import annotations

import unittest

from frappe_realtime.testing import Site


class TestHandlers(unittest.TestCase):
	def test_hello(self) -> None:
		with Site("{app}") as site:
			tab = site.connect("ann@example.com")
			other = site.connect("ann@example.com")
			assert tab.call("{app}_hello", "Ann") == {{"message": "Hello Ann"}}
			assert other.received("{app}_greeted") == [({{"name": "Ann"}},)]
			assert tab.received("{app}_greeted") == []


if __name__ == "__main__":
	unittest.main()
'''


class ScaffoldError(Exception):
	"""Nothing was written; the message says why."""


def testing_command(app: str) -> str:
	"""Return the command that runs the test of an app; `SITE` stands for any site of the bench."""
	return f"bench --site SITE run-tests --module {app}.realtime.test_handlers"


def write_handlers(bench: Path, app: str) -> list[Path]:
	"""Write `<app>/realtime/handlers.py` and a test beside it.

	Args:
		bench: The folder of the bench.
		app: The name of the app.

	Returns:
		The files that were written.

	Raises:
		ScaffoldError: The bench has no app of this name, or the app has such files already, or a module that they would hide.
	"""
	package = bench / "apps" / app / app
	if not (package / "__init__.py").is_file():
		raise ScaffoldError(
			f"there is no app {app!r} in {bench / 'apps'}: {package / '__init__.py'} is missing"
		)
	folder, other_folder = package / "realtime", bench / "apps" / app / "realtime"
	module = package / "realtime.py"
	if module.exists():
		raise ScaffoldError(
			f"{module}: this module could not be imported any more beside a package of the same name; "
			f"write {other_folder / 'handlers.py'} yourself, which the server loads too"
		)
	files = {
		folder / "__init__.py": "",
		folder / "handlers.py": HANDLERS.format(app=app),
		folder / "test_handlers.py": TEST.format(app=app, command=testing_command(app)),
	}
	candidates = [*files, other_folder / "handlers.py"]
	present = [path for path in candidates if path.exists() and path.name != "__init__.py"]
	if present:
		raise ScaffoldError(f"{', '.join(map(str, present))}: already there; nothing was written")
	folder.mkdir(exist_ok=True)
	written = []
	for path, text in files.items():
		if not path.exists():
			path.write_text(text)
			written.append(path)
	return written
