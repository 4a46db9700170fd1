"""Who started a background task: told to the sidecars, which let nobody else follow it (except as configured).

A task is what a `task_id` names: a job that got one as an argument, or work in a request that publishes progress with
one. Its user is the one under whom it runs. It is said when such a job begins, and before the first progress that a
process publishes: as a message of kind `task` on the channel of access, with `task_id` and `user`, which also stays in
the site's stream `frappe_realtime:{site}:tasks`. The first word about a task counts.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import frappe

from ..contract import ACCESS_CHANNEL, TASK_ROOM, TASK_STARTED, task_room, tasks_key
from ..install import is_installed
from .outbox import Message
from .process import outbox

KEPT_COUNT = 1000
KEPT_SECONDS = 24 * 60 * 60
"""How many tasks of a site are remembered in Redis, and how long."""

_told: dict[tuple[str, str], None] = {}
"""What this process has said already; the newest last."""


def before_job(method: str = "", kwargs: Any = None, transaction_type: str = "job", **more: Any) -> None:
	"""Hook: a job begins, under the user who enqueued it."""
	task_id = kwargs.get("task_id") if isinstance(kwargs, dict) else None
	if isinstance(task_id, str) and task_id and is_installed():
		outbox().send(started([task_room(task_id)]))


def started(rooms: Iterable[str]) -> list[Message]:
	"""What is to be said before something is published to `rooms`: whose the tasks among them are, each once."""
	messages = []
	for room in rooms:
		if not room.startswith(TASK_ROOM):
			continue
		site, task_id = frappe.local.site, room.removeprefix(TASK_ROOM)
		if (site, task_id) in _told:
			continue
		_told[site, task_id] = None
		if len(_told) > KEPT_COUNT:
			del _told[next(iter(_told))]
		messages.append(_message(site, task_id, frappe.session.user))
	return messages


def _message(site: str, task_id: str, user: str) -> Message:
	return Message(
		ACCESS_CHANNEL,
		json.dumps({"site": site, "kind": TASK_STARTED, "task_id": task_id, "user": user}),
		stream=tasks_key(site),
		history_count=KEPT_COUNT,
		history_seconds=KEPT_SECONDS,
	)
