"""`frappe-realtime publish`: publishes one event without starting Frappe."""

from __future__ import annotations

import asyncio
import sys

from frappe_realtime.contract.channels import EVENTS_CHANNEL
from frappe_realtime.contract.events import RESERVED_EVENTS
from frappe_realtime.contract.rooms import SITE_ROOM, user_room

from ..access.sites import Sites
from ..bus.endpoint import RedisEndpoint
from ..bus.store import RedisStore, StoreDenied, StoreUnavailable
from ..config import EXIT_CONFIG, Config, ConfigError
from ..json_codec import dumps, loads
from .redis_failure import redis_failure


def publish(config: Config, site: str, event: str, message: str, user: str | None, room: str | None) -> None:
	"""Publish one event, and print how many subscribers received it.

	The event goes to the Redis that the sidecar uses, Sentinels included, as a stock Frappe publishes it: it has no place
	in the site's history, so a client that is disconnected misses it.

	Args:
		config: The configuration of the bench.
		site: The name of the site's folder.
		event: The name of the event.
		message: The payload as JSON text.
		user: Send to all sockets of this user.
		room: Send to this room. Without `user` and `room`, to all System Users.

	Raises:
		ConfigError: The bench has no such site, Socket.IO reserves the event, or `message` is not JSON.
		SystemExit: With code 1 if Redis does not answer, or if no realtime server is subscribed.
	"""
	if not Sites(config).exists(site):
		known = ", ".join(Sites(config).names()) or "none"
		raise ConfigError(f"the bench {config.bench} has no site {site!r}; it has: {known}", EXIT_CONFIG)
	if event in RESERVED_EVENTS:
		raise ConfigError(f"Socket.IO reserves the event {event!r}, and no client would get it", EXIT_CONFIG)
	try:
		content = loads(message)
	except ValueError as error:
		raise ConfigError(f"the message is not JSON: {error}", EXIT_CONFIG) from error
	room = user_room(user) if user else room or SITE_ROOM
	payload = dumps({"event": event, "message": content, "room": room, "namespace": site})
	endpoint = RedisEndpoint(config)
	subscribers = asyncio.run(_publish(endpoint, payload))
	if not subscribers:
		sys.exit(
			f"frappe-realtime: {event!r} reached no realtime server: none is subscribed to the channel "
			f"{EVENTS_CHANNEL!r} of {endpoint}. Start the sidecar (frappe-realtime serve), or let it use this Redis."
		)
	print(f"published {event!r} to the room {room!r} of {site}; subscribers that received it: {subscribers}")


async def _publish(endpoint: RedisEndpoint, payload: str) -> int:
	"""Return the number of subscribers that received the event; exit with 1 if Redis does not do what it is asked."""
	store = RedisStore(endpoint)
	try:
		(subscribers,) = await store.publish_all(EVENTS_CHANNEL, [payload])
		return subscribers
	except (StoreUnavailable, StoreDenied) as error:
		sys.exit(f"frappe-realtime: nothing was published: {redis_failure(endpoint, error)}")
	finally:
		await store.close()
