"""What the commands say when Redis does not do what they ask."""

from __future__ import annotations

from ..bus.endpoint import RedisEndpoint
from ..bus.store import StoreDenied
from .findings import TIMEOUT


def redis_failure(endpoint: RedisEndpoint, error: Exception, reason: str = "") -> str:
	"""Return what Redis has done, and what to do about it.

	Args:
		endpoint: redis_queue.
		error: What a command to it has raised.
		reason: What is known of the cause if the error has no text.
	"""
	denied = StoreDenied(reason) if not str(error) and reason.startswith("NOPERM") else error
	if isinstance(denied, StoreDenied):
		return f"{endpoint} refuses a command: {denied}. {denied.advice}"
	cause = str(error) or reason or f"no answer within {TIMEOUT:g} s"
	return (
		f"{endpoint} does not answer: {cause}. Start Redis, or correct its address in common_site_config.json "
		"or, where it is set, FRAPPE_REDIS_QUEUE in the environment"
	)
