"""`frappe-realtime publish`: one event from the command line, without starting Frappe."""

from __future__ import annotations

import sys

from frappe_realtime.contract import SITE_ROOM, user_room

from ..access.sites import Sites
from ..bus.endpoint import safe_url
from ..config import EXIT_CONFIG, Config, ConfigError
from ..json_codec import dumps, loads


def publish(config: Config, site: str, event: str, message: str, user: str | None, room: str | None) -> None:
	"""Publish `event` with the JSON text `message` on `site`, to a user, a room, or all System Users.

	Raises `ConfigError` for an unknown site or a message that is no JSON; exits with 1 without Redis.
	"""
	import redis

	if not Sites(config).exists(site):
		known = ", ".join(Sites(config).names()) or "none"
		raise ConfigError(f"the bench {config.bench} has no site {site!r}; it has: {known}", EXIT_CONFIG)
	try:
		content = loads(message)
	except ValueError as error:
		raise ConfigError(f"the message is no JSON: {error}", EXIT_CONFIG) from error
	payload = {
		"event": event,
		"message": content,
		"room": user_room(user) if user else room or SITE_ROOM,
		"namespace": site,
	}
	url = config.redis_queue
	try:
		with redis.Redis.from_url(url, socket_timeout=5, socket_connect_timeout=5) as client:
			listening = client.publish("events", dumps(payload))
	except redis.RedisError as error:
		sys.exit(f"frappe-realtime: nothing was published: Redis at {safe_url(url)} (redis_queue): {error}")
	print(f"published {event!r} to {payload['room']!r} of {site}; {listening} realtime server(s) listening")
