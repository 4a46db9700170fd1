"""The HTTP request that opened a connection: parsed on arrival, then kept as bytes and parsed again when needed."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from urllib.parse import parse_qs

import httptools


class _HeadCollector:
	"""Collects what httptools parses from the head of a request."""

	def __init__(self) -> None:
		self.target = b""
		self.fields: list[tuple[bytes, bytes]] = []

	def on_url(self, url: bytes) -> None:
		self.target += url

	def on_header(self, name: bytes, value: bytes) -> None:
		self.fields.append((name, value))


def headers_of(fields: Sequence[tuple[bytes, bytes]]) -> dict[str, str]:
	"""Return headers by their lower-case names; values of a repeated header are joined (RFC 9110, section 5.3)."""
	headers: dict[str, str] = {}
	for name, value in fields:
		key = name.decode("latin-1").lower()
		text = value.decode("latin-1")
		if key in headers:
			text = headers[key] + ("; " if key == "cookie" else ", ") + text
		headers[key] = text
	return headers


def parse_query(target: bytes) -> dict[str, str]:
	"""Return the query parameters of a request target; the first value of a repeated one, "" for one without a value."""
	query = target.partition(b"?")[2].decode("latin-1")
	if "%" in query or "+" in query:
		return {key: values[0] for key, values in parse_qs(query, keep_blank_values=True).items()}
	# The queries of Engine.IO clients need no decoding, and decoding them is a tenth of a connect by polling.
	parameters: dict[str, str] = {}
	for parameter in query.split("&"):
		if parameter:
			key, _, value = parameter.partition("=")
			parameters.setdefault(key, value)
	return parameters


class Request:
	"""Method, target, headers and remote address of the request that opened a connection.

	Args:
		method: The HTTP method.
		target: Path and query, as received.
		headers: Header values by lower-case name.
		head: The request line and the headers as bytes, to be parsed again after `release`.
		remote: The address of the TCP peer; "" for a Unix socket.
	"""

	__slots__ = ("_headers", "_target", "head", "method", "peer", "proxied", "remote")

	def __init__(self, method: str, target: bytes, headers: dict[str, str], head: bytes, remote: str) -> None:
		self.method = method
		self.head = head
		self.peer = remote
		"""The address of the peer, which may be a proxy; empty for a Unix socket."""
		self.remote = remote
		"""The address of the client; the peer's until admission has read a trusted proxy's headers."""
		self.proxied = False
		"""True when the peer is a trusted proxy; set on admission."""
		self._target: bytes | None = target
		self._headers: dict[str, str] | None = headers

	def release(self) -> None:
		"""Drop the parsed headers, which take five times the memory of `head` and are seldom read again."""
		self._headers = None
		self._target = None

	@property
	def headers(self) -> Mapping[str, str]:
		"""Header values by lower-case name."""
		if self._headers is None:
			return headers_of(self._parse().fields)
		return self._headers

	@property
	def target(self) -> bytes:
		"""Path and query, as received."""
		if self._target is None:
			return self._parse().target
		return self._target

	@property
	def query(self) -> dict[str, str]:
		"""The query parameters, as `parse_query` returns them."""
		return parse_query(self.target)

	def _parse(self) -> _HeadCollector:
		collector = _HeadCollector()
		with suppress(httptools.HttpParserUpgrade):
			httptools.HttpRequestParser(collector).feed_data(self.head)
		return collector
