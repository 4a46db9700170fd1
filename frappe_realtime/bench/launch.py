"""The console script `frappe-realtime`, and access to the modules of the sidecar.

Other distributions and other apps on `sys.path` may have a package called `realtime` too. So the sidecar is never looked
up by that name: it is loaded from the folder beside this app.
"""

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

SIDECAR_FOLDER = Path(__file__).resolve().parents[2] / "realtime"

_ALIAS = "frappe_realtime_sidecar"
"""The name of the sidecar's package in processes where another package may be called `realtime`."""


def main() -> None:
	"""Run the command line of the sidecar. In its own process the sidecar is the package `realtime`."""
	_load("realtime")
	from realtime.__main__ import main as command_line

	command_line()


def sidecar_module(name: str) -> ModuleType:
	"""Import a module of the sidecar, in any process.

	Args:
		name: The name of the module within the package `realtime`, for instance `socketio.packets`.
	"""
	realtime = sys.modules.get("realtime")
	if realtime is not None and realtime.__file__ == str(SIDECAR_FOLDER / "__init__.py"):
		return importlib.import_module(f"realtime.{name}")
	if _ALIAS not in sys.modules:
		_load(_ALIAS)
	return importlib.import_module(f"{_ALIAS}.{name}")


def _load(name: str) -> None:
	"""Load the sidecar's package under this name."""
	if not (SIDECAR_FOLDER / "__init__.py").is_file():
		sys.exit(f"frappe-realtime: {SIDECAR_FOLDER} is missing; install the app again with bench get-app")
	spec = importlib.util.spec_from_file_location(
		name, SIDECAR_FOLDER / "__init__.py", submodule_search_locations=[str(SIDECAR_FOLDER)]
	)
	assert spec is not None
	assert spec.loader is not None
	package = importlib.util.module_from_spec(spec)
	sys.modules[name] = package
	spec.loader.exec_module(package)
