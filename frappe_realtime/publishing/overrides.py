"""The takeover: ours in the place of Frappe's publishing functions, on the sites that have the app.

One process serves many sites, so what is replaced is replaced once in the process, and each call decides by its site:
with the app ours, without it Frappe's own, untouched. Three functions of `frappe.realtime` are replaced:
`publish_realtime` and `publish_progress`, which `frappe` shows under the same names, and `emit_via_redis`, which all of
them end in. The last is looked up when it is called on every version; so a module that imported Frappe's
`publish_realtime` by name before us decides on the room as Frappe does, and is still written by us.
On versions that lack v17's `publish_to_*`, `frappe.realtime` gets ours.

`frappe.sessions.delete_session` and `frappe.clear_cache` are followed, not changed: they are how sessions end and
rules of permission change without any document event (access.py).

It happens when a request or a job meets a site with the app (hooks `before_request` and `before_job`), and at the
start of every `bench` command (commands.py), which covers console, execute, migrate, the scheduler and the workers.
A script of one's own that only calls `frappe.init` and `frappe.connect` publishes as Frappe does, unless it publishes
with `frappe_realtime.publish_realtime`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from functools import partial, wraps
from types import ModuleType
from typing import Any

import frappe
import frappe.realtime
import frappe.sessions

from ..install import is_installed
from ..permissions import access_events as access
from . import publish
from .process import outbox
from .progress import keep_page_in_jobs

NEWER = (
	"publish_to_user",
	"publish_to_doc",
	"publish_to_doctype",
	"publish_task_progress",
	"publish_to_website",
	"publish_to_all",
	"publish_to_room",
)
"""What `frappe.realtime` has on v17, and gets from us where it has not."""

_taken_over = False


def take_over() -> None:
	"""Replace Frappe's functions in this process; a second call does nothing."""
	global _taken_over
	if _taken_over:
		return
	_taken_over = True
	for name, ours in (
		("publish_realtime", publish.publish_realtime),
		("publish_progress", publish.publish_progress),
		("emit_via_redis", publish.emit),
	):
		_replace((frappe.realtime, frappe), name, partial(_by_site, ours=ours))
	for name in NEWER:
		if not hasattr(frappe.realtime, name):
			setattr(frappe.realtime, name, _by_site(_missing(name), getattr(publish, name)))
	keep_page_in_jobs()
	modules = [module for name in ("frappe.sessions", "frappe.auth") if (module := sys.modules.get(name))]
	_replace(modules, "delete_session", access.announcing_session_end)
	modules = [module for name in ("frappe", "frappe.cache_manager") if (module := sys.modules.get(name))]
	_replace(modules, "clear_cache", partial(_followed, follower=access.on_clear_doctype_cache))


def flush_after_job() -> None:
	"""Give the outbox a moment at the end of a job.

	The process of a job ends without running exit handlers, and the worker reports the job's end to the same
	Redis: while that is away the job cannot end anyhow. A job that runs inside a request is not waited for.
	"""
	if getattr(frappe.local, "request", None) is None and outbox().pending:
		outbox().flush(2.0)


def _replace(modules: Iterable[ModuleType], name: str, replacement: Callable[[Any], Any]) -> None:
	"""Replace a function where the first module has it, and where the others show the same one."""
	home, *others = modules
	stock = getattr(home, name)
	ours = replacement(stock)
	for module in (home, *others):
		if getattr(module, name, None) is stock:
			setattr(module, name, ours)


def _by_site(stock: Callable[..., Any], ours: Callable[..., Any]) -> Callable[..., Any]:
	@wraps(ours)
	def by_site(*args: Any, **kwargs: Any) -> Any:
		return (ours if is_installed() else stock)(*args, **kwargs)

	# Jobs are pickled by the name of their function, and that name must lead back here.
	by_site.__module__, by_site.__qualname__ = stock.__module__, stock.__qualname__
	return by_site


def _followed(stock: Callable[..., Any], follower: Callable[..., None]) -> Callable[..., Any]:
	@wraps(stock)
	def followed(*args: Any, **kwargs: Any) -> Any:
		result = stock(*args, **kwargs)
		if is_installed():
			follower(*args, **kwargs)
		return result

	return followed


def _missing(name: str) -> Callable[..., Any]:
	def missing(*args: Any, **kwargs: Any) -> Any:
		raise AttributeError(
			f"module 'frappe.realtime' has no attribute {name!r} in this version of Frappe, and frappe_realtime, "
			f"which adds it, is not installed on {getattr(frappe.local, 'site', None)}"
		)

	missing.__module__, missing.__qualname__ = "frappe.realtime", name
	return missing
