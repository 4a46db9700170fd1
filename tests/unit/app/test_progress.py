"""The page id of progress events: from the header of the request, through a job, into the message."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

HEADER = "X-Frappe-Realtime-Page"


@pytest.fixture
def progress(frappe: Any) -> Any:
	frappe.local.request = None
	frappe.local.job = None
	frappe.get_request_header = lambda name: frappe.local.request.headers.get(name)
	return importlib.import_module("frappe_realtime.publishing.progress")


def set_request(frappe: Any, page: str | None) -> None:
	"""Set the current request, which a page has sent."""
	frappe.local.request = SimpleNamespace(headers={HEADER: page} if page else {})


def set_job(frappe: Any, monkeypatch: pytest.MonkeyPatch, meta: dict[str, Any]) -> None:
	"""Set the current job."""
	frappe.local.job = {"method": "work"}
	rq = ModuleType("rq")
	rq.get_current_job = lambda: SimpleNamespace(meta=meta)  # type: ignore[attr-defined]
	monkeypatch.setitem(sys.modules, "rq", rq)


@pytest.mark.parametrize("page", ["a1b2", "a-b_c"])
def test_the_page_of_a_request_is_added(frappe: Any, progress: Any, page: str) -> None:
	set_request(frappe, page)
	assert progress.with_page("progress", {"percent": 1}) == {"percent": 1, "page": page}


@pytest.mark.parametrize("page", [None, "", "a b", "<script>", "x" * 65, "ä"])
def test_an_invalid_page_id_is_left_out(frappe: Any, progress: Any, page: str | None) -> None:
	set_request(frappe, page)
	assert progress.with_page("progress", {"percent": 1}) == {"percent": 1}


def test_without_request_or_job_there_is_no_page(progress: Any) -> None:
	assert progress.requesting_page() is None


@pytest.mark.parametrize(
	("event", "message"),
	[("list_update", {"doctype": "ToDo"}), ("progress", "10"), ("progress", {"page": "mine"})],
)
def test_other_messages_are_unchanged(frappe: Any, progress: Any, event: str, message: Any) -> None:
	set_request(frappe, "a1")
	assert progress.with_page(event, message) is message


def test_the_message_of_the_caller_is_not_modified(frappe: Any, progress: Any) -> None:
	set_request(frappe, "a1")
	message = {"percent": 1}
	progress.with_page("progress", message)
	assert message == {"percent": 1}


def test_a_job_keeps_the_page_that_enqueued_it(
	frappe: Any, progress: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
	enqueued: list[Any] = []

	class Queue:
		def enqueue_call(self, function: Any, meta: Any = None, **kwargs: Any) -> None:
			enqueued.append((function, meta, kwargs))

	jobs = sys.modules["frappe.utils.background_jobs"]
	jobs.Queue = Queue  # type: ignore[attr-defined]
	progress.keep_page_in_jobs()
	replacement = jobs.Queue
	progress.keep_page_in_jobs()
	assert jobs.Queue is replacement

	replacement().enqueue_call("scheduled", timeout=1)
	set_request(frappe, "a1")
	replacement().enqueue_call("work", timeout=1)
	replacement().enqueue_call("work", meta={"other": 1})
	frappe.local.request = None
	set_job(frappe, monkeypatch, enqueued[1][1])
	replacement().enqueue_call("more work")
	assert progress.with_page("progress", {"percent": 1})["page"] == "a1"
	key = progress.META_KEY
	assert enqueued == [
		("scheduled", None, {"timeout": 1}),
		("work", {key: "a1"}, {"timeout": 1}),
		("work", {"other": 1, key: "a1"}, {}),
		("more work", {key: "a1"}, {}),
	]


def test_a_job_without_a_page(frappe: Any, progress: Any, monkeypatch: pytest.MonkeyPatch) -> None:
	set_job(frappe, monkeypatch, {})
	assert progress.requesting_page() is None


def test_websocket_only_is_in_the_boot_data_of_pages(frappe: Any) -> None:
	boot = importlib.import_module("frappe_realtime.boot")
	info: dict[str, Any] = {}
	context: dict[str, Any] = {"boot": {}}
	boot.extend_bootinfo(bootinfo=info)
	boot.update_website_context(context)
	assert info == context["boot"] == {}
	frappe.conf["realtime_websocket_only"] = 1
	boot.extend_bootinfo(bootinfo=info)
	boot.update_website_context(context)
	boot.update_website_context({})
	assert info == context["boot"] == {"realtime_websocket_only": 1}


def test_the_desk_is_told_whether_users_see_each_other_in_forms(frappe: Any) -> None:
	boot = importlib.import_module("frappe_realtime.boot")
	info: dict[str, Any] = {}
	context: dict[str, Any] = {"boot": {}}
	frappe.conf["realtime_desk_collaboration"] = 1
	boot.extend_bootinfo(bootinfo=info)
	boot.update_website_context(context)
	assert (info, context["boot"]) == ({"realtime_desk_collaboration": 1}, {}), "the website has no forms"
