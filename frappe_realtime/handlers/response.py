"""The site's answer to a handler's `frappe_request`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Response:
	"""Status, headers and body; the names are those of the browser's `fetch`."""

	status: int
	content: bytes = b""
	headers: Mapping[str, str] = field(default_factory=dict)

	@property
	def ok(self) -> bool:
		"""Whether the status is 200 to 299."""
		return 200 <= self.status < 300

	def text(self) -> str:
		"""The body as text."""
		return self.content.decode("utf-8", errors="replace")

	def json(self) -> Any:
		"""The body as JSON; raises ValueError when it is none."""
		return json.loads(self.content)

	@property
	def message(self) -> Any:
		"""What a whitelisted method returned; None when the body says nothing of the kind."""
		try:
			body = self.json()
		except ValueError:
			return None
		return body.get("message") if isinstance(body, dict) else None
