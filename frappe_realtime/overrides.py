"""Overrides: replaces Frappe's publishing functions with those of this app, on the sites that have the app installed.

One process serves many sites, so a function is replaced once in the process, and each call decides by its site: with the
app installed it runs the override, otherwise Frappe's function. Replaced are three functions of `frappe.realtime`:
`publish_realtime` and `publish_progress`, which `frappe` shows under the same names, and `emit_via_redis`, which both
call in the end. On every version of Frappe the last is looked up when it is called. So an event that a module publishes
by a `publish_realtime` that it imported before the override gets its room from Frappe and is still written by the
outbox. If `frappe.realtime` lacks the `publish_to_*` functions of v17, those of this app are added.

`frappe.sessions.delete_session` and `frappe.clear_cache` are wrapped, not replaced: sessions end and permission rules
change there without any document event (permissions/access_events.py).

The overrides are installed when a request or a job runs on a site with the app (hooks `before_request` and
`before_job`), before a handler with `frappe_context=True`, and at the start of every `bench` command (commands.py), which includes
the console, `bench execute`, migrations, the scheduler and the workers. A script that only calls `frappe.init` and `frappe.connect` publishes as
Frappe does, unless it calls `frappe_realtime.publish_realtime`.
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

from .permissions import access_events
from .publishing import publish
from .publishing.installed import is_installed
from .publishing.progress import keep_page_in_jobs

V17_FUNCTIONS = (
	"publish_to_user",
	"publish_to_doc",
	"publish_to_doctype",
	"publish_task_progress",
	"publish_to_website",
	"publish_to_all",
	"publish_to_room",
)
"""Functions of `frappe.realtime` on v17, which are added on earlier versions."""

_installed = False


def install_overrides() -> None:
	"""Replace Frappe's functions in this process; a second call does nothing. A hook (`before_request`, `before_job`)."""
	global _installed
	if _installed:
		return
	_installed = True
	for name, override in (
		("publish_realtime", publish.publish_realtime),
		("publish_progress", publish.publish_progress),
		("emit_via_redis", publish.emit),
	):
		_replace((frappe.realtime, frappe), name, partial(_by_site, override=override))
	for name in V17_FUNCTIONS:
		if not hasattr(frappe.realtime, name):
			setattr(frappe.realtime, name, _by_site(_missing(name), getattr(publish, name)))
	keep_page_in_jobs()
	modules = [module for name in ("frappe.sessions", "frappe.auth") if (module := sys.modules.get(name))]
	_replace(modules, "delete_session", access_events.wrap_delete_session)
	modules = [module for name in ("frappe", "frappe.cache_manager") if (module := sys.modules.get(name))]
	_replace(modules, "clear_cache", partial(_followed_by, follower=access_events.on_clear_doctype_cache))
	access_events.on_first_request()


def _replace(modules: Iterable[ModuleType], name: str, make: Callable[[Any], Any]) -> None:
	"""Replace a function with `make(function)`: in the first module, and in the others if they show the same function."""
	home, *others = modules
	stock = getattr(home, name)
	replacement = make(stock)
	for module in (home, *others):
		if getattr(module, name, None) is stock:
			setattr(module, name, replacement)


def _by_site(stock: Callable[..., Any], override: Callable[..., Any]) -> Callable[..., Any]:
	"""Return a function that calls `override` on sites with the app, and `stock` on the others."""

	@wraps(override)
	def by_site(*args: Any, **kwargs: Any) -> Any:
		return (override if is_installed() else stock)(*args, **kwargs)

	# Jobs are pickled by the name of their function, and that name must lead back to this one.
	by_site.__module__, by_site.__qualname__ = stock.__module__, stock.__qualname__
	return by_site


def _followed_by(stock: Callable[..., Any], follower: Callable[..., None]) -> Callable[..., Any]:
	"""Return a function that calls `stock`, and then, on sites with the app, `follower` with the same arguments."""

	@wraps(stock)
	def followed(*args: Any, **kwargs: Any) -> Any:
		result = stock(*args, **kwargs)
		if is_installed():
			follower(*args, **kwargs)
		return result

	return followed


def _missing(name: str) -> Callable[..., Any]:
	"""Return a function that raises as Python does for an attribute that does not exist."""

	def missing(*args: Any, **kwargs: Any) -> Any:
		raise AttributeError(
			f"module 'frappe.realtime' has no attribute {name!r} in this version of Frappe, and frappe_realtime, "
			f"which adds it, is not installed on {getattr(frappe.local, 'site', None)}"
		)

	missing.__module__, missing.__qualname__ = "frappe.realtime", name
	return missing
