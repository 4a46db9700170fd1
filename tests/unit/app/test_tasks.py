"""The owner of a task, announced once by each process, before the first event of the task."""

from __future__ import annotations

import json
from collections.abc import Iterator
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
	tasks.before_job(kwargs={"task_id": "t"})
	tasks.before_job(kwargs={"task_id": "t"})
	tasks.before_job(kwargs={"other": 1})
	tasks.before_job(kwargs=None)
	assert [(payload["kind"], payload["task_id"]) for payload in payloads(sent)] == [("task", "t")]


def test_other_rooms_are_not_announced(publish: Any, tasks: Any, sent: Any) -> None:
	publish.publish_realtime("e", user="u")
	publish.emit("e", {}, None)
	assert [(payload.get("kind"), payload["event"]) for payload in payloads(sent)] == [
		(None, "e"),
		(None, "e"),
	]


def test_a_task_is_announced_with_its_first_event_that_can_be_sent(
	publish: Any, tasks: Any, sent: Any
) -> None:
	with pytest.raises(TypeError, match="not JSON serializable"):
		publish.emit("progress", object(), "task_progress:t")
	publish.emit("progress", {}, "task_progress:t")
	assert [payload.get("kind") for payload in payloads(sent)] == ["task", None]


class Shared(dict[Any, None]):
	"""A dict from which another thread removes the oldest key each time that its keys are read."""

	def __iter__(self) -> Iterator[Any]:
		keys = list(super().__iter__())
		del self[keys[0]]
		return iter(keys)


def test_two_threads_forget_the_oldest_task_at_once(
	frappe: Any, tasks: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
	monkeypatch.setattr(tasks, "KEPT_COUNT", 1)
	monkeypatch.setattr(tasks, "_announced", Shared())
	assert [len(tasks.task_announcements([f"task_progress:{name}"])) for name in "abc"] == [1, 1, 1]
