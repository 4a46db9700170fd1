"""Asks the sidecars a question.

The question is published through Redis, and each sidecar answers. The first answer counts, because each of them knows the clients of all.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any
from uuid import uuid4

from redis.exceptions import RedisError

from ..contract.channels import QUESTIONS_CHANNEL
from ..contract.redis_keys import answer_key
from ..errors import PresenceRefused, SidecarUnavailable

READY_WAIT = 0.5
"""Seconds for which a question waits for another answer, if the first is of a sidecar that has just started."""


def ask_sidecars(connect: Callable[[float], Any], site: str, question: dict[str, Any], timeout: float) -> Any:
	"""Return the answer of a sidecar.

	Args:
		connect: Returns a client of redis_queue with this timeout.
		site: The site that the question is about.
		question: The question, without `site` and `id` (`QUESTIONS_CHANNEL` in the contract).
		timeout: Seconds to wait for the answer.

	Raises:
		SidecarUnavailable: There is no answer.
		PresenceRefused: The question is about something that does not exist.
	"""
	id = uuid4().hex
	message = json.dumps({**question, "site": site, "id": id})
	client = connect(timeout + 1)
	try:
		if not client.publish(QUESTIONS_CHANNEL, message):
			raise SidecarUnavailable(
				f"no sidecar has subscribed to the channel {QUESTIONS_CHANNEL} of redis_queue. Does the sidecar run "
				"(frappe-realtime serve), and with the same redis_queue? `frappe-realtime doctor` says why not."
			)
		reply = _wait(client, answer_key(id), timeout)
	except RedisError as error:
		raise SidecarUnavailable(
			f"redis_queue did not take a question to the sidecar, or did not return the answer: {error}"
		) from error
	finally:
		client.close()
	if reply is None:
		raise SidecarUnavailable(
			f"no sidecar has answered within {timeout:g} s. Its log, or `frappe-realtime doctor`, says why."
		)
	if "error" in reply:
		raise PresenceRefused(reply["error"]["code"], reply["error"]["message"])
	return reply["answer"]


def _wait(client: Any, key: str, timeout: float) -> dict[str, Any] | None:
	"""Return the first answer of a sidecar that is ready, else the first one."""
	end = time.monotonic() + timeout
	first: dict[str, Any] | None = None
	while (left := end - time.monotonic()) > 0:
		found = client.blpop([key], timeout=max(0.01, left))
		if found is None:
			break
		answer: dict[str, Any] = json.loads(found[1])
		if answer.get("ready"):
			return answer
		if first is None:
			first = answer
			end = min(end, time.monotonic() + READY_WAIT)
	return first
