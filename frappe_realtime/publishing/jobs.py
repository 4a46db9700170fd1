"""Background jobs (RQ): the end of a job, and the end of its time."""

from __future__ import annotations

import frappe

from .process import outbox

FLUSH_SECONDS = 2.0


def flush_after_job() -> None:
	"""Wait up to two seconds for Redis to take what the job has published, and log what it did not. A hook (`after_job`).

	The process of a job ends without running exit handlers. A job that runs inside a request does not wait: its process
	goes on.
	"""
	if getattr(frappe.local, "request", None) is None:
		outbox().flush_at_end(FLUSH_SECONDS, "a job")


def is_job_timeout(error: Exception) -> bool:
	"""Return whether RQ raised `error` because the time of the job is over.

	RQ raises it from a signal handler, so it can surface anywhere, and every `except Exception` must let it pass.
	"""
	return type(error).__module__ == "rq.timeouts"
