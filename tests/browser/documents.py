"""The ToDos of a site, as Frappe's web process answers for them to pages in Chromium."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import parse_qs, urlsplit

from playwright.sync_api import BrowserContext, Route


class Documents:
	"""The ToDos.

	Args:
		window: The browser whose requests are answered.
	"""

	def __init__(self, window: BrowserContext) -> None:
		self.descriptions = {"T-1": "one"}
		"""The documents: the description of each by its name."""
		self.authorizations: set[str] = set()
		"""The headers Authorization of the requests; one that is missing is empty."""
		self.loads: list[str] = []
		"""The paths of the requests, in order."""
		window.route("**/api/**", self._answer)

	def _answer(self, route: Route) -> None:
		request = route.request
		url = urlsplit(request.url)
		self.loads.append(url.path)
		self.authorizations.add(request.headers.get("authorization", ""))
		parameters: dict[str, Any] = {key: value[0] for key, value in parse_qs(url.query).items()}
		parameters.update(request.post_data_json or {})
		if url.path.startswith("/api/method/"):
			method = url.path.removeprefix("/api/method/")
			route.fulfill(json={"message": self._call(method, parameters)})
		else:
			name = url.path.rpartition("/ToDo")[2].removeprefix("/")
			route.fulfill(json={"data": self._document(name) if name else self._rows(parameters)})

	def _call(self, method: str, parameters: dict[str, Any]) -> Any:
		if method == "frappe.client.get":
			return self._document(parameters["name"])
		if method == "frappe.client.get_count":
			return len(self.descriptions)
		if method == "frappe.client.get_list":
			return self._rows(parameters)
		return None

	def _document(self, name: str) -> dict[str, str]:
		return {"doctype": "ToDo", "name": name, "description": self.descriptions[name]}

	def _rows(self, parameters: dict[str, Any]) -> list[dict[str, str]]:
		fields = parameters["fields"]
		names = json.loads(fields) if isinstance(fields, str) else fields
		return [{field: self._document(name)[field] for field in names} for name in self.descriptions]
