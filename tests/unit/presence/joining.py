"""What the tests of presence have in common: a place, and how a socket joins it."""

from __future__ import annotations

import asyncio
from typing import Any

from frappe_realtime.contract.presence import PRESENCE_JOIN
from realtime.socketio.namespace import ServerSocket
from tests.unit.presence.processes import SITE, Process

TASK = "doc:Task/1"
ROOM = "presence:doc:Task/1"
INTERVAL = 0.1


async def interval() -> None:
	"""Wait until all changes so far are sent."""
	await asyncio.sleep(2 * INTERVAL)


def join(
	process: Process, socket: ServerSocket, place: str = TASK, state: Any = None, ttl: Any = None
) -> Any:
	"""Join a place; return the answer."""
	(answer,) = process.send(socket, PRESENCE_JOIN, place, state, ttl)
	return answer


def code(answer: dict[str, Any]) -> str:
	return str(answer["error"]["code"])


def names(members: list[dict[str, Any]]) -> list[str]:
	return [member["full_name"] for member in members]


def online(*processes: Process) -> list[list[str]]:
	return [sorted(one.online.users(SITE)) for one in processes]
