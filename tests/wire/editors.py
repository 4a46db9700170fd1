"""Pages that edit shared documents with the package @frappe-realtime/yjs, in a Node process: `client/tests/editors.mjs`."""

from __future__ import annotations

import itertools
import json
import queue
import subprocess
import threading
from typing import Any

from realtime.demo.model import User
from tests.wire.bench import APP_SITE, Bench
from tests.wire.conditions import PATIENCE, until
from tests.wire.nodejs import node
from tests.wire.sidecar import ROOT

DRIVER = ROOT / "client" / "tests" / "editors.mjs"
BUILT = ROOT / "client" / "yjs" / "dist" / "index.js"
TYPE = "Note"
"""The DocType of the documents."""


class Editors:
	"""A Node process with pages."""

	def __init__(self) -> None:
		self._process = subprocess.Popen(
			[node(), str(DRIVER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
		)
		self._ids = itertools.count(1)
		self._answers: dict[int, queue.Queue[dict[str, Any]]] = {}
		self._reader = threading.Thread(target=self._listen, daemon=True)
		self._reader.start()

	def _listen(self) -> None:
		assert self._process.stdout
		for line in self._process.stdout:
			answer = json.loads(line)
			self._answers[answer["id"]].put(answer)

	def do(self, command: str, patience: float = PATIENCE, **arguments: Any) -> Any:
		"""Run a command; return its result."""
		assert self._process.stdin
		id = next(self._ids)
		self._answers[id] = queue.Queue()
		self._process.stdin.write(json.dumps({"id": id, "do": command, **arguments}) + "\n")
		answer = self._answers[id].get(timeout=patience)
		del self._answers[id]
		assert "error" not in answer, answer["error"]
		return answer["result"]

	def open(
		self, bench: Bench, name: str, user: User | str = "", site: str = APP_SITE, **options: Any
	) -> Page:
		"""Open a page with a document."""
		# With polling, Node decides on the header Host itself.
		headers = bench.headers(user or bench.user(site), site, more={"X-Frappe-Site-Name": site})
		return self.open_at(bench.sidecar.url, headers, site, TYPE, name, **options)

	def open_at(
		self, url: str, headers: dict[str, str], site: str, doctype: str, name: str, **options: Any
	) -> Page:
		"""Open a page with a document, of any server."""
		page = f"page-{next(self._ids)}"
		self.do("open", page=page, url=url, site=site, headers=headers, doctype=doctype, name=name, **options)
		return Page(self, page)

	def converge(self, patience: float = PATIENCE) -> str:
		"""Wait until all pages have the same text, and return it."""
		until(lambda: len(self.do("texts")) == 1, "the same text in all pages", patience)
		(text,) = self.do("texts")
		return str(text)

	def close(self) -> None:
		"""End the process."""
		self._process.kill()
		self._process.wait()
		self._reader.join()
		assert self._process.stdin
		assert self._process.stdout
		self._process.stdin.close()
		self._process.stdout.close()


class Page:
	"""One page."""

	def __init__(self, editors: Editors, name: str) -> None:
		self._editors = editors
		self._name = name

	def do(self, command: str, **arguments: Any) -> Any:
		"""Run a command in the page; return its result."""
		return self._editors.do(command, page=self._name, **arguments)

	@property
	def state(self) -> dict[str, Any]:
		"""The state of the provider, its document, and the other cursors."""
		state: dict[str, Any] = self.do("state")
		return state

	def synced(self) -> Page:
		"""Wait until the page has what the others have."""
		until(lambda: self.state["synced"], f"a synced page; it is {self.state}")
		return self

	def insert(self, text: str, index: int = 0) -> Page:
		"""Insert text."""
		self.do("insert", index=index, text=text)
		return self

	def has(self, text: str) -> None:
		"""Wait until the page has exactly this text."""
		until(lambda: self.state["text"] == text, f"{text!r}; the page has {self.state['text']!r}")
