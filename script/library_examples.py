"""Builds the examples for frappe-ui and frappe-react-sdk as their users do: with npm and Vite, from what npm publishes."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

from realtime.demo import npm

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / ".cache" / "client" / "examples"
"""Has a copy of each example, with its packages and, in `dist`, its pages."""
EXAMPLES = {"frappe-ui": "vue", "frappe-react-sdk": "react"}
"""The examples, and which package of `client/` each uses beside the core."""


def build_library_examples() -> None:
	"""Install the packages of the examples, those of `client/` as npm would publish them, and build the pages.

	Raises:
		NpmError: npm or Vite fails.
	"""
	FOLDER.mkdir(parents=True, exist_ok=True)
	core = _pack("core")
	for example, package in EXAMPLES.items():
		source, folder = ROOT / "examples" / example, FOLDER / example
		shutil.copytree(source, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("package.json"))
		manifest = json.loads((source / "package.json").read_text())
		manifest["dependencies"]["@frappe-realtime/core"] = f"file:{core}"
		manifest["dependencies"][f"@frappe-realtime/{package}"] = f"file:{_pack(package)}"
		wanted = FOLDER / f"{example}.json"
		wanted.write_text(json.dumps(manifest, indent="\t"))
		npm.install(folder, wanted)
		npm.run(folder, "run", "build", "--silent")


def _pack(package: str) -> Path:
	"""Return the archive that npm would publish. Its name changes with its content, so that it is installed again then."""
	folder = FOLDER / "archives"
	folder.mkdir(exist_ok=True)
	arguments = ("pack", "--pack-destination", str(folder), "--json", "--loglevel=error")
	(packed,) = json.loads(npm.run(ROOT / "client" / package, *arguments))
	archive: Path = folder / packed["filename"].replace("@", "").replace("/", "-")
	digest = hashlib.sha256(archive.read_bytes()).hexdigest()
	return archive.rename(folder / f"{package}-{digest[:12]}.tgz")
