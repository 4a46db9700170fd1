"""Imports handlers files, so that one file works on every version of Frappe.

Frappe v15 to v17 have no `Socket` and `realtime` in `frappe.realtime`; its development branch has them. In a handlers file
the import of such a name from `frappe.realtime` is compiled as an import from `frappe_realtime`. A file that needs
nothing else of Frappe then does not load Frappe, which takes 45 MB and about a second. Modules that import the names from
the real `frappe.realtime` find them there too, because an import hook adds them.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Sequence
from contextvars import Context
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any, NamedTuple

from frappe_realtime.handlers.registry import Handler, current_app, realtime
from frappe_realtime.handlers.socket import Socket
from frappe_realtime.handlers.sync_socket import SyncSocket

MODULES = {
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
"""The names of `frappe.realtime` that can be used without Frappe, and the modules that define them."""


class NoHandlers(Exception):
	"""A file was imported, but it registers no handlers and has no set-up function."""


class LoadedFile(NamedTuple):
	"""The handlers of a file.

	Attributes:
		handlers: The decorated functions.
		setup: The set-up function; None if there are decorated functions.
	"""

	handlers: Sequence[Handler]
	setup: Callable[..., Any] | None


class _ImportRewriter(ast.NodeTransformer):
	"""Replaces `from frappe.realtime import …` by imports from the modules that define the names."""

	def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST | list[ast.AST]:
		if node.module != "frappe.realtime" or node.level:
			return node
		by_module: dict[str, list[ast.alias]] = {}
		for alias in node.names:
			by_module.setdefault(MODULES.get(alias.name, node.module), []).append(alias)
		return [
			ast.copy_location(ast.ImportFrom(module=module, names=names, level=0), node)
			for module, names in by_module.items()
		]


class _HandlersLoader(SourceFileLoader):
	"""Compiles the rewritten source. It does not use cached bytecode, which is that of the source as it is."""

	def get_code(self, fullname: str) -> CodeType:
		source = self.get_data(self.path)
		tree = ast.fix_missing_locations(_ImportRewriter().visit(ast.parse(source, self.path)))
		return compile(tree, self.path, "exec", dont_inherit=True)


class _FrappeRealtimeLoader(Loader):
	"""Loads the real `frappe.realtime` and adds the names to it."""

	def __init__(self, loader: Any) -> None:
		self._loader = loader

	def create_module(self, spec: ModuleSpec) -> ModuleType | None:
		module: ModuleType | None = self._loader.create_module(spec)
		return module

	def exec_module(self, module: ModuleType) -> None:
		self._loader.exec_module(module)
		_add_names(module)


class _FrappeRealtimeFinder(MetaPathFinder):
	def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
		if fullname != "frappe.realtime":
			return None
		spec = PathFinder.find_spec(fullname, path, target)
		if spec is not None and spec.loader is not None:
			spec.loader = _FrappeRealtimeLoader(spec.loader)
		return spec


def _add_names(module: ModuleType) -> None:
	module.Socket = Socket  # type: ignore[attr-defined]
	module.SyncSocket = SyncSocket  # type: ignore[attr-defined]
	module.realtime = realtime  # type: ignore[attr-defined]


def add_names_to_frappe_realtime() -> None:
	"""Add `Socket`, `SyncSocket` and `realtime` to the real `frappe.realtime`, when it is imported or at once."""
	if not any(isinstance(finder, _FrappeRealtimeFinder) for finder in sys.meta_path):
		sys.meta_path.insert(0, _FrappeRealtimeFinder())
	if "frappe.realtime" in sys.modules:
		_add_names(sys.modules["frappe.realtime"])


def load(app: str, path: Path, context: Context) -> LoadedFile:
	"""Import a handlers file, again if it has been imported before.

	Args:
		app: The app that it belongs to.
		path: The file.
		context: The context in which its code runs.

	Raises:
		NoHandlers: The file registers no handlers and has no set-up function.
		BaseException: Whatever the file raises.
	"""
	add_names_to_frappe_realtime()
	return context.run(_load, app, path)


def _load(app: str, path: Path) -> LoadedFile:
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
	return LoadedFile(tuple(handlers), None if handlers else _setup_function(module))


def _package(app: str, path: Path) -> str:
	"""Return the name of the package that the module at `path` is imported into.

	If the file, or one beside it that it imports, imports something of its app, this is the app's own package, which is imported first.
	Otherwise it is a new package that has only the folder, because the `__init__` of an app often loads Frappe and half of the app.
	"""
	in_package = path.parents[1].name == app and (path.parents[1] / "__init__.py").is_file()
	if in_package and _refers_to(path, app):
		folder = str(path.parents[2])
		# In a container that has only the folders, the app is not installed in this environment.
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
	"""Return whether the file, or a module beside it that it imports, imports something of the app from outside of their folder."""
	files = [path]
	for file in files:
		for node in ast.walk(ast.parse(file.read_bytes(), str(file))):
			if isinstance(node, ast.Import):
				names = [alias.name for alias in node.names]
			elif isinstance(node, ast.ImportFrom):
				names = [app if node.level > 1 else "" if node.level else node.module or ""]
				if node.level == 1:
					imported = [node.module] if node.module else [alias.name for alias in node.names]
					beside = [file.with_name(f"{name}.py") for name in imported]
					files += [one for one in beside if one not in files and one.is_file()]
			else:
				continue
			if any(name.partition(".")[0] == app for name in names):
				return True
	return False


def _setup_function(module: ModuleType) -> Callable[..., Any]:
	"""Return the single public function of a module without decorated functions."""
	public = getattr(module, "__all__", None) or [name for name in vars(module) if not name.startswith("_")]
	functions = [
		function
		for function in (getattr(module, name, None) for name in public)
		if inspect.isfunction(function) and function.__module__ == module.__name__
	]
	if len(functions) == 1:
		return functions[0]
	names = ", ".join(function.__name__ for function in functions) or "none"
	raise NoHandlers(
		f"{module.__file__} has neither a function with @realtime.on nor a single public function that sets up a "
		f"socket (public functions: {names}); begin the names of the others with an underscore"
	)
