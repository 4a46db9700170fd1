"""Builds pages as their authors do: with npm and Vite, from what npm publishes.

They are the examples of frappe-ui and frappe-react-sdk, the components of docs/clients.md, and the page of an app.
"""

from __future__ import annotations

import functools
import hashlib
import json
import re
import shutil
from pathlib import Path
from typing import NamedTuple

from realtime.demo import npm

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / ".cache" / "client" / "examples"
"""Has a copy of each example, with its packages and, in `dist`, its pages."""
CLIENTS_MD = ROOT / "docs" / "clients.md"


class Example(NamedTuple):
	"""An example, and the components of docs/clients.md that use the same packages.

	Attributes:
		name: The name of its folder.
		package: Which package of `client/` it uses beside the core.
		language: The language of the blocks with components.
		mount: The module that shows the two components, which are the files `0` and `1`.
	"""

	name: str
	package: str
	language: str
	mount: str


EXAMPLES = (
	Example(
		"frappe-ui",
		"vue",
		"vue",
		"""
import { createRealtime } from "@frappe-realtime/vue";
import { frappeRequest, setConfig } from "frappe-ui";
import { createApp, h } from "vue";
import First from "./0.vue";
import Library from "./1.vue";

setConfig("resourceFetcher", frappeRequest);
createApp(() => [h(First), h(Library)]).use(createRealtime()).mount("main");
""",
	),
	Example(
		"frappe-react-sdk",
		"react",
		"tsx",
		"""
import { createRoot } from "react-dom/client";
import { App as First } from "./0.tsx";
import { App as Library } from "./1.tsx";

createRoot(document.querySelector("main")).render(<><First /><Library /></>);
""",
	),
)
APP = "team_tasks"
"""The example that is a whole app, with a page of its own."""


def build_library_examples() -> None:
	"""Install the packages of the examples, those of `client/` as npm would publish them, and build the pages.

	Raises:
		NpmError: npm or Vite fails.
	"""
	FOLDER.mkdir(parents=True, exist_ok=True)
	for example in EXAMPLES:
		_build_components(example, _build(example.name, example.package))
	_build(APP, "vue", "yjs")


def _build(name: str, *packages: str) -> Path:
	"""Build an example that uses these packages of `client/` beside the core; return the folder with the copy of it."""
	source, folder = ROOT / "examples" / name, FOLDER / name
	shutil.copytree(source, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("package.json"))
	manifest = json.loads((source / "package.json").read_text())
	for package in ("core", *packages):
		manifest["dependencies"][f"@frappe-realtime/{package}"] = f"file:{_pack(package)}"
	wanted = FOLDER / f"{name}.json"
	wanted.write_text(json.dumps(manifest, indent="\t"))
	npm.install(folder, wanted)
	npm.run(folder, "run", "build", "--silent")
	return folder


def _build_components(example: Example, project: Path) -> None:
	"""Build the components of docs/clients.md into `documented/dist` of a project."""
	folder = project / "documented"
	folder.mkdir(exist_ok=True)
	components = re.findall(rf"^```{example.language}\n(.*?)^```$", CLIENTS_MD.read_text(), re.M | re.S)
	for number, component in enumerate(components):
		(folder / f"{number}.{example.language}").write_text(component)
	(folder / "main.jsx").write_text(example.mount)
	page = '<!doctype html><main></main><script type="module" src="./main.jsx"></script>'
	(folder / "index.html").write_text(page)
	npm.run(project, "exec", "--", "vite", "build", "documented", "--config", "vite.config.mjs")


@functools.cache
def _pack(package: str) -> Path:
	"""Return the archive that npm would publish. Its name changes with its content, so that it is installed again then."""
	folder = FOLDER / "archives"
	folder.mkdir(exist_ok=True)
	arguments = ("pack", "--pack-destination", str(folder), "--json", "--loglevel=error")
	(packed,) = json.loads(npm.run(ROOT / "client" / package, *arguments))
	archive: Path = folder / packed["filename"].replace("@", "").replace("/", "-")
	digest = hashlib.sha256(archive.read_bytes()).hexdigest()
	return archive.rename(folder / f"{package}-{digest[:12]}.tgz")
