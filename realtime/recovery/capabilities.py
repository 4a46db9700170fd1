"""Detects which clients can recover: those that use Socket.IO's own JavaScript client.

A client that recovers is sent an offset as the last argument of each event. Other client libraries pass it on to the
listeners: as a superfluous argument (Java, Swift), as an error (a Python handler with one parameter raises) or as a list
in place of the message (Dart). docs/delivery.md has the table.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ..engine.request import Request

_JAVASCRIPT = re.compile(
	r"Mozilla/"  # browsers, Electron and web views
	r"|node-XMLHttpRequest|node\b|undici|Bun/|Deno/"
)


def can_recover(request: Request, auth: Mapping[str, Any], agents: Sequence[str]) -> bool:
	"""Return True if the client can recover.

	The client's own statement decides first, then `agents`, then the headers of the handshake.

	Args:
		request: The handshake; `recovery=1` or `recovery=0` in its query is the client's statement.
		auth: The payload of CONNECT; so is a boolean `recovery` in it.
		agents: Prefixes of User-Agents that can recover, or that cannot with a `!` before them (`realtime_recovery_agents`).
	"""
	if isinstance(auth.get("recovery"), bool):
		return bool(auth["recovery"])
	if b"recovery=" in request.target:
		return request.query.get("recovery") == "1"
	headers = request.headers
	agent = headers.get("user-agent", "")
	for prefix in agents:
		excluded = prefix.startswith("!")
		if agent.startswith(prefix.removeprefix("!")):
			return not excluded
	if agent:
		# React Native on Android uses the WebSocket of OkHttp with an Origin; Java clients send no Origin.
		return _JAVASCRIPT.match(agent) is not None or (agent.startswith("okhttp/") and "origin" in headers)
	# Node's `ws` sends no User-Agent. Starscream (Swift) and websocket-client (Python) send none either, but they do not
	# offer compression.
	return headers.get("sec-websocket-extensions", "") == "permessage-deflate; client_max_window_bits"
