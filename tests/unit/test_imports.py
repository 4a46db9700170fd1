"""The import rules of the architecture: each package imports only the packages that are listed for it here."""

from __future__ import annotations

import ast
import graphlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
PROJECT = ("frappe_realtime", "realtime")

SHARED = {"frappe_realtime.contract", "frappe_realtime.errors"}
BASE = {
	*SHARED,
	"realtime.config",
	"realtime.histogram",
	"realtime.json_codec",
	"realtime.log_budget",
	"realtime.log_format",
	"realtime.memory",
	"realtime.signals",
	"realtime.token_buckets",
	"realtime.usage",
}
CORE = {*BASE, "realtime.engine", "realtime.socketio", "realtime.web", "realtime.bus"}
SIDECAR = {
	*CORE,
	"realtime.access",
	"realtime.application",
	"realtime.cluster",
	"realtime.forwarding",
	"realtime.handlers",
	"realtime.javascript",
	"realtime.listener",
	"realtime.monitor",
	"realtime.presence",
	"realtime.recovery",
	"realtime.shared_editing",
	"realtime.workers",
}
ALLOWED: dict[str, set[str]] = {
	"frappe_realtime": {
		"frappe_realtime.contract",
		"frappe_realtime.errors",
		"frappe_realtime.handlers",
		"frappe_realtime.members",
		"frappe_realtime.publishing",
	},
	"frappe_realtime.contract": set(),
	"frappe_realtime.errors": set(),
	"frappe_realtime.hooks": set(),
	"frappe_realtime.handlers": SHARED,
	"frappe_realtime.publishing": SHARED | {"frappe"},
	"frappe_realtime.install": SHARED | {"frappe", "frappe_realtime.publishing"},
	"frappe_realtime.permissions": SHARED
	| {"frappe", "frappe_realtime.online_hooks", "frappe_realtime.publishing"},
	"frappe_realtime.overrides": {"frappe", "frappe_realtime.permissions", "frappe_realtime.publishing"},
	"frappe_realtime.boot": SHARED | {"frappe"},
	"frappe_realtime.members": SHARED | {"frappe", "frappe_realtime.handlers", "frappe_realtime.publishing"},
	"frappe_realtime.desk": SHARED
	| {
		"frappe",
		"frappe_realtime.boot",
		"frappe_realtime.handlers",
		"frappe_realtime.members",
		"frappe_realtime.permissions",
	},
	"frappe_realtime.online_hooks": SHARED | {"frappe", "frappe_realtime.publishing"},
	"frappe_realtime.monitor": SHARED | {"frappe", "frappe_realtime.publishing"},
	"frappe_realtime.bench": SHARED | {"frappe", "realtime.__main__"},
	"frappe_realtime.commands": SHARED | {"frappe", "frappe_realtime.bench", "frappe_realtime.overrides"},
	"frappe_realtime.testing": SHARED
	| {"frappe_realtime.bench", "frappe_realtime.handlers", "realtime.access", "realtime.engine"},
	"realtime": set(),
	"realtime.config_parsers": {"frappe_realtime.contract"},
	"realtime.histogram": set(),
	"realtime.json_codec": set(),
	"realtime.log_budget": set(),
	"realtime.log_format": set(),
	"realtime.memory": set(),
	"realtime.signals": set(),
	"realtime.token_buckets": set(),
	"realtime.usage": {"realtime.signals"},
	"realtime.config": SHARED | {"realtime.config_parsers"},
	"realtime.engine": {"frappe_realtime.contract"},
	"realtime.forwarding": {*BASE, "realtime.engine"},
	"realtime.workers": {*BASE, "realtime.engine", "realtime.listener"},
	"realtime.socketio": {
		"frappe_realtime.contract",
		"realtime.engine",
		"realtime.histogram",
		"realtime.json_codec",
		"realtime.log_budget",
		"realtime.memory",
	},
	"realtime.listener": BASE,
	"realtime.bus": BASE | {"realtime.engine", "realtime.socketio"},
	"realtime.web": BASE | {"realtime.bus"},
	"realtime.access": CORE,
	"realtime.presence": CORE | {"realtime.access"},
	"realtime.cluster": CORE - {"realtime.web"} | {"realtime.presence"},
	"realtime.recovery": CORE | {"realtime.access"},
	"realtime.shared_editing": CORE | {"realtime.access", "realtime.cluster"},
	"realtime.handlers": CORE
	| {
		"frappe_realtime.handlers",
		"frappe_realtime.overrides",
		"realtime.access",
		"realtime.cluster",
		"realtime.presence",
	},
	"realtime.javascript": CORE
	| {"realtime.access", "realtime.cluster", "realtime.handlers", "realtime.presence"},
	"realtime.application": CORE
	| {"realtime.access", "realtime.cluster", "realtime.handlers", "realtime.recovery"},
	"realtime.monitor": CORE
	| {"frappe_realtime", "realtime.access", "realtime.cluster", "realtime.handlers"},
	"realtime.layers": SIDECAR,
	"realtime.pages": set(),
	"realtime.server": SIDECAR | {"realtime.layers", "realtime.pages"},
	"realtime.operations": SIDECAR | {"frappe_realtime", "realtime.server"},
	"realtime.demo": {*BASE, "frappe_realtime.publishing"},
	"realtime.__main__": BASE
	| {
		"frappe_realtime",
		"realtime.config_parsers",
		"realtime.demo",
		"realtime.listener",
		"realtime.operations",
		"realtime.server",
		"realtime.workers",
	},
}
"""The packages that each package may import; modules directly below `frappe_realtime` and `realtime` count as packages."""

FRAPPE_ON_REQUEST = "realtime.handlers.frappe_context"
"""The only module of the sidecar that imports frappe: inside a function that runs if a handler of an app asks for it."""


class Import(NamedTuple):
	"""One import statement."""

	module: str
	line: int
	imported: str
	"""the imported package"""

	@property
	def package(self) -> str:
		"""The package that contains the import."""
		return package_of(self.module)

	def __str__(self) -> str:
		return f"{self.module}:{self.line} imports {self.imported}"


def package_of(name: str) -> str:
	"""Return the package of a module or name: its first two parts where they are one, else the first part."""
	top, _, rest = name.partition(".")
	second = rest.partition(".")[0]
	folder = ROOT / top / second
	return f"{top}.{second}" if second and (folder.is_dir() or folder.with_suffix(".py").exists()) else top


def parse(source: str, path: Path) -> Iterator[Import]:
	"""Yield the imports in the source of a module, including those inside functions.

	Args:
		source: The text of the module.
		path: The module's file, relative to the root.
	"""
	parts = path.with_suffix("").parts
	module = ".".join(parts).removesuffix(".__init__")
	for node in ast.walk(ast.parse(source)):
		if isinstance(node, ast.Import):
			names = [alias.name for alias in node.names]
		elif isinstance(node, ast.ImportFrom):
			base = [*(parts[: -node.level] if node.level else ()), *filter(None, [node.module])]
			names = [".".join([*base, alias.name]) for alias in node.names]
		else:
			continue
		for imported in dict.fromkeys(map(package_of, names)):
			if imported.partition(".")[0] in (*PROJECT, "frappe") and imported != package_of(module):
				yield Import(module, node.lineno, imported)


IMPORTS = [
	found
	for name in PROJECT
	for file in sorted((ROOT / name).rglob("*.py"))
	for found in parse(file.read_text(), file.relative_to(ROOT))
]


def test_the_rules_contain_no_cycle() -> None:
	graphlib.TopologicalSorter(ALLOWED).prepare()


def test_every_package_with_imports_has_a_rule() -> None:
	assert {found.package for found in IMPORTS} <= ALLOWED.keys()


def test_each_package_imports_only_what_its_rule_lists() -> None:
	violations = [
		str(found)
		for found in IMPORTS
		if found.imported not in ALLOWED[found.package]
		and (found.module, found.imported) != (FRAPPE_ON_REQUEST, "frappe")
	]
	assert not violations


def test_the_sidecar_imports_frappe_only_inside_a_function() -> None:
	path = Path(FRAPPE_ON_REQUEST.replace(".", "/")).with_suffix(".py")
	body = ast.parse((ROOT / path).read_text()).body
	top_level = [ast.unparse(node) for node in body if isinstance(node, ast.Import | ast.ImportFrom)]
	assert "frappe" not in [found.imported for found in parse("\n".join(top_level), path)]


@pytest.mark.parametrize(
	"statement",
	[
		"import realtime.demo.run",
		"from realtime.demo import run",
		"from realtime import demo",
		"from ..demo import run",
		"from .. import demo",
		"def function():\n\tfrom ..demo.run import run",
	],
)
def test_every_form_of_import_statement_is_found(statement: str) -> None:
	(found,) = parse(statement, Path("realtime/engine/example.py"))
	assert found.imported == "realtime.demo"
