"""The console script `frappe-realtime`: finds the sidecar beside this app, whatever else is called `realtime`."""

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

FOLDER = Path(__file__).resolve().parents[2] / "realtime"


def main() -> None:
	"""Run the sidecar's command line.

	Other distributions and other apps on `sys.path` have a package of the name `realtime` too, so it is not looked up
	there: the one that lies beside this package is loaded from its place.
	"""
	_load("realtime")
	from realtime.__main__ import main as command_line

	command_line()


def sidecar(module: str) -> ModuleType:
	"""A module of the sidecar, for a process that is not the sidecar and may have another `realtime`."""
	known = sys.modules.get("realtime")
	if known is not None and known.__file__ == str(FOLDER / "__init__.py"):
		return importlib.import_module(f"realtime.{module}")
	if "frappe_realtime_sidecar" not in sys.modules:
		_load("frappe_realtime_sidecar")
	return importlib.import_module(f"frappe_realtime_sidecar.{module}")


def _load(name: str) -> None:
	spec = importlib.util.spec_from_file_location(
		name, FOLDER / "__init__.py", submodule_search_locations=[str(FOLDER)]
	)
	if spec is None or spec.loader is None:
		sys.exit(f"frappe-realtime: {FOLDER} is missing; install the app again with bench get-app")
	package = importlib.util.module_from_spec(spec)
	sys.modules[name] = package
	spec.loader.exec_module(package)
