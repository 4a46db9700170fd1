"""Adds to `progress` events the id of the browser page that started the work.

A page sends its id as the header `X-Frappe-Realtime-Page` with each request, and a job keeps the id of the page that
enqueued it in RQ's `meta`. `publish_progress` puts the id into its message, and only that page shows the progress bar
(public/js/progress_message.js).
"""

from __future__ import annotations

import re
from typing import Any

import frappe

from ..contract.http import PAGE_HEADER

PROGRESS = "progress"
"""The event of `publish_progress` (Frappe's name)."""

META_KEY = "frappe_realtime_page"
"""The key of RQ's `meta` under which a job keeps the page id."""

# The id comes from a browser and is sent to browsers.
PAGE_ID = re.compile(r"[0-9A-Za-z_-]{1,64}")


def requesting_page() -> str | None:
	"""Return the id of the page that made this request or enqueued this job; None if there is none."""
	if getattr(frappe.local, "request", None):
		page = frappe.get_request_header(PAGE_HEADER)
	else:
		page = _page_of_job()
	return page if page and PAGE_ID.fullmatch(page) else None


def _page_of_job() -> str | None:
	if not getattr(frappe.local, "job", None):
		return None
	from rq import get_current_job

	job = get_current_job()
	return job.meta.get(META_KEY) if job else None


def with_page(event: str, message: Any) -> Any:
	"""Return the message to publish: for the event `progress` a copy with the key `page`, otherwise the same object."""
	if event != PROGRESS or not isinstance(message, dict) or "page" in message:
		return message
	page = requesting_page()
	return {**message, "page": page} if page else message


def progress_key(message: Any) -> tuple[str, ...]:
	"""Return what tells the bars of one room apart: page and title. The bar of one page does not replace that of another."""
	return (str(message.get("page")), str(message.get("title"))) if isinstance(message, dict) else ()


def keep_page_in_jobs() -> None:
	"""Replace RQ's `Queue` in Frappe, so that jobs keep the id of the page that enqueued them.

	`frappe.enqueue` has no hook and no argument for it; it takes `Queue` from `frappe.utils.background_jobs`.
	"""
	from frappe.utils import background_jobs

	stock = background_jobs.Queue
	if getattr(stock, "keeps_page", False):
		return

	class Queue(stock):  # type: ignore[misc, valid-type]
		keeps_page = True

		def enqueue_call(self, *args: Any, meta: dict[str, Any] | None = None, **kwargs: Any) -> Any:
			page = requesting_page()
			if page:
				meta = {**(meta or {}), META_KEY: page}
			return super().enqueue_call(*args, meta=meta, **kwargs)

	background_jobs.Queue = Queue
