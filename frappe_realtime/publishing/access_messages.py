"""Messages on the access channel, which a stream of each site keeps for clients that are away.

A sidecar that replays missed events must know the changes of access that the client has missed as well. So each message is
also appended to the stream `frappe_realtime:{site}:access`, in the step that publishes it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ..contract.channels import ACCESS_CHANNEL
from ..contract.redis_keys import access_key
from .outbox import Message

KEPT_COUNT = 2000
KEPT_SECONDS = 600
"""Messages of a site that the stream keeps, and the seconds for which it keeps them."""


def access_message(fields: Mapping[str, Any], *, expires: bool) -> Message:
	"""Return a message for the access channel and the stream of its site.

	Args:
		fields: `site`, `kind`, and the fields of that kind (permissions/access_events.py).
		expires: Whether the message is dropped after `realtime_pending_seconds` while Redis is away.
	"""
	return Message(
		ACCESS_CHANNEL,
		json.dumps(fields),
		stream=access_key(fields["site"]),
		history_count=KEPT_COUNT,
		history_seconds=KEPT_SECONDS,
		expires=expires,
	)
