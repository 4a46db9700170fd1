"""Which handlers files are loaded, into which package, and when they are changed or deleted."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from frappe_realtime.testing import NoAnswer
from realtime.handlers.files import HandlerFiles
from tests.unit.handlers.conftest import MakeSite, write_app

HEAD = "import asyncio\nfrom frappe.realtime import Socket, realtime\n\n"


def test_importing_only_these_names_does_not_load_frappe(make_site: MakeSite) -> None:
	make_site(
		"from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n\tfrom frappe.realtime import Socket\n"
		"from frappe.realtime import (\n\tget_user_room, realtime, SyncSocket as S, get_doc_room, get_site_room)\n"
		"assert get_user_room('a') == 'user:a' and get_doc_room('A', 1) == 'doc:A/1' and get_site_room() == 'all'\n"
		"@realtime.on('go')\ndef go(socket: 'Socket'):\n\tassert isinstance(socket, S)\n"
	).connect("ann@example.com").emit("go")
	assert "frappe" not in sys.modules


def test_the_names_are_added_to_the_real_module(
	tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_site: MakeSite
) -> None:
	(tmp_path / "frappe").mkdir()
	(tmp_path / "frappe" / "__init__.py").write_text("ORIGINAL = True\n")
	(tmp_path / "frappe" / "realtime.py").write_text("def publish_realtime(): ...\n")
	monkeypatch.syspath_prepend(str(tmp_path))
	for name in ("frappe", "frappe.realtime"):
		monkeypatch.delitem(sys.modules, name, raising=False)
	site = make_site(
		"import frappe\nimport frappe.realtime as module\nfrom frappe.realtime import publish_realtime, realtime\n"
		"assert frappe.ORIGINAL and module.realtime is realtime and module.publish_realtime is publish_realtime\n"
		"@module.realtime.on('go')\nasync def go(socket: module.Socket):\n\treturn 1\n"
	)
	assert site.connect("ann@example.com").call("go") == 1
	for name in ("frappe", "frappe.realtime"):
		# `monkeypatch` would bring them back at the end of the test.
		sys.modules.pop(name, None)


def test_a_module_beside_the_file_may_register_too(tmp_path: Path, make_site: MakeSite) -> None:
	path = write_app(tmp_path, "neighbours", "")
	(path.parent / "typing_events.py").write_text(
		"from frappe_realtime import realtime\n@realtime.on('typing')\nasync def typing(socket):\n\treturn 1\n"
	)
	client = make_site(neighbours="from . import typing_events\n").connect("ann@example.com")
	assert client.call("typing") == 1


def test_a_module_beside_the_file_may_use_its_app(tmp_path: Path, make_site: MakeSite) -> None:
	path = write_app(tmp_path, "divided", "")
	(path.parents[1] / "sizes.py").write_text("MOST = 5\n")
	(path.parent / "size_events.py").write_text(
		"from frappe_realtime import realtime\nfrom ..sizes import MOST\n"
		"@realtime.on('most')\nasync def most(socket):\n\treturn MOST\n"
	)
	client = make_site(divided="from . import size_events\n").connect("ann@example.com")
	assert client.call("most") == 5


def test_the_apps_package_is_loaded_only_for_a_file_that_refers_to_it(
	tmp_path: Path, make_site: MakeSite
) -> None:
	path = write_app(tmp_path, "heavy", "")
	(path.parents[1] / "__init__.py").write_text("import no_such_module_anywhere\n")
	go = "@realtime.on('go')\nasync def go(socket):\n\treturn 1\n"
	assert make_site(heavy=HEAD + go).connect("ann@example.com").call("go") == 1
	with pytest.raises(ImportError, match="no_such_module_anywhere"):
		make_site(heavy=HEAD + go + "\tfrom heavy.utils import x\n")


@pytest.mark.parametrize(
	("text", "message"),
	[
		("", "public functions: none"),
		("def a(socket): ...\ndef b(socket): ...\n", "public functions: a, b"),
		("1 / 0", "ZeroDivisionError"),
		(
			"from frappe.realtime import realtime\n@realtime.on('x', frappe_context=True)\nasync def x(s): ...\n",
			"TypeError",
		),
	],
)
def test_invalid_files(make_site: MakeSite, text: str, message: str) -> None:
	with pytest.raises(ImportError, match=message):
		make_site(text)


def test_all_chooses_the_set_up_function(make_site: MakeSite) -> None:
	text = "__all__ = ['b']\ndef a(socket): ...\ndef b(socket):\n\tsocket.on('go', lambda: 1)\n"
	assert make_site(text).connect("ann@example.com").call("go") == 1


def test_the_paths_of_handlers_files(tmp_path: Path) -> None:
	files = HandlerFiles(tmp_path)
	assert files.apps() == []
	package = write_app(tmp_path, "both", "")
	javascript = tmp_path / "apps" / "both" / "realtime" / "handlers.js"
	javascript.parent.mkdir()
	javascript.touch()
	beside = javascript.with_name("handlers.py")
	beside.touch()
	for own in ("frappe", "frappe_realtime"):
		write_app(tmp_path, own, "")
	assert files.apps() == ["both"]
	assert (files.python("both"), files.javascript("both")) == (package, None)
	package.unlink()
	assert (files.python("both"), files.javascript("both")) == (beside, None)
	beside.unlink()
	assert (files.python("both"), files.javascript("both")) == (None, javascript)
	assert files.python("frappe_realtime") is files.python("../both") is None


def test_reload_keeps_sockets_and_runs_the_set_up_function_again(tmp_path: Path, make_site: MakeSite) -> None:
	site = make_site(reloading="count = 0\ndef set_up(socket):\n\tsocket.on('go', lambda: 'old')\n")
	client = site.connect("ann@example.com")
	assert client.call("go") == "old"
	path = write_app(tmp_path, "reloading", "def set_up(socket):\n\tsocket.on('go', lambda: 'new')\n")

	async def reload() -> None:
		site.handlers.reload("reloading", path)

	site._run(reload())
	assert client.call("go") == "new"
	path.write_text("this is no Python")
	site._run(reload())
	assert client.call("go") == "new"
	assert "SyntaxError" in site.handlers.health()["errors"]["reloading"]["error"]


def test_unload_removes_handlers_and_listeners(tmp_path: Path, make_site: MakeSite) -> None:
	site = make_site(
		listening="def set_up(socket):\n\tsocket.on('go', lambda: 'old')\n",
		decorated=HEAD + "@realtime.on('decorated')\nasync def decorated(socket):\n\treturn 1\n",
	)
	client = site.connect("ann@example.com")
	assert (client.call("go"), client.call("decorated")) == ("old", 1)

	async def unload() -> None:
		site.handlers.unload("listening")
		site.handlers.unload("decorated")

	site._run(unload())
	for event in ("go", "decorated"):
		with pytest.raises(NoAnswer):
			client.call(event)
	assert site.handlers.health()["apps"] == {}
	path = write_app(tmp_path, "listening", "def set_up(socket):\n\tsocket.on('go', lambda: 'new')\n")

	async def reload() -> None:
		site.handlers.reload("listening", path)

	site._run(reload())
	assert client.call("go") == "new"
