"""The npm packages: types, unit tests in Node, what npm would publish, and how large it is.

`script/test wire` installs the tools and builds the packages before these tests.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import zlib
from pathlib import Path

import pytest

from frappe_realtime import __version__
from realtime.demo import npm
from tests.wire.nodejs import node
from tests.wire.sidecar import ROOT

CLIENT = ROOT / "client"
TOOLS = ROOT / ".cache" / "client" / "node_modules"
PACKAGES = ("core", "vue", "react", "yjs")
CLIENTS_MD = ROOT / "docs" / "clients.md"

if not (CLIENT / "core" / "dist" / "index.js").exists():
	pytest.skip("the npm packages are not built: run script/test once", allow_module_level=True)


def run(tool: str, *arguments: str, folder: Path = CLIENT) -> str:
	"""Run a tool in Node; return its output. It must succeed."""
	done = subprocess.run(
		[node(), str(TOOLS / tool), *arguments],
		cwd=folder,
		env={**os.environ, "NO_COLOR": "1"},
		capture_output=True,
		text=True,
		check=False,
	)
	assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
	return done.stdout


def test_the_sources_pass_the_strict_type_checker() -> None:
	run("typescript/bin/tsc", "-p", ".")


def test_the_unit_tests_pass() -> None:
	run("vitest/vitest.mjs", "run")


def test_the_files_for_pages_without_a_build_step_are_those_that_the_sources_make() -> None:
	done = subprocess.run(
		[node(), "build_assets.mjs", "--check"], cwd=CLIENT, capture_output=True, text=True, check=False
	)
	assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("package", PACKAGES)
def test_what_npm_would_publish_is_complete(package: str, tmp_path: Path) -> None:
	run("publint/src/cli.js", "--strict", "--pack", "false", folder=CLIENT / package)
	npm.run(CLIENT / package, "pack", "--pack-destination", str(tmp_path), "--loglevel=error")
	(archive,) = tmp_path.glob("*.tgz")
	run("@arethetypeswrong/cli/dist/index.js", str(archive), "--profile", "esm-only")


@pytest.mark.parametrize("package", PACKAGES)
def test_the_version_is_that_of_the_project(package: str) -> None:
	manifest = json.loads((CLIENT / package / "package.json").read_text())
	assert manifest["version"] == __version__
	if package != "core":
		assert manifest["dependencies"] == {"@frappe-realtime/core": __version__}
	else:
		assert list(manifest["dependencies"]) == ["socket.io-client"]
	assert manifest["sideEffects"] is False


def test_the_oldest_vue_has_what_the_package_uses() -> None:
	"""`App.onUnmount` is new in Vue 3.5."""
	assert "app.onUnmount(" in (CLIENT / "vue" / "src" / "index.ts").read_text()
	manifest = json.loads((CLIENT / "vue" / "package.json").read_text())
	assert manifest["peerDependencies"] == {"vue": "^3.5.0"}


@pytest.mark.parametrize("package", PACKAGES)
def test_the_documented_size_is_right(package: str, tmp_path: Path) -> None:
	"""Minified and compressed, without dependencies."""
	(documented,) = re.findall(
		rf"^\| `@frappe-realtime/{package}` \|.*?([\d.]+) kB", CLIENTS_MD.read_text(), re.M
	)
	minified = tmp_path / "min.js"
	options = ["--minify", "--format", "esm", "--file", str(minified)]
	for name in ("socket.io-client", "vue", "react", "react/jsx-runtime", "yjs", "@frappe-realtime/core"):
		options += ["--external", name]
	run("rolldown/bin/cli.mjs", str(CLIENT / package / "dist" / "index.js"), *options)
	compressor = zlib.compressobj(9, wbits=31)
	size = len(compressor.compress(minified.read_bytes()) + compressor.flush()) / 1000
	assert size == pytest.approx(float(documented), abs=0.3)
