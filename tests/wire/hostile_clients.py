"""What hostile clients send: the namespace of their packets, and the request of a WebSocket handshake."""

from __future__ import annotations

from tests.wire.bench import APP_SITE
from tests.wire.raw import HANDSHAKE

NAMESPACE = f"/{APP_SITE},"


def upgrade(*headers: bytes) -> bytes:
	"""Return the request of a WebSocket handshake, with more headers."""
	lines = [
		f"GET {HANDSHAKE}websocket HTTP/1.1".encode(),
		f"Host: {APP_SITE}".encode(),
		b"Connection: Upgrade",
		b"Upgrade: websocket",
		b"Sec-WebSocket-Version: 13",
		b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
		*headers,
	]
	return b"\r\n".join(lines) + b"\r\n\r\n"
