"""Which page of the browser has started the work that is running now.

A page names itself in each of its requests; a job that it enqueues keeps the name in RQ's `meta`. So the message of
`publish_progress` can say in which page its bar belongs, and the others leave it alone (public/js/realtime.js).
"""

from __future__ import annotations

import re
from typing import Any

import frappe

from ..contract import PAGE_HEADER

META_KEY = "frappe_realtime_page"

# The name comes from the browser and goes back to browsers.
PAGE_NAME = re.compile(r"[0-9A-Za-z_-]{1,64}")


def asking_page() -> str | None:
	"""Return the name of the page that has made this request or enqueued this job; None where there is none."""
	if getattr(frappe.local, "request", None):
		page = frappe.get_request_header(PAGE_HEADER)
	else:
		page = _page_of_job()
	return page if page and PAGE_NAME.fullmatch(page) else None


def _page_of_job() -> str | None:
	if not getattr(frappe.local, "job", None):
		return None
	from rq import get_current_job

	job = get_current_job()
	return job.meta.get(META_KEY) if job else None


def with_page(event: str, message: Any) -> Any:
	"""Return the message to publish: of the event `progress`, one that names the page; else the same."""
	if event != "progress" or not isinstance(message, dict) or "page" in message:
		return message
	page = asking_page()
	return {**message, "page": page} if page else message


def keep_page_in_jobs() -> None:
	"""Let jobs remember the page that enqueued them, from now on in this process.

	`frappe.enqueue` has no hook and no argument for it; it takes `Queue` from its own module.
	"""
	from frappe.utils import background_jobs

	stock = background_jobs.Queue
	if getattr(stock, "keeps_page", False):
		return

	class Queue(stock):  # type: ignore[misc, valid-type]
		keeps_page = True

		def enqueue_call(self, *args: Any, meta: dict[str, Any] | None = None, **kwargs: Any) -> Any:
			page = asking_page()
			if page:
				meta = {**(meta or {}), META_KEY: page}
			return super().enqueue_call(*args, meta=meta, **kwargs)

	background_jobs.Queue = Queue
