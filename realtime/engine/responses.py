"""HTTP responses of the engine."""

from __future__ import annotations

# The headers that Socket.IO clients send, and no others: a page of another origin must not be able to set the headers of a
# proxy.
PREFLIGHT_HEADERS = (
	b"Access-Control-Allow-Methods: GET, POST, OPTIONS\r\n"
	b"Access-Control-Allow-Headers: Authorization, Content-Type\r\n"
	b"Access-Control-Max-Age: 600\r\n"
)

REASON_PHRASES = {
	200: "OK",
	204: "No Content",
	400: "Bad Request",
	403: "Forbidden",
	404: "Not Found",
	413: "Payload Too Large",
	429: "Too Many Requests",
	431: "Request Header Fields Too Large",
	503: "Service Unavailable",
}


def response(status: int, body: bytes, headers: bytes, origin: str | None, keep_alive: bool) -> bytes:
	"""Return a response, with the headers that every response has.

	Args:
		status: The HTTP status, a key of `REASON_PHRASES`.
		body: The body; empty for 204.
		headers: Complete header lines that are added.
		origin: The Origin of the request, if it has one.
		keep_alive: False if the TCP connection is closed after it.
	"""
	parts = [f"HTTP/1.1 {status} {REASON_PHRASES[status]}\r\n".encode(), headers]
	if status != 204:
		parts.append(b"Content-Length: %d\r\n" % len(body))
	parts.append(b"Cache-Control: no-store\r\n")
	if origin:
		# Every origin may read these responses: the origin is checked when the client connects to a namespace.
		parts.append(
			f"Access-Control-Allow-Origin: {origin}\r\n"
			"Access-Control-Allow-Credentials: true\r\nVary: Origin\r\n".encode("latin-1")
		)
	if not keep_alive:
		parts.append(b"Connection: close\r\n")
	return b"".join([*parts, b"\r\n", body])
