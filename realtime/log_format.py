"""The two formats of the log: text for people, and JSON lines for programs."""

from __future__ import annotations

import json
import logging
from datetime import datetime, timezone

TEXT_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"

FIELDS = ("site", "user", "socket")
"""Fields of a JSON line about one client, where they are known. A session id, a token or a payload is never one of them."""


def log_fields(site: str = "", user: str = "", socket: str = "") -> dict[str, str]:
	"""Return the argument `extra` of a log call about one client.

	Args:
		site: The site; empty if it is unknown.
		user: The user; empty if it is unknown.
		socket: The Socket.IO id of the socket, which is no secret; empty if there is none.
	"""
	return {"site": site, "user": user, "socket": socket}


class JSONFormatter(logging.Formatter):
	"""Formats a record as one line with a JSON object.

	The object is `{"time", "level", "logger", "message"}`, with `FIELDS` where they are known, and `traceback` for an
	exception. `time` is in ISO 8601, UTC.

	Args:
		worker: The number of this process among the workers of the host, which is added as `worker`; 0 for none.
	"""

	def __init__(self, worker: int = 0) -> None:
		super().__init__()
		self._worker = worker

	def format(self, record: logging.LogRecord) -> str:
		"""Return the line, without a line feed."""
		values: dict[str, object] = {
			"time": datetime.fromtimestamp(record.created, timezone.utc).isoformat(timespec="milliseconds"),
			"level": record.levelname,
			"logger": record.name,
			"message": record.getMessage(),
		}
		if self._worker:
			values["worker"] = self._worker
		for name in FIELDS:
			if value := getattr(record, name, ""):
				values[name] = str(value)
		if record.exc_info:
			values["traceback"] = self.formatException(record.exc_info)
		if record.stack_info:
			values["stack"] = record.stack_info
		return json.dumps(values, ensure_ascii=False, default=str)


def set_up_log(level: str, format: str, worker: int = 0) -> None:
	"""Write the log to the standard error; replaces an earlier set-up.

	Args:
		level: The least level that is written, as `logging` names it.
		format: `text` or `json`.
		worker: The number of this process among the workers of the host, which each line names; 0 for none.
	"""
	handler = logging.StreamHandler()
	text = TEXT_FORMAT.replace("%(message)s", f"worker {worker}: %(message)s") if worker else TEXT_FORMAT
	handler.setFormatter(JSONFormatter(worker) if format == "json" else logging.Formatter(text))
	logging.basicConfig(level=level, handlers=[handler], force=True)
