"""Which clients take an offset as the last argument of each event: those of Socket.IO's own JavaScript library.

Only they can recover with it; to others one more argument is a nuisance (JavaScript, Swift, Java) or breaks them (a
Python handler with one parameter raises, a Dart one is given a list). What is known of each is in docs/delivery.md.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ..engine.request import Request

_JAVASCRIPT = re.compile(
	r"Mozilla/"  # browsers, and all that is made of one
	r"|node-XMLHttpRequest|node\b|undici|Bun/|Deno/"
)


def can_recover(request: Request, auth: Mapping[str, Any], configured: Sequence[str]) -> bool:
	"""Whether the client behind `request` can recover.

	Its own word counts most (`recovery` in `auth`, or as a parameter of the URL), then the list of
	`realtime_recovery_agents`, then what its handshake shows.
	"""
	if isinstance(auth.get("recovery"), bool):
		return bool(auth["recovery"])
	if b"recovery=" in request.target:
		return request.query.get("recovery") == "1"
	headers = request.headers
	agent = headers.get("user-agent", "")
	for beginning in configured:
		excluded = beginning.startswith("!")
		if agent.startswith(beginning.removeprefix("!")):
			return not excluded
	if agent:
		# React Native's WebSocket on Android is OkHttp's with an Origin; Java's clients send none.
		return _JAVASCRIPT.match(agent) is not None or (agent.startswith("okhttp/") and "origin" in headers)
	# `ws`, the WebSocket of Node, names itself nowhere; Starscream (Swift) and websocket-client (Python), which do not
	# either, offer no compression.
	return headers.get("sec-websocket-extensions", "") == "permessage-deflate; client_max_window_bits"
