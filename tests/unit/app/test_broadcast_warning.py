"""The warning about events that go to all System Users because no recipient is given."""

from __future__ import annotations

import importlib
from typing import Any

import pytest

from tests.unit.app.conftest import Sent


@pytest.fixture(autouse=True)
def developer_mode(frappe: Any) -> None:
	frappe.conf["developer_mode"] = 1
	frappe.local.request = object()
	frappe.get_request_header = lambda name: None


def warnings(frappe: Any) -> list[str]:
	"""Return the warnings, which are in the log and in the response of the request."""
	assert [line for (line,) in frappe.logged] == frappe.debug_log
	return list(frappe.debug_log)


def test_it_names_the_caller_and_the_event_once(frappe: Any, publish: Any, sent: Sent) -> None:
	for _ in range(3):
		publish.publish_realtime("order_ready", {"order": 1})
	publish.publish_realtime("other")
	first, second = warnings(frappe)
	assert first.startswith(__file__)
	assert " publishes order_ready without a recipient" in first
	assert " publishes other without" in second
	assert [room for _, _, room in sent.events()] == ["all"] * 4, "the events are sent all the same"


def test_without_a_request_it_is_written_to_the_standard_error(
	frappe: Any, publish: Any, sent: Sent, capsys: pytest.CaptureFixture[str]
) -> None:
	frappe.local.request = None
	publish.publish_realtime("order_ready")
	written = capsys.readouterr()
	assert " publishes order_ready without a recipient" in written.err
	assert (written.out, frappe.debug_log) == ("", [])
	[(line,)] = frappe.logged
	assert written.err == f"{line}\n"


@pytest.mark.parametrize(
	"call",
	[
		{"user": "ann@example.com"},
		{"user": []},
		{"room": "all"},
		{"doctype": "ToDo", "docname": "1"},
		{"task_id": "1"},
	],
	ids=str,
)
def test_a_recipient_prevents_it(frappe: Any, publish: Any, sent: Sent, call: dict[str, Any]) -> None:
	publish.publish_realtime("order_ready", **call)
	publish.publish_to_all("for_everyone")
	publish.publish_realtime("msgprint")
	publish.publish_progress(10)
	assert warnings(frappe) == []


def test_only_in_developer_mode(frappe: Any, publish: Any, sent: Sent) -> None:
	frappe.conf["developer_mode"] = 0
	publish.publish_realtime("order_ready")
	assert warnings(frappe) == []


@pytest.mark.parametrize("module", ["frappe.migrate", "frappe.core.doctype.data_import.data_import"])
def test_events_of_frappe_give_no_warning(frappe: Any, publish: Any, sent: Sent, module: str) -> None:
	exec("publish('version-update')", {"__name__": module, "publish": publish.publish_realtime})
	assert warnings(frappe) == []
	assert len(sent.events()) == 1


def test_the_wrappers_of_frappe_are_not_the_caller(frappe: Any, publish: Any, sent: Sent) -> None:
	"""`frappe.publish_realtime` of v15 calls that of `frappe.realtime`, which is the override."""
	overrides = importlib.import_module("frappe_realtime.overrides")
	overrides.install_overrides()
	wrapper = {"__name__": "frappe", "realtime": frappe.realtime}
	exec("def publish_realtime(event): realtime.publish_realtime(event)", wrapper)
	wrapper["publish_realtime"]("order_ready")
	[line] = warnings(frappe)
	assert line.startswith(__file__)


def test_the_number_of_names_is_bounded(
	frappe: Any, publish: Any, sent: Sent, monkeypatch: pytest.MonkeyPatch
) -> None:
	module = importlib.import_module("frappe_realtime.publishing.broadcast_warning")
	monkeypatch.setattr(module, "MAX_EVENT_NAMES", 2)
	for number in range(5):
		publish.publish_realtime(f"task_complete:{number}")
	assert len(warnings(frappe)) == 2
