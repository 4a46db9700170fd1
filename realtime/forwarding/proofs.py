"""How two sidecars prove to each other that they know the shared secret, without sending it.

The end that connects sends an HTTP request with both names. The other end answers with a random number (the challenge). The
first proves itself with an HMAC of both names, the challenge and a random number of its own; only then does the other end
prove itself in the same way. Nobody who does not know the secret is given a proof, and none can be used a second time, in the
other direction or between two other processes.
"""

from __future__ import annotations

import hmac
import secrets
from hashlib import sha256

NONCE_SIZE = 32
"""Bytes of a challenge."""

PROOF_SIZE = 32
"""Bytes of a proof."""

CONNECTS, ACCEPTS = b"connects", b"accepts"
"""Which end proves itself."""


def new_nonce() -> bytes:
	"""Return a new challenge."""
	return secrets.token_bytes(NONCE_SIZE)


def proof(secret: str, end: bytes, names: tuple[str, str], nonces: tuple[bytes, bytes]) -> bytes:
	"""Return the proof of one end.

	Args:
		secret: The shared secret.
		end: `CONNECTS` or `ACCEPTS`.
		names: The name of the process that connects, and of the one that accepts.
		nonces: The challenge of the one that connects, and of the one that accepts.
	"""
	message = b"\0".join(
		[b"frappe_realtime link 1", end, *(name.encode() for name in names), b"".join(nonces)]
	)
	return hmac.new(secret.encode(), message, sha256).digest()


def is_valid(
	received: bytes, secret: str, end: bytes, names: tuple[str, str], nonces: tuple[bytes, bytes]
) -> bool:
	"""Return True if `received` is the proof of `end`; never for an empty secret."""
	return bool(secret) and hmac.compare_digest(received, proof(secret, end, names, nonces))
