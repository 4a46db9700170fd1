"""The test event of the monitoring page: for System Managers, and to the caller only."""

from __future__ import annotations

import importlib
from typing import Any

import pytest


@pytest.fixture
def monitor(frappe: Any, sent: Any) -> Any:
	"""The module; only a user in `frappe.managers` has the role System Manager."""
	frappe.managers = {"alice@example.com"}
	frappe.PermissionError = type("PermissionError", (Exception,), {})
	frappe.whitelist = lambda **options: lambda function: function

	def only_for(role: str) -> None:
		assert role == "System Manager"
		if frappe.session.user not in frappe.managers:
			raise frappe.PermissionError

	frappe.only_for = only_for
	return importlib.import_module("frappe_realtime.monitor")


def test_the_event_goes_to_the_caller(monitor: Any, sent: Any) -> None:
	monitor.send_test_event("42")
	assert sent.events() == [("frappe_realtime:test", {"id": "42"}, "user:alice@example.com")]


def test_a_running_task_does_not_take_the_event(frappe: Any, monitor: Any, sent: Any) -> None:
	frappe.local.task_id = "a task"
	monitor.send_test_event("42")
	assert sent.events() == [("frappe_realtime:test", {"id": "42"}, "user:alice@example.com")]


def test_the_id_is_bounded(monitor: Any, sent: Any) -> None:
	monitor.send_test_event("x" * 1000)
	((_, message, _),) = sent.events()
	assert message == {"id": "x" * 140}


def test_a_user_who_is_no_system_manager_is_refused(frappe: Any, monitor: Any, sent: Any) -> None:
	frappe.session.user = "bob@example.com"
	with pytest.raises(frappe.PermissionError):
		monitor.send_test_event("42")
	assert sent.events() == []
