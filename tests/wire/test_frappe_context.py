"""Handlers that use Frappe, with a stand-in for the package `frappe`.

The stand-in reads its files as Frappe does: the log beside the folder of sites by a path that is relative to the working
directory, the sites below `frappe.local.sites_path`.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from tests.wire.apps import in_log, install, write_handlers
from tests.wire.bench import APP_SITE, Bench
from tests.wire.conditions import until
from tests.wire.conftest import Connect, MakeBench

FRAPPE = """
import os
from contextvars import ContextVar

_data = ContextVar("frappe_local")


class Local:
	def __getattr__(self, name):
		try:
			return _data.get()[name]
		except (LookupError, KeyError):
			raise AttributeError(name) from None

	def __setattr__(self, name, value):
		if _data.get(None) is None:
			_data.set({})
		_data.get()[name] = value


local = Local()


def __getattr__(name):
	if name == "db":
		return local.db
	raise AttributeError(name)


class Database:
	def commit(self):
		log("commit")

	def rollback(self):
		log("rollback")


def log(text):
	with open(os.path.join("..", "logs", "frappe.log"), "a") as file:
		file.write(text + "\\n")


def init(site, sites_path=".", force=False):
	local.sites_path = sites_path
	local.site = site
	config = os.path.join(sites_path, site, "site_config.json")
	assert os.path.exists(config), f"no file {config}"


def connect(set_admin_as_user=True):
	log("connect")
	local.db = Database()


def set_user(user):
	local.user = user


def destroy():
	_data.set({})


def clear_cache():
	pass
"""

FUNCTIONS = {
	"realtime.py": ("publish_realtime", "publish_progress", "emit_via_redis"),
	"sessions.py": ("delete_session",),
}
"""The functions that the app overrides, by the files that have them."""

CONTEXT = """
from frappe.realtime import SyncSocket, realtime
{imports}

@realtime.on("where", frappe_context=True)
def where(socket: SyncSocket):
	{inside}
	import os
	return [os.getcwd(), frappe.local.sites_path, frappe.local.site, frappe.local.user]
"""

PLAIN = """
from frappe.realtime import realtime
{imports}

@realtime.on("where")
def where(socket):
	{inside}
	import os
	frappe.init(socket.site)
	frappe.connect()
	return [os.getcwd(), os.path.abspath(frappe.local.sites_path), frappe.local.site, None]
"""

AT_THE_TOP = {"imports": "import frappe", "inside": "pass"}
IN_THE_FUNCTION = {"imports": "", "inside": "import frappe"}


def make(make_bench: MakeBench, tmp_path: Path, text: str, **common: object) -> Bench:
	"""Start a bench with one app, in whose environment the stand-in can be imported."""
	package = tmp_path / "environment" / "frappe"
	package.mkdir(parents=True)
	(package / "__init__.py").write_text(FRAPPE)
	for file, names in FUNCTIONS.items():
		(package / file).write_text("".join(f"def {name}(): ...\n" for name in names))
	(package / "utils").mkdir()
	(package / "utils" / "__init__.py").touch()
	(package / "utils" / "background_jobs.py").write_text("class Queue: ...\n")
	bench = make_bench(start=False, env={"PYTHONPATH": str(package.parent)}, common=common)
	(bench.folder / "logs").mkdir()
	write_handlers(bench, "chat", text)
	install(bench, "chat")
	return bench.start()


@pytest.mark.parametrize("place", [AT_THE_TOP, IN_THE_FUNCTION], ids=["at the top", "in the function"])
@pytest.mark.parametrize("text", [CONTEXT, PLAIN], ids=["frappe_context", "plain"])
def test_frappe_finds_its_files_wherever_it_is_imported(
	make_bench: MakeBench, connect: Connect, tmp_path: Path, text: str, place: dict[str, str]
) -> None:
	bench = make(make_bench, tmp_path, text.format(**place))
	user = bench.user()
	sites = str((bench.folder / "sites").resolve())
	for _ in range(2):
		assert connect(bench, user).call("where") == [
			sites,
			sites,
			APP_SITE,
			user.name if text is CONTEXT else None,
		]
	log = (bench.folder / "logs" / "frappe.log").read_text().split()
	assert log == (["connect", "commit"] * 2 if text is CONTEXT else ["connect"] * 2)


def test_frappe_finds_its_files_after_the_import_was_added(
	make_bench: MakeBench, connect: Connect, tmp_path: Path
) -> None:
	"""In developer mode, in a file that did not import Frappe at the start."""
	bench = make(
		make_bench,
		tmp_path,
		"from frappe.realtime import realtime\n@realtime.on('other')\nasync def other(socket):\n\treturn 1\n",
		developer_mode=1,
	)
	user = bench.user()
	client = connect(bench, user)
	assert client.call("other") == 1
	path = write_handlers(bench, "chat", CONTEXT.format(**AT_THE_TOP))
	os.utime(path, ns=(time.time_ns(), time.time_ns() + 1))
	until(lambda: bench.sidecar.log.count("loaded the handlers of chat") == 2, "the new handlers")
	sites = str((bench.folder / "sites").resolve())
	assert client.call("where") == [sites, sites, APP_SITE, user.name]


def test_an_exception_rolls_back(make_bench: MakeBench, connect: Connect, tmp_path: Path) -> None:
	bench = make(
		make_bench,
		tmp_path,
		"from frappe.realtime import realtime\n@realtime.on('fails', frappe_context=True)\n"
		"def fails(socket):\n\traise ValueError('on purpose')\n",
	)
	connect(bench, bench.user()).emit("fails")
	in_log(bench, "ValueError: on purpose")
	assert (bench.folder / "logs" / "frappe.log").read_text().split() == ["connect", "rollback"]
	bench.sidecar.expects_traceback = True
