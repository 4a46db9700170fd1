"""Imports the handlers files of apps, unchanged on every version of Frappe.

`from frappe.realtime import Socket, realtime` works although stock Frappe has no such names before v17's successor: in
a handlers file such an import is read as one from `frappe_realtime`, so that a file which needs nothing else of Frappe
does not load Frappe (45 MB, a second). Other modules that import the two names from the real `frappe.realtime` find
them there too.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Sequence
from contextvars import Context
from dataclasses import dataclass
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from frappe_realtime.handlers.registry import Handler, current_app, realtime
from frappe_realtime.handlers.socket import Socket
from frappe_realtime.handlers.sync_socket import SyncSocket

SUPPLIED = {
	"Socket": "frappe_realtime.handlers.socket",
	"SyncSocket": "frappe_realtime.handlers.sync_socket",
	"realtime": "frappe_realtime.handlers.registry",
	"get_doctype_room": "frappe_realtime.handlers.frappe_rooms",
	"get_doc_room": "frappe_realtime.handlers.frappe_rooms",
	"get_user_room": "frappe_realtime.handlers.frappe_rooms",
	"get_site_room": "frappe_realtime.handlers.frappe_rooms",
	"get_task_progress_room": "frappe_realtime.handlers.frappe_rooms",
	"get_website_room": "frappe_realtime.handlers.frappe_rooms",
}
"""The names of `frappe.realtime` that need no Frappe, and the modules that have them."""


class NotHandlers(Exception):
	"""A file that imports, and yet says nothing about which events it answers."""


@dataclass(frozen=True, slots=True)
class Loaded:
	"""What a handlers file gave: decorated handlers, or the function that sets up each socket."""

	handlers: Sequence[Handler]
	set_up: Callable[..., Any] | None


class _Imports(ast.NodeTransformer):
	"""Splits `from frappe.realtime import …` by the modules that have the names."""

	def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST | list[ast.AST]:
		if node.module != "frappe.realtime" or node.level:
			return node
		by_module: dict[str, list[ast.alias]] = {}
		for alias in node.names:
			by_module.setdefault(SUPPLIED.get(alias.name, node.module), []).append(alias)
		return [
			ast.copy_location(ast.ImportFrom(module=module, names=names, level=0), node)
			for module, names in by_module.items()
		]


class _HandlersLoader(SourceFileLoader):
	"""Compiles from the source each time: the cached bytecode belongs to imports elsewhere, without our reading."""

	def get_code(self, fullname: str) -> CodeType:
		source = self.get_data(self.path)
		tree = ast.fix_missing_locations(_Imports().visit(ast.parse(source, self.path)))
		return compile(tree, self.path, "exec", dont_inherit=True)


class _WithNames(Loader):
	"""Loads the real `frappe.realtime` and puts the two names on it."""

	def __init__(self, loader: Any) -> None:
		self._loader = loader

	def create_module(self, spec: ModuleSpec) -> ModuleType | None:
		module: ModuleType | None = self._loader.create_module(spec)
		return module

	def exec_module(self, module: ModuleType) -> None:
		self._loader.exec_module(module)
		_supply(module)


class _Finder(MetaPathFinder):
	def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
		if fullname != "frappe.realtime":
			return None
		spec = PathFinder.find_spec(fullname, path, target)
		if spec is not None and spec.loader is not None:
			spec.loader = _WithNames(spec.loader)
		return spec


def _supply(module: ModuleType) -> None:
	module.Socket = Socket  # type: ignore[attr-defined]
	module.SyncSocket = SyncSocket  # type: ignore[attr-defined]
	module.realtime = realtime  # type: ignore[attr-defined]


def supply_frappe_names() -> None:
	"""From now on the real `frappe.realtime` of this process has `Socket`, `SyncSocket` and `realtime`."""
	if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
		sys.meta_path.insert(0, _Finder())
	if "frappe.realtime" in sys.modules:
		_supply(sys.modules["frappe.realtime"])


def load(app: str, path: Path, context: Context) -> Loaded:
	"""Import the handlers of `app` from `path`, anew if they were imported before.

	Raises whatever the file raises, and `NotHandlers`.
	"""
	supply_frappe_names()
	return context.run(_load, app, path)


def _load(app: str, path: Path) -> Loaded:
	current_app.set(app)
	importlib.invalidate_caches()
	package = _package(app, path)
	for name in [name for name in sys.modules if name.startswith(package + ".")]:
		del sys.modules[name]
	name = f"{package}.handlers"
	spec = importlib.util.spec_from_file_location(name, path, loader=_HandlersLoader(name, str(path)))
	assert spec is not None
	module = importlib.util.module_from_spec(spec)
	with realtime.collecting() as handlers:
		sys.modules[name] = module
		try:
			assert spec.loader is not None
			spec.loader.exec_module(module)
		except BaseException:
			sys.modules.pop(name, None)
			raise
	vars(sys.modules[package])["handlers"] = module
	return Loaded(tuple(handlers), None if handlers else _set_up_function(module))


def _package(app: str, path: Path) -> str:
	"""The name of the package for the module at `path`: the app's own, imported, when the file refers to it.

	Else one that has only the folder: an app's `__init__` often loads Frappe and half of the app, and a file that asks
	for nothing of it should not pay for that.
	"""
	in_package = path.parents[1].name == app and (path.parents[1] / "__init__.py").is_file()
	if in_package and _refers_to(path, app):
		folder = str(path.parents[2])
		# An app that is not installed in this environment, as in a container that has only the folders.
		if importlib.util.find_spec(app) is None and folder not in sys.path:
			sys.path.append(folder)
		name = f"{app}.realtime"
		importlib.import_module(name)
		return name
	name = f"frappe_realtime_handlers_of_{app}"
	spec = ModuleSpec(name, None, is_package=True)
	spec.submodule_search_locations = [str(path.parent)]
	sys.modules[name] = importlib.util.module_from_spec(spec)
	return name


def _refers_to(path: Path, app: str) -> bool:
	"""Whether the file imports something of the app beyond its own folder."""
	for node in ast.walk(ast.parse(path.read_bytes(), str(path))):
		if isinstance(node, ast.Import):
			names = [alias.name for alias in node.names]
		elif isinstance(node, ast.ImportFrom):
			names = [app if node.level > 1 else "" if node.level else node.module or ""]
		else:
			continue
		if any(name.partition(".")[0] == app for name in names):
			return True
	return False


def _set_up_function(module: ModuleType) -> Callable[..., Any]:
	"""The single public function of a module without decorated handlers."""
	public = getattr(module, "__all__", None) or [name for name in vars(module) if not name.startswith("_")]
	functions = [
		function
		for function in (getattr(module, name, None) for name in public)
		if inspect.isfunction(function) and function.__module__ == module.__name__
	]
	if len(functions) == 1:
		return functions[0]
	names = ", ".join(function.__name__ for function in functions) or "none"
	raise NotHandlers(
		f"{module.__file__} has neither a function with @realtime.on nor a single public function that sets up a "
		f"socket (public functions: {names}); begin the names of the others with an underscore"
	)
