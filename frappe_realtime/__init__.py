"""The Frappe app, which runs in Frappe's web, worker and bench processes.

The public names are imported at their first use, so that the sidecar can import `frappe_realtime.contract` without
importing Frappe.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
	from .contract.rooms import topic_room as topic_room
	from .errors import WebUnavailable as WebUnavailable
	from .handlers.registry import realtime as realtime
	from .handlers.socket import Socket as Socket
	from .handlers.sync_socket import SyncSocket as SyncSocket
	from .members import is_online as is_online
	from .members import online_users as online_users
	from .members import presence as presence
	from .publishing.publish import publish_progress as publish_progress
	from .publishing.publish import publish_realtime as publish_realtime
	from .publishing.publish import publish_task_progress as publish_task_progress
	from .publishing.publish import publish_to_all as publish_to_all
	from .publishing.publish import publish_to_doc as publish_to_doc
	from .publishing.publish import publish_to_doctype as publish_to_doctype
	from .publishing.publish import publish_to_room as publish_to_room
	from .publishing.publish import publish_to_user as publish_to_user
	from .publishing.publish import publish_to_website as publish_to_website

__version__ = "0.1.0"

_MODULES = {
	"Socket": "handlers.socket",
	"SyncSocket": "handlers.sync_socket",
	"WebUnavailable": "errors",
	"is_online": "members",
	"online_users": "members",
	"presence": "members",
	"publish_progress": "publishing.publish",
	"publish_realtime": "publishing.publish",
	"publish_task_progress": "publishing.publish",
	"publish_to_all": "publishing.publish",
	"publish_to_doc": "publishing.publish",
	"publish_to_doctype": "publishing.publish",
	"publish_to_room": "publishing.publish",
	"publish_to_user": "publishing.publish",
	"publish_to_website": "publishing.publish",
	"realtime": "handlers.registry",
	"topic_room": "contract.rooms",
}
"""The module of this package that each public name comes from."""


def __getattr__(name: str) -> Any:
	if name not in _MODULES:
		raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
	return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
	return sorted({*globals(), *_MODULES})
