"""The session that Frappe makes for the doctor."""

from __future__ import annotations

import sys
from io import StringIO
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from frappe_realtime.bench import session


def test_what_an_app_prints_is_not_the_session_id(
	monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
	deleted: list[str] = []
	frappe: Any = ModuleType("frappe")
	frappe.init = lambda site: print(f"an app of {site} is imported")
	frappe.connect = frappe.destroy = lambda: None
	frappe.local = SimpleNamespace()
	frappe._dict = dict
	frappe.db = SimpleNamespace(commit=lambda: None)
	frappe.sessions = ModuleType("frappe.sessions")
	frappe.sessions.Session = lambda **_: SimpleNamespace(sid="0123")
	frappe.sessions.delete_session = lambda sid, **_: deleted.append(sid)
	frappe.utils = ModuleType("frappe.utils")
	frappe.utils.set_request = lambda **_: None
	for module in (frappe, frappe.sessions, frappe.utils):
		monkeypatch.setitem(sys.modules, module.__name__, module)
	monkeypatch.setattr(sys, "argv", ["session", "one.test"])
	monkeypatch.setattr(sys, "stdin", StringIO())
	session.main()
	printed = capsys.readouterr()
	assert printed.out == "0123\n"
	assert printed.err == "an app of one.test is imported\n"
	assert deleted == ["0123"]
