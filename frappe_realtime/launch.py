"""The console script `frappe-realtime`: finds the sidecar beside this app, whatever else is called `realtime`."""

import importlib.util
import sys
from pathlib import Path


def main() -> None:
	"""Run the sidecar's command line.

	Other distributions and other apps on `sys.path` have a package of the name `realtime` too, so it is not looked up
	there: the one that lies beside this package is loaded from its place.
	"""
	folder = Path(__file__).resolve().parent.parent / "realtime"
	spec = importlib.util.spec_from_file_location(
		"realtime", folder / "__init__.py", submodule_search_locations=[str(folder)]
	)
	if spec is None or spec.loader is None:
		sys.exit(f"frappe-realtime: {folder} is missing; install the app again with bench get-app")
	package = importlib.util.module_from_spec(spec)
	sys.modules["realtime"] = package
	spec.loader.exec_module(package)
	from realtime.__main__ import main as command_line

	command_line()
