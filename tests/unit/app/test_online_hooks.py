"""The hooks of apps that are told which users come and go."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.app.conftest import Frappe


@pytest.fixture
def hooks(frappe: Frappe, monkeypatch: pytest.MonkeyPatch) -> Any:
	"""The module, with a site whose hooks are `frappe.hooks`, and functions that note their calls in `frappe.called`."""
	import frappe_realtime.online_hooks as module

	it: Any = frappe
	it.hooks, it.called, it.errors, it.enqueued = {}, [], [], []

	def attribute(path: str) -> Any:
		def call(user: str) -> None:
			it.called.append((path, user))
			if path == "app.fails":
				raise ValueError(user)

		return call

	monkeypatch.setattr(it, "get_hooks", lambda name, default: it.hooks.get(name, default), raising=False)
	monkeypatch.setattr(it, "get_attr", attribute, raising=False)
	monkeypatch.setattr(it, "log_error", it.errors.append, raising=False)
	monkeypatch.setattr(it, "enqueue", lambda *args, **more: it.enqueued.append((args, more)), raising=False)
	return module


def test_a_site_has_hooks_if_an_app_has_one_of_them(frappe: Any, hooks: Any) -> None:
	assert not hooks.has_hooks()
	frappe.hooks = {"realtime_user_offline": ["app.gone"]}
	assert hooks.has_hooks()


def test_they_are_called_in_a_background_job(frappe: Any, hooks: Any) -> None:
	hooks.enqueue(("ann",), ["bob"])
	(((method,), more),) = frappe.enqueued
	assert (method, more) == (
		"frappe_realtime.online_hooks.call_hooks",
		{"queue": "short", "online": ["ann"], "offline": ["bob"]},
	)


def test_each_is_called_with_each_user_and_a_failure_is_logged(frappe: Any, hooks: Any) -> None:
	frappe.hooks = {
		"realtime_user_online": ["app.fails", "app.came"],
		"realtime_user_offline": ["app.gone"],
	}
	hooks.call_hooks(["ann", "bob"], ["eve"])
	assert frappe.called == [
		("app.fails", "ann"),
		("app.fails", "bob"),
		("app.came", "ann"),
		("app.came", "bob"),
		("app.gone", "eve"),
	]
	assert frappe.errors == [f"realtime_user_online: app.fails failed for {user}" for user in ("ann", "bob")]


def test_the_error_of_each_failure_stays_in_the_error_log(frappe: Any, hooks: Any) -> None:
	"""Frappe inserts the entry in the transaction, which is rolled back for the next failure."""
	inserted: list[str] = []
	frappe.log_error = inserted.append
	frappe.db.commit = lambda: (frappe.errors.extend(inserted), inserted.clear())
	frappe.db.rollback = inserted.clear
	frappe.hooks = {"realtime_user_online": ["app.fails"]}
	hooks.call_hooks(["ann", "bob"], [])
	assert frappe.errors == [f"realtime_user_online: app.fails failed for {user}" for user in ("ann", "bob")]


def test_a_failure_for_a_user_with_a_long_name_is_logged(frappe: Any, hooks: Any) -> None:
	"""Frappe v15 raises for a title of more than 140 characters, and the others would not be called."""
	frappe.hooks = {"realtime_user_online": ["app.fails"]}
	hooks.call_hooks([f"{'a' * 120}@example.com"], [])
	assert [len(error) for error in frappe.errors] == [140]
