"""Each code block of README.md and of the documentation is in a language that is checked here, and is correct in it.

Python blocks run in tests/unit/app/test_docs.py, the commands of `frappe-realtime` in tests/wire/test_documented_commands.py.
"""

from __future__ import annotations

import configparser
import importlib.util
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from realtime.__main__ import _parser
from realtime.demo import npm
from script.rings import RINGS
from tests.unit.docs.blocks import BLOCKS, PAGES, ROOT, Block, blocks_in

LANGUAGES = {"dart", "html", "ini", "js", "json", "nginx", "python", "sh", "text", "ts", "tsx", "vue", "yaml"}
"""All but `text`, which is for output, and `dart`, which is marked as not run, are checked; `ts`, `tsx` and `vue` by tests/client/test_documentation.py, and
components and pages of docs/clients.md in tests/browser/test_documented_*.py."""
NGINX_CONTEXTS = ("{}", "server {{ {} }}", "server {{ location / {{ {} }} }}")
"""What a block of nginx may stand in."""


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_each_block_of_a_page_is_fenced_and_has_a_known_language(page: Path) -> None:
	in_fence = False
	lines = (ROOT / page).read_text().splitlines()
	for number, line in enumerate(lines):
		if line.startswith("```"):
			in_fence = not in_fence
			if in_fence:
				assert line.removeprefix("```") in LANGUAGES, f"{page}:{number + 1}: {line}"
		elif not in_fence and number and re.match(r"    \S", line) and not lines[number - 1]:
			before = next(one for one in reversed(lines[:number]) if one)
			assert re.match(r"\s*[-*\d]|\s{4}", before), (
				f"{page}:{number + 1} is indented: use a fence with a language"
			)


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.reason], ids=str)
def test_blocks_that_are_not_run(block: Block) -> None:
	"""Lists the blocks that only a bench or another machine can run, with the reason."""
	pytest.skip(block.reason)


@pytest.mark.parametrize("block", blocks_in("json", "yaml"), ids=str)
def test_json_and_yaml(block: Block) -> None:
	if block.language == "json":
		json.loads(block.text)
	else:
		yaml = pytest.importorskip("yaml")
		assert isinstance(yaml.safe_load(block.text), dict)


@pytest.mark.parametrize("block", blocks_in("ini"), ids=str)
def test_ini(block: Block) -> None:
	parser = configparser.ConfigParser(interpolation=None)
	parser.optionxform = str  # type: ignore[assignment,method-assign]
	parser.read_string(block.text)
	for section in parser.sections():
		for key in parser[section].keys() & {"command", "ExecStart"}:
			program, *arguments = parser[section][key].replace("%i", "9100").split()
			assert program.endswith("/frappe-realtime")
			_parser().parse_args(arguments)


@pytest.mark.parametrize("block", blocks_in("nginx"), ids=str)
def test_nginx(block: Block, tmp_path: Path) -> None:
	nginx = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
	if nginx is None:
		pytest.skip("nginx is not installed")
	config = tmp_path / "nginx.conf"
	errors = []
	for context in NGINX_CONTEXTS:
		http = f"http {{ access_log off;\n{context.format(block.text)} }}"
		config.write_text(f"daemon off; pid {tmp_path}/pid; error_log {tmp_path}/log; events {{ }}\n{http}\n")
		command = [nginx, "-t", "-p", str(tmp_path), "-c", str(config)]
		done = subprocess.run(command, capture_output=True, text=True, check=False)
		if not done.returncode:
			return
		errors.append(done.stderr)
	pytest.fail("\n".join(errors))


def scripts(block: Block) -> str:
	"""Return the JavaScript of a block."""
	if block.language == "js":
		return block.text
	return "\n".join(re.findall(r"<script.*?>(.*?)</script>", block.text, re.DOTALL))


@pytest.mark.parametrize("block", blocks_in("js", "html"), ids=str)
def test_javascript(block: Block, tmp_path: Path) -> None:
	"""It is a module, and uses names that realtime.js and the Desk's extension have."""
	source = scripts(block)
	assert source.strip()
	client = "".join(path.read_text() for path in (ROOT / "frappe_realtime" / "public" / "js").glob("*.js"))
	for names in re.findall(r"import \{(.*?)\} from \"(?!@frappe-realtime/)", source):
		for name in names.split(","):
			assert re.search(
				rf"^export (?:const|class|(?:async )?function) {name.strip()}\b", client, re.MULTILINE
			)
	for name in re.findall(r"\brealtime\.(\w+)\(", source):
		assert re.search(rf"^\t(?:async )?{name}\(", client, re.MULTILINE), name
	try:
		node = npm.node()
	except npm.NpmError as error:
		pytest.skip(str(error))
	module = tmp_path / "block.mjs"
	module.write_text(source)
	done = subprocess.run([node, "--check", module], capture_output=True, text=True, check=False)
	assert not done.returncode, done.stderr


@pytest.mark.parametrize("block", blocks_in("sh"), ids=str)
def test_commands_exist(block: Block) -> None:
	"""Each command is one of this project, with arguments that it takes; any other needs a reason why it is not run."""
	for words in block.commands():
		program, *arguments = words
		if Path(program).name == "frappe-realtime":
			_parser().parse_args(arguments)
		elif program.startswith("script/"):
			assert os.access(ROOT / program, os.X_OK), program
			if program == "script/test" and arguments:
				assert arguments[0] in ("lint", *RINGS)
		elif Path(program).name == "python" and arguments[0] == "-m":
			check_module(arguments[1:])
		elif program == "bench" and arguments[0] == "realtime":
			pass  # tests/unit/app/test_commands.py runs it
		else:
			assert block.reason, (
				f"{block}: {' '.join(words)} is not run: say why in a comment above the block"
			)


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_modules_that_a_sentence_names_exist(page: Path) -> None:
	"""As `python -m benchmarks.workers`, with options."""
	for words in re.findall(r"`python -m\s+((?:benchmarks|tests)\b[^`]*)`", (ROOT / page).read_text()):
		check_module(words.split())


def check_module(arguments: list[str]) -> None:
	"""Fail if a module of `python -m`, or an option or a test that it is given, does not exist."""
	module, *rest = arguments
	spec = importlib.util.find_spec(module)
	assert spec is not None, module
	if spec.submodule_search_locations is not None:
		spec = importlib.util.find_spec(f"{module}.__main__")
		assert spec is not None, module
	for argument in rest:
		if argument.startswith("tests/"):
			assert (ROOT / argument).exists(), argument
		elif argument.startswith("--"):
			assert f'"{argument}"' in Path(spec.origin or "").read_text(), f"{module}: {argument}"
