"""The owner of a task, announced once by each process, before the first event of the task."""

from __future__ import annotations

import json
from typing import Any

import pytest


@pytest.fixture
def tasks(publish: Any) -> Any:
	from frappe_realtime.publishing import tasks

	tasks._announced.clear()
	return tasks


def payloads(sent: Any) -> list[dict[str, Any]]:
	return [json.loads(message.payload) for message in sent.messages]


def test_a_task_is_announced_before_its_first_progress(
	frappe: Any, publish: Any, tasks: Any, sent: Any
) -> None:
	frappe.session.user = "ann@example.com"
	for percent in (1, 2):
		publish.publish_progress(percent, task_id="t")
	first, *events = payloads(sent)
	assert (first["kind"], first["task_id"], first["user"]) == ("task", "t", "ann@example.com")
	assert [event["event"] for event in events] == ["progress", "progress"]
	assert sent.messages[0].channel == "frappe_realtime:access"
	assert sent.messages[0].stream == f"frappe_realtime:{first['site']}:tasks"


def test_a_task_is_announced_when_its_job_begins(frappe: Any, publish: Any, tasks: Any, sent: Any) -> None:
	frappe.session.user = "ann@example.com"
	tasks.before_job(method="m", kwargs={"task_id": "t"}, transaction_type="job")
	tasks.before_job(method="m", kwargs={"task_id": "t"}, transaction_type="job")
	tasks.before_job(method="m", kwargs={"other": 1}, transaction_type="job")
	tasks.before_job(method="m", kwargs=None, transaction_type="job")
	assert [(payload["kind"], payload["task_id"]) for payload in payloads(sent)] == [("task", "t")]


def test_other_rooms_are_not_announced(publish: Any, tasks: Any, sent: Any) -> None:
	publish.publish_realtime("e", user="u")
	publish.emit("e", {}, None)
	assert all("kind" not in payload for payload in payloads(sent))
