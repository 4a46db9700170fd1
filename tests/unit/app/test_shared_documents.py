"""The endpoints by which apps load and store shared documents."""

from __future__ import annotations

import importlib
from base64 import b64decode, b64encode
from typing import Any

import pytest

from tests.unit.app.conftest import Frappe

HOOK = "realtime_shared_editing"


@pytest.fixture
def site(frappe: Frappe, monkeypatch: pytest.MonkeyPatch) -> Any:
	"""A site with one Note, whose app has both functions; `module` are the endpoints."""
	it: Any = frappe
	it.stored = {}

	def store(doctype: str, name: str, field: str, state: bytes) -> None:
		it.stored[doctype, name, field] = state

	def throw(message: str, error: type[Exception]) -> None:
		raise error(message)

	it.hooks = {HOOK: {"Note": {"load": ["other.load", "app.load"], "store": ["app.store"]}}}
	it.functions = {"app.load": lambda *names: it.stored.get(names), "app.store": store}
	it.commits = []
	values = {
		"whitelist": lambda **options: lambda function: function,
		"get_hooks": lambda name, default: it.hooks.get(name, default),
		"get_attr": lambda path: it.functions[path],
		"throw": throw,
		"PermissionError": PermissionError,
		"ValidationError": ValueError,
	}
	for name, value in values.items():
		monkeypatch.setattr(it, name, value, raising=False)
	monkeypatch.setattr(it.db, "exists", lambda doctype, name: name != "gone", raising=False)
	monkeypatch.setattr(it.db, "commit", lambda: it.commits.append(True), raising=False)
	it.module = importlib.import_module("frappe_realtime.permissions.shared_documents")
	it.secret = True
	monkeypatch.setattr(it.module, "secret_matches", lambda: it.secret)
	return it


def encoded(state: bytes) -> str:
	return b64encode(state).decode()


def test_what_is_stored_is_loaded(site: Any) -> None:
	assert site.module.shared_load("Note", "N-1") is None
	assert site.module.shared_store("Note", "N-1", "body", encoded(b"state")) is True
	assert site.commits == [True]
	assert b64decode(site.module.shared_load("Note", "N-1", "body")) == b"state"
	assert site.module.shared_load("Note", "N-1") is None


def test_a_doctype_without_functions_and_a_document_that_is_gone(site: Any) -> None:
	assert site.module.shared_load("Task", "T-1") is None
	assert site.module.shared_store("Task", "T-1", "", encoded(b"state")) is False
	assert site.module.shared_store("Note", "gone", "", encoded(b"state")) is False
	assert (site.stored, site.commits) == ({}, [])


def test_nothing_is_loaded_of_a_document_that_is_gone(site: Any) -> None:
	site.stored["Note", "gone", ""] = b"state"
	assert site.module.shared_load("Note", "gone") is None


def test_a_function_that_returns_something_else(site: Any) -> None:
	site.functions["app.load"] = lambda *names: "text"
	with pytest.raises(TypeError, match="load of Note returned str, not bytes"):
		site.module.shared_load("Note", "N-1")


def test_the_secret_is_required(site: Any) -> None:
	site.secret = False
	for call in (
		lambda: site.module.shared_load("Note", "N-1"),
		lambda: site.module.shared_store("Note", "N-1", "", encoded(b"state")),
	):
		with pytest.raises(PermissionError):
			call()


@pytest.mark.parametrize("arguments", [(), ("Note",), ("Note", ""), ("Note", "N-1", 1), (1, "N-1")])
def test_arguments_are_checked(site: Any, arguments: tuple[Any, ...]) -> None:
	with pytest.raises(ValueError, match=r"expected|strings"):
		site.module.shared_load(*arguments)


def test_a_state_is_text(site: Any) -> None:
	with pytest.raises(ValueError, match="base64"):
		site.module.shared_store("Note", "N-1", "", 1)
