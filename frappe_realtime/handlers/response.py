"""The response of the site to a handler's `frappe_request`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Response:
	"""An HTTP response, with the names that the browser's `fetch` uses.

	Attributes:
		status: The HTTP status.
		content: The body.
		headers: The headers, by lower-case name.
	"""

	status: int
	content: bytes = b""
	headers: Mapping[str, str] = field(default_factory=dict)

	@property
	def ok(self) -> bool:
		"""Whether the status is 200 to 299."""
		return 200 <= self.status < 300

	def text(self) -> str:
		"""Return the body, decoded as UTF-8."""
		return self.content.decode("utf-8", errors="replace")

	def json(self) -> Any:
		"""Return the body, parsed as JSON.

		Raises:
			ValueError: The body is not JSON.
		"""
		return json.loads(self.content)

	@property
	def message(self) -> Any:
		"""What the whitelisted method returned; None if the body is not a JSON object with the key `message`."""
		try:
			body = self.json()
		except ValueError:
			return None
		return body.get("message") if isinstance(body, dict) else None
