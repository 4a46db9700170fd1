"""Writes the first handlers file of an app, with a test: `bench realtime new-handlers --app chat`."""

from __future__ import annotations

from pathlib import Path

HANDLERS = '''"""Realtime events of {app}: what browsers send, and what they are answered."""

from __future__ import annotations

from frappe_realtime import Socket, realtime


@realtime.on("{app}_hello")
async def {app}_hello(socket: Socket, name: str = "") -> dict[str, str]:
	"""Answer `frappe.realtime.socket.emit("{app}_hello", "Ann", (answer) => …)`, and tell the user's other tabs."""
	await socket.to(f"user:{{socket.user}}").emit("{app}_greeted", {{"name": name}})
	return {{"message": f"Hello {{name or socket.user}}"}}
'''

TEST = '''"""The realtime events of {app}, between clients in memory: `bench run-tests --module {module}`."""

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


class HasHandlers(Exception):
	"""The app has such files already; nothing was written."""


class NoSuchApp(Exception):
	"""The bench has no app of this name."""


def write(bench: Path, app: str) -> list[Path]:
	"""Write `<app>/realtime/handlers.py` and a test beside it; returns the files written.

	Raises `NoSuchApp` and `HasHandlers`.
	"""
	package = bench / "apps" / app / app
	if not (package / "__init__.py").is_file():
		raise NoSuchApp(f"there is no app {app!r} in {bench / 'apps'}: {package / '__init__.py'} is missing")
	folder = package / "realtime"
	files = {
		folder / "__init__.py": "",
		folder / "handlers.py": HANDLERS.format(app=app),
		folder / "test_handlers.py": TEST.format(app=app, module=f"{app}.realtime.test_handlers"),
	}
	present = [path for path in files if path.exists() and path.name != "__init__.py"]
	if present:
		raise HasHandlers(f"{', '.join(str(path) for path in present)}: there already; nothing was written")
	folder.mkdir(exist_ok=True)
	written = []
	for path, text in files.items():
		if not path.exists():
			path.write_text(text)
			written.append(path)
	return written
