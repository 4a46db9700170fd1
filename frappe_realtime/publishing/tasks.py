"""Announces the owner of a background task to the sidecars, which let only the owner follow it (unless configured).

A task is whatever has a `task_id`: a job that got one as an argument, or code in a request that publishes progress with
one. Its owner is the user under whom it runs. The announcement is a message of kind `task` on the access channel,
`{"site", "kind": "task", "task_id", "user"}`, which is also kept in the stream `frappe_realtime:{site}:tasks`. A process
sends it when such a job begins, or before the first progress of the task. The first announcement of a task counts.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import frappe

from ..contract.access import TASK_STARTED
from ..contract.channels import ACCESS_CHANNEL
from ..contract.redis_keys import tasks_key
from ..contract.rooms import TASK_ROOM, task_room
from .installed import is_installed
from .outbox import Message
from .process import outbox

KEPT_COUNT = 1000
KEPT_SECONDS = 24 * 60 * 60
"""Tasks of a site that the stream keeps, and the seconds for which it keeps them."""

_announced: dict[tuple[str, str], None] = {}
"""Site and task_id of the tasks that this process has announced, the newest last."""


def before_job(kwargs: Any) -> None:
	"""Announce the owner of the task that begins: the user who enqueued the job. A hook.

	Args:
		kwargs: The arguments of the job. Frappe leaves out what a hook has no parameter for.
	"""
	task_id = kwargs.get("task_id") if isinstance(kwargs, dict) else None
	if isinstance(task_id, str) and task_id and is_installed():
		outbox().send(task_announcements([task_room(task_id)]))


def task_announcements(rooms: Iterable[str]) -> list[Message]:
	"""Return the messages to send before an event to `rooms`: one for each task that is not announced yet."""
	messages = []
	for room in rooms:
		if not room.startswith(TASK_ROOM):
			continue
		site, task_id = frappe.local.site, room.removeprefix(TASK_ROOM)
		if (site, task_id) in _announced:
			continue
		_announced[site, task_id] = None
		if len(_announced) > KEPT_COUNT:
			# Several threads may do this at once: each finds a copy, and perhaps the same oldest task.
			_announced.pop(next(iter([*_announced])), None)
		messages.append(_announcement(site, task_id, frappe.session.user))
	return messages


def _announcement(site: str, task_id: str, user: str) -> Message:
	return Message(
		ACCESS_CHANNEL,
		json.dumps({"site": site, "kind": TASK_STARTED, "task_id": task_id, "user": user}),
		stream=tasks_key(site),
		history_count=KEPT_COUNT,
		history_seconds=KEPT_SECONDS,
	)
