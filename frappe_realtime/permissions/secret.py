"""The shared secret, by which an endpoint knows that the sidecar asks."""

from __future__ import annotations

import hmac
from typing import Any

import frappe

from ..contract.http import SECRET_HEADER
from ..contract.redis_keys import SECRET_KEY
from ..publishing.connection import queue_connector

REDIS_TIMEOUT = 1.0
"""Seconds for which a request waits for the shared secret."""


def secret_matches() -> bool:
	"""Return whether the request carries the shared secret."""
	given = frappe.get_request_header(SECRET_HEADER) or ""
	client = queue_connector(frappe.conf)(REDIS_TIMEOUT)
	try:
		# The first process that needs the secret creates it. NX, so that no process replaces it.
		client.set(SECRET_KEY, frappe.generate_hash(length=32), nx=True)
		secret: Any = client.get(SECRET_KEY)
	finally:
		client.close()
	return bool(secret) and hmac.compare_digest(secret, given.encode())
