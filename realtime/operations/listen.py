"""`frappe-realtime listen`: prints the events of a site as they arrive, until Ctrl-C.

As a client, it connects to the sidecar as a Guest or with an API key, and prints what the server sends to such a client. As an
operator (`--user`), it reads the Redis of the bench and prints what is published to the rooms of a user. That needs
no credential of the user and checks no permission; it is for operators, who can read that Redis anyway.
"""

from __future__ import annotations

import asyncio
import json
import sys
from base64 import b64encode
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, TextIO

from frappe_realtime.contract.channels import EVENTS_CHANNEL
from frappe_realtime.contract.rooms import (
	DOC_ROOM,
	DOCTYPE_ROOM,
	OPEN_DOC_ROOM,
	SITE_ROOM,
	TASK_ROOM,
	WEBSITE_ROOM,
	room_subject,
	user_room,
)
from frappe_realtime.contract.users import GUEST

from ..access.sites import Sites
from ..bus.endpoint import RedisEndpoint
from ..bus.events import PublishedEvent
from ..bus.store import RedisStore, StoreDenied, StoreUnavailable
from ..bus.subscription import EventSubscriber
from ..config import Config
from .bench_checks import listening_address
from .findings import TIMEOUT
from .redis_failure import redis_failure
from .socket_client import TRANSPORTS, Address, ConnectionFailed, ConnectionRejected, SocketClient
from .terminal import discard_output, printable, run_until_signal

SUBSCRIBE_EVENTS = {
	DOC_ROOM: "doc_subscribe",
	OPEN_DOC_ROOM: "doc_open",
	DOCTYPE_ROOM: "doctype_subscribe",
	TASK_ROOM: "task_subscribe",
}
"""The event by which a client asks to join a room, by the prefix of the room."""

FIRST_DELAY, MAX_DELAY = 0.5, 5.0
"""Seconds before the first and the later attempts to connect again."""


class ListenError(Exception):
	"""Listening is not possible; the message says what was tried and what to do."""


class EventPrinter:
	"""Prints events, one line each.

	Args:
		output: Where to print.
		as_json: True for a JSON object with `time`, `event` and `message` (and `room`, if it is known) in each line; False
			for the three separated by two spaces.
		on_broken_pipe: Called when nothing reads the output any more.
	"""

	def __init__(self, output: TextIO, as_json: bool, on_broken_pipe: Callable[[], object]) -> None:
		self._output = output
		self._as_json = as_json
		self._on_broken_pipe = on_broken_pipe

	def print(self, event: str, arguments: Sequence[Any], room: str | None = None) -> None:
		"""Print one event; the message of one with several arguments is the list of them."""
		message = arguments[0] if len(arguments) == 1 else list(arguments) or None
		now = datetime.now().astimezone()
		try:
			print(self._line(now, event, message, room), file=self._output, flush=True)
		except BrokenPipeError:
			self._on_broken_pipe()

	def _line(self, now: datetime, event: str, message: Any, room: str | None) -> str:
		if self._as_json:
			values = {"time": now.isoformat(timespec="milliseconds"), "event": event, "message": message}
			if room is not None:
				values["room"] = room
			return json.dumps(values, default=_binary_as_text)
		time = now.replace(tzinfo=None).isoformat(" ", "milliseconds")
		text = json.dumps(message, default=_binary_as_text, ensure_ascii=False)
		return f"{time}  {printable(event)}  {printable(text)}"


def listen(
	config: Config, site: str | None, user: str | None, token: str | None, room: str | None, as_json: bool
) -> None:
	"""Print events until SIGINT or SIGTERM.

	Args:
		config: The configuration of the bench.
		site: The name of the site's folder; by default `default_site`, or the only site of the bench.
		user: Print what is published to this user, read from Redis.
		token: Connect with this API key and secret, `key:secret`. Without `user` and `token`, connect as a Guest.
		room: A further room, such as `doc:ToDo/1`.
		as_json: Print JSON also if the standard output is a terminal.

	Raises:
		SystemExit: With code 1 if listening is not possible or the server refuses the client.
	"""
	try:
		name = _find_site(config, site)
		run_until_signal(_listen(config, name, user, token, room, as_json))
	except ListenError as error:
		sys.exit(f"frappe-realtime: {error}")


async def _listen(
	config: Config, site: str, user: str | None, token: str | None, room: str | None, as_json: bool
) -> None:
	task = asyncio.current_task()
	assert task is not None

	def stop() -> None:
		discard_output()
		task.cancel()

	printer = EventPrinter(sys.stdout, as_json or not sys.stdout.isatty(), stop)
	if user:
		await _listen_to_redis(config, site, user, room, printer)
	else:
		await _listen_as_client(config, site, token, room, printer)


async def _listen_as_client(
	config: Config, site: str, token: str | None, room: str | None, printer: EventPrinter
) -> None:
	"""Connect to the sidecar, and connect again whenever the connection is lost."""
	subscription = _subscription(room) if room else None
	credential = {"Authorization": f"token {token}"} if token else {"Cookie": f"sid={GUEST}"}
	address = Address.of_sidecar(config, site, credential)
	where = listening_address(config)
	transports = TRANSPORTS["WebSocket" if "websocket" in config.realtime_transports else "polling"]
	connected_before = False
	delay = FIRST_DELAY
	while True:
		async with SocketClient(address, site, printer.print, transports) as client:
			try:
				await client.connect()
			except ConnectionRejected as error:
				raise ListenError(
					f"{site} refuses {'the API key' if token else 'a Guest'} on {where}: {error}"
					+ (f" ({error.reason})" if error.reason else "")
				) from error
			except ConnectionFailed as error:
				if not connected_before:
					raise ListenError(
						f"cannot connect to {site} on {where}: {error}. Start the sidecar (frappe-realtime serve), "
						"or run frappe-realtime doctor to find the cause"
					) from error
			else:
				connected_before, delay = True, FIRST_DELAY
				_note(
					f"listening to {site} on {where} as {'the user of the API key' if token else 'a Guest'}"
				)
				if subscription is not None:
					await client.emit(*subscription)
					_note(f"asked to join {room}; its events arrive only if this user may read it")
				await client.wait_closed()
				_note("the connection was lost; connecting again")
		await asyncio.sleep(delay)
		delay = min(delay * 2, MAX_DELAY)


async def _listen_to_redis(
	config: Config, site: str, user: str, room: str | None, printer: EventPrinter
) -> None:
	"""Print what is published to the rooms of `user`, without asking whether the user may read it."""
	rooms = {user_room(user), WEBSITE_ROOM}
	if user != GUEST:
		# Only System Users join it. Redis does not know who is one.
		rooms.add(SITE_ROOM)
	if room:
		rooms.add(room)

	def take(events: Sequence[PublishedEvent]) -> None:
		for event in events:
			if event.site in (None, site) and (event.room is None or event.room in rooms):
				printer.print(event.event, [event.message], event.room or "")

	endpoint = RedisEndpoint(config)
	await _check_redis(endpoint)
	subscriber = EventSubscriber(endpoint, take, {})
	subscriber.start()
	_note(f"reading {endpoint}: what is published to {', '.join(sorted(rooms))} of {site}")
	try:
		await asyncio.Event().wait()
	finally:
		await subscriber.stop()


async def _check_redis(endpoint: RedisEndpoint) -> None:
	store = RedisStore(endpoint)
	try:
		await asyncio.wait_for(store.subscribers(EVENTS_CHANNEL), TIMEOUT)
	except (StoreUnavailable, StoreDenied, asyncio.TimeoutError) as error:
		raise ListenError(redis_failure(endpoint, error)) from error
	finally:
		await store.close()


def _find_site(config: Config, site: str | None) -> str:
	sites = Sites(config)
	names = sites.names()
	known = ", ".join(names) or "none"
	name = site or config.default_site or (names[0] if len(names) == 1 else "")
	if not name:
		raise ListenError(f"name a site with --site; the bench {config.bench} has: {known}")
	if not sites.exists(name):
		raise ListenError(f"the bench {config.bench} has no site {name!r}; it has: {known}")
	return name


def _subscription(room: str) -> tuple[str, ...]:
	"""Return the event, with its arguments, by which a client asks to join `room`."""
	for prefix, event in SUBSCRIBE_EVENTS.items():
		if room.startswith(prefix):
			subject = (room.removeprefix(prefix),) if prefix == TASK_ROOM else room_subject(room)
			if subject and subject[0]:
				return (event, *[part for part in subject if part])
	raise ListenError(
		f"a client cannot ask to join {room!r}. The rooms are doc:DOCTYPE/NAME, open_doc:DOCTYPE/NAME, doctype:DOCTYPE "
		"and task_progress:ID; a client is in website, all and its user's room if it may be"
	)


def _note(text: str) -> None:
	print(f"frappe-realtime: {text}", file=sys.stderr, flush=True)


def _binary_as_text(value: Any) -> str:
	"""Return binary data of an event as Base64."""
	return b64encode(value).decode()
