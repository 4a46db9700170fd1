"""The examples of docs/clients.md and docs/shared-editing.md: those in TypeScript pass the type checker, the programs connect to a bench."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.client.test_packages import CLIENT, CLIENTS_MD, TOOLS, run
from tests.wire.bench import APP_SITE, Bench
from tests.wire.conditions import until
from tests.wire.nodejs import node

SHARED_EDITING_MD = CLIENTS_MD.with_name("shared-editing.md")


def blocks(language: str, page: Path = CLIENTS_MD) -> list[str]:
	"""Return the code blocks of a language."""
	return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(), re.M | re.S)


def example(heading: str, language: str) -> str:
	"""Return the only block of a language in a section of docs/clients.md."""
	section = CLIENTS_MD.read_text().split(f"\n## {heading}\n")[1].split("\n## ")[0]
	(text,) = re.findall(rf"^```{language}\n(.*?)^```$", section, re.M | re.S)
	return str(text)


@pytest.fixture
def sources() -> Iterator[Path]:
	"""A folder of modules that find the packages."""
	folder = Path(tempfile.mkdtemp(dir=TOOLS.parent))
	yield folder
	shutil.rmtree(folder)


def test_the_examples_have_the_right_types(sources: Path) -> None:
	vue = [re.findall(r"<script.*?>(.*?)</script>", block, re.S)[0] for block in blocks("vue")]
	examples = [("ts", text) for text in [*blocks("ts"), *blocks("ts", SHARED_EDITING_MD), *vue]] + [
		("tsx", text) for text in blocks("tsx")
	]
	assert len(examples) > 6
	for number, (kind, text) in enumerate(examples):
		(sources / f"{number}.{kind}").write_text(text)
	# Its sources need the packages of all its components.
	(sources / "libraries.d.ts").write_text(
		'declare module "frappe-ui";\n'
		'declare module "*.vue" {\n\tconst component: import("vue").Component;\n\texport default component;\n}\n'
	)
	options = '"noEmit": true, "noUnusedLocals": false, "paths": {}'
	(sources / "tsconfig.json").write_text(
		f'{{"extends": "{CLIENT}/tsconfig.json", "compilerOptions": {{{options}}}, "include": ["."]}}'
	)
	run("typescript/bin/tsc", "-p", str(sources))


def check_program(bench: Bench, command: list[str], output: Path, folder: Path) -> None:
	"""Run a program until it has connected and has received an event."""
	environment = {**os.environ, "NODE_PATH": str(TOOLS), "PYTHONUNBUFFERED": "1"}
	with output.open("w") as stdout:
		process = subprocess.Popen(
			command, stdout=stdout, stderr=subprocess.STDOUT, cwd=folder, env=environment
		)
	try:

		def changed() -> bool:
			assert process.poll() is None, output.read_text()
			bench.publish("list_update", {"doctype": "ToDo", "name": "T-1"}, "doctype:ToDo")
			return "changed T-1" in output.read_text()

		until(changed, "the program prints the change")
		assert "connected" in output.read_text()
	finally:
		process.kill()
		process.wait()


def with_credential(bench: Bench, text: str, credential: str, token: str, cookie: str) -> str:
	"""Return an example with the address and a credential of a bench.

	Args:
		bench: The bench.
		text: The example.
		credential: `token`, `Bearer` or `cookie`.
		token: The option of the example that passes the token.
		cookie: What takes its place with a cookie.
	"""
	user = bench.user()
	if credential == "cookie":
		assert token in text
		text = text.replace(token, cookie.replace("sid=…", f"sid={bench.site().login(user.name)}"))
	else:
		value = bench.site().authorization(user.name, credential).removeprefix("token ")
		text = text.replace("api_key:api_secret", value)
	return text.replace("https://erp.example.com", f"http://127.0.0.1:{bench.sidecar.port}").replace(
		"erp.example.com", APP_SITE
	)


TOKEN_OPTION = 'token: "api_key:api_secret"'
COOKIE_OPTION = 'extraHeaders: { Cookie: "sid=…" }'
CREDENTIALS = pytest.mark.parametrize("credential", ["token", "Bearer", "cookie"])


@CREDENTIALS
def test_the_example_for_node(bench: Bench, sources: Path, tmp_path: Path, credential: str) -> None:
	text = example("Node", "js")
	program = sources / "example.mjs"
	program.write_text(with_credential(bench, text, credential, TOKEN_OPTION, COOKIE_OPTION))
	check_program(bench, [node(), str(program)], tmp_path / "output", sources)


@CREDENTIALS
def test_the_example_for_react_native(bench: Bench, sources: Path, tmp_path: Path, credential: str) -> None:
	text = example("React Native", "js")
	module = sources / "example.mjs"
	module.write_text(with_credential(bench, text, credential, TOKEN_OPTION, COOKIE_OPTION))
	command = [node(), str(CLIENT / "tests" / "react_native.mjs"), str(module), str(tmp_path / "built")]
	check_program(bench, command, tmp_path / "output", sources)


@CREDENTIALS
def test_the_example_for_python(bench: Bench, tmp_path: Path, credential: str) -> None:
	text = example("Python", "python")
	cookie = 'headers={"Cookie": "sid=…"}'
	assert cookie in CLIENTS_MD.read_text()
	program = tmp_path / "example.py"
	program.write_text(with_credential(bench, text, credential, 'auth={"token": TOKEN}', cookie))
	check_program(bench, [sys.executable, str(program)], tmp_path / "output", tmp_path)
