"""Reads the HTTP requests of one TCP connection with httptools, one at a time."""

from __future__ import annotations

import httptools

from .request import headers_of

MAX_HEAD = 32 * 1024
"""Most bytes in the head of a request; browsers and nginx stay below 16 KiB with all their cookies."""

SEPARATORS = len(": \r\n")
"""Bytes of a header besides its name and its value."""


class RequestReader:
	"""Collects what httptools parses, and calls `_on_head` of a subclass when the head is complete. The subclass resets the reader."""

	__slots__ = (
		"_body",
		"_body_size",
		"_complete",
		"_fields",
		"_has_head",
		"_head_size",
		"_headers",
		"_keep_alive",
		"_max_body",
		"_method",
		"_parser",
		"_pipelined",
		"_received",
		"_target",
	)

	def __init__(self) -> None:
		self._parser: httptools.HttpRequestParser | None = httptools.HttpRequestParser(self)
		RequestReader._reset(self)

	def _reset(self) -> None:
		"""Reset the state of a request."""
		self._method = b""
		self._target = b""
		self._fields: list[tuple[bytes, bytes]] = []
		self._headers: dict[str, str] = {}
		"""The headers by lower-case name, once the head is complete."""
		self._head_size = 0
		self._has_head = False
		# Joined as they arrive: a byte in a segment of its own would otherwise take the memory of an object.
		self._received = bytearray()
		self._body = bytearray()
		self._body_size = 0
		self._max_body = 0
		"""Bytes beyond which no body is kept; a subclass sets it when it wants one."""
		self._keep_alive = True
		self._complete = False
		self._pipelined = False

	def _feed(self, data: bytes) -> None:
		"""Parse bytes of the client.

		Raises:
			httptools.HttpParserUpgrade: The request has an Upgrade header; the argument is the offset of its end in `data`.
			httptools.HttpParserError: The request is invalid.
		"""
		if not self._has_head:
			self._received += data
		assert self._parser is not None
		self._parser.feed_data(data)

	def _on_head(self, path: bytes) -> None:
		"""Decide what is done with the request, whose head is complete; `path` is its target without the query."""
		raise NotImplementedError

	@property
	def received(self) -> bytes:
		"""All bytes of the current request; complete until its head is parsed."""
		return bytes(self._received)

	# -- callbacks of httptools

	def on_message_begin(self) -> None:
		self._pipelined = self._complete

	def on_url(self, url: bytes) -> None:
		self._head_size += len(url)
		self._target += url

	def on_header(self, name: bytes, value: bytes) -> None:
		self._head_size += len(name) + len(value) + SEPARATORS
		# Trailer fields after a chunked body are ignored (RFC 9110, section 6.5.1): no proxy has checked them.
		if not self._has_head and self._head_size <= MAX_HEAD:
			self._fields.append((name, value))

	def on_headers_complete(self) -> None:
		assert self._parser is not None
		if not self._has_head:
			self._headers, self._fields = headers_of(self._fields), []
			self._has_head = True
		self._method = self._parser.get_method()
		self._keep_alive = self._parser.should_keep_alive()
		self._on_head(self._target.partition(b"?")[0])

	def on_body(self, body: bytes) -> None:
		self._body_size += len(body)
		if self._body_size <= self._max_body:
			self._body += body

	def on_message_complete(self) -> None:
		self._complete = True
