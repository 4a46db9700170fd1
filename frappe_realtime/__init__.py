"""The Frappe app: all that runs inside Frappe's web, worker and bench processes.

The public names are loaded when they are first asked for, so that the sidecar can import
`frappe_realtime.rooms` without importing frappe.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
	from .errors import WebUnavailable as WebUnavailable
	from .publish import publish_progress as publish_progress
	from .publish import publish_realtime as publish_realtime
	from .publish import publish_task_progress as publish_task_progress
	from .publish import publish_to_all as publish_to_all
	from .publish import publish_to_doc as publish_to_doc
	from .publish import publish_to_doctype as publish_to_doctype
	from .publish import publish_to_room as publish_to_room
	from .publish import publish_to_user as publish_to_user
	from .publish import publish_to_website as publish_to_website
	from .registry import realtime as realtime
	from .socket import Socket as Socket
	from .sync_socket import SyncSocket as SyncSocket

__version__ = "0.1.0"

_HOME = {
	"Socket": "socket",
	"SyncSocket": "sync_socket",
	"WebUnavailable": "errors",
	"publish_progress": "publish",
	"publish_realtime": "publish",
	"publish_task_progress": "publish",
	"publish_to_all": "publish",
	"publish_to_doc": "publish",
	"publish_to_doctype": "publish",
	"publish_to_room": "publish",
	"publish_to_user": "publish",
	"publish_to_website": "publish",
	"realtime": "registry",
}
"""The module of this package that each public name comes from."""


def __getattr__(name: str) -> Any:
	if name not in _HOME:
		raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
	return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
	return sorted({*globals(), *_HOME})
