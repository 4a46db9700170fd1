"""The HTTP request a connection began with: parsed when it arrives, kept as its bytes, parsed again when asked for."""

from collections.abc import Mapping
from contextlib import suppress
from urllib.parse import parse_qs

import httptools


class _Head:
	"""Collects what httptools reports of a request's head."""

	def __init__(self) -> None:
		self.target = b""
		self.headers: dict[str, str] = {}

	def on_url(self, url: bytes) -> None:
		self.target += url

	def on_header(self, name: bytes, value: bytes) -> None:
		add_header(self.headers, name, value)


def add_header(headers: dict[str, str], name: bytes, value: bytes) -> None:
	"""Put one header in `headers` under its lower-case name; repeated ones are joined as RFC 9110, 5.3 says."""
	key = name.decode("latin-1").lower()
	text = value.decode("latin-1")
	known = headers.get(key)
	if known is None:
		headers[key] = text
	else:
		headers[key] = known + ("; " if key == "cookie" else ", ") + text


def parse_query(target: bytes) -> dict[str, str]:
	"""The query's parameters in a request's `target`; of a repeated one the first, of an empty one an empty string."""
	query = target.partition(b"?")[2].decode("latin-1")
	if "%" in query or "+" in query:
		return {key: values[0] for key, values in parse_qs(query, keep_blank_values=True).items()}
	# What clients of Engine.IO send needs no decoding, and decoding them is a tenth of a connect by polling.
	found: dict[str, str] = {}
	for parameter in query.split("&"):
		if parameter:
			key, _, value = parameter.partition("=")
			found.setdefault(key, value)
	return found


class Request:
	"""Method, target, headers and remote address of the request that opened a connection."""

	__slots__ = ("_headers", "_target", "head", "method", "proxied", "remote")

	def __init__(self, method: str, target: bytes, headers: dict[str, str], head: bytes, remote: str) -> None:
		self.method = method
		self.head = head
		self.remote = remote
		self.proxied = False
		"""Whether the peer is a proxy whose headers count; for who admits connections to say."""
		self._target: bytes | None = target
		self._headers: dict[str, str] | None = headers

	def release(self) -> None:
		"""Keep only the bytes: what was parsed takes five times their room and is seldom asked for again."""
		self._headers = None
		self._target = None

	@property
	def headers(self) -> Mapping[str, str]:
		"""Header values by lower-case name."""
		if self._headers is None:
			return self._parse().headers
		return self._headers

	@property
	def target(self) -> bytes:
		"""Path and query as they came."""
		if self._target is None:
			return self._parse().target
		return self._target

	@property
	def query(self) -> dict[str, str]:
		"""The query's parameters, as `parse_query` reads them."""
		return parse_query(self.target)

	def _parse(self) -> _Head:
		head = _Head()
		with suppress(httptools.HttpParserUpgrade):
			httptools.HttpRequestParser(head).feed_data(self.head)
		return head
