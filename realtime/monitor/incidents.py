"""Incidents: refusals, limits that were reached, slow clients, errors of handlers, and outages of Redis or the web process.

An incident has a code and a sentence. It never contains a session id, a token or the payload of an event.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from time import time
from typing import Any, NamedTuple

from ..access.limit_source import Source
from ..access.limits import ClientLimits
from ..access.sites import Sites
from ..bus.subscription import EventSubscriber
from ..config import KEYS, Config
from ..handlers.executor import HandlerExecutor
from ..handlers.failure_log import origin_of
from ..handlers.queue import HandlerQueue
from ..signals import Signal
from ..socketio.errors import ConnectRefused
from ..web.frappe_client import FrappeClient

REFUSED, LIMIT, SLOW_CLIENT, HANDLER_ERROR, OUTAGE = (
	"refused",
	"limit",
	"slow_client",
	"handler_error",
	"outage",
)
"""The kinds."""

MAX_INCIDENTS = 200
"""Different incidents that are kept; the oldest is dropped first."""

MAX_TEXT = 200
"""Characters of a part of a sentence that a client may have chosen."""

SLOW_CLIENT_KEY = "realtime_max_unsent"


class IncidentKey(NamedTuple):
	"""What makes two incidents the same: then only the time and the number differ."""

	site: str
	kind: str
	code: str
	user: str
	address: str


@dataclass(slots=True)
class Incident:
	"""One incident, or several that are the same.

	Args:
		time: When it happened last, in seconds since 1970.
		message: A sentence about the last one.
		count: How often it has happened.
	"""

	time: float
	message: str
	count: int = 1


class Incidents:
	"""Keeps the latest incidents of this process.

	Args:
		config: The values of limits.
		sites: Tells a site of the bench from an invented namespace.
		limits: Reports refusals and limits.
		executor: Reports errors of handlers in Python, and dropped events.
		javascript_failed: Reports errors of handlers in JavaScript, with the app and the client.
		web: Reports outages of the web process.
		subscriber: Reports outages of Redis.
	"""

	def __init__(
		self,
		config: Config,
		sites: Sites,
		limits: ClientLimits,
		executor: HandlerExecutor,
		javascript_failed: Signal[[str, Source]],
		web: FrappeClient,
		subscriber: EventSubscriber,
	) -> None:
		self._config = config
		self._sites = sites
		self._incidents: OrderedDict[IncidentKey, Incident] = OrderedDict()
		limits.refused.connect(self._on_refused)
		limits.limit_reached.connect(self._on_limit)
		executor.handler_failed.connect(self._on_handler_failed)
		executor.event_dropped.connect(self._on_event_dropped)
		javascript_failed.connect(self._on_javascript_failed)
		web.outage_began.connect(self._on_web_outage)
		subscriber.lost.connect(lambda reason: self._on_redis_lost(str(subscriber.endpoint), reason))

	def of(self, site: str | None, count: int) -> list[list[Any]]:
		"""Return incidents, the newest first.

		Args:
			site: The site: its own incidents, and outages that concern all sites. None for all incidents of the bench.
			count: How many at most.

		Returns:
			Each as `[time, kind, code, message, user, address, count, site]`.
		"""
		found: list[list[Any]] = []
		for key, incident in reversed(self._incidents.items()):
			if site is None or key.site == site or (not key.site and key.kind == OUTAGE):
				found.append(
					[
						incident.time,
						key.kind,
						key.code,
						incident.message,
						key.user,
						key.address,
						incident.count,
						key.site,
					]
				)
				if len(found) == count:
					break
		return found

	def add(self, kind: str, code: str, message: str, source: Source) -> None:
		"""Add an incident, or count it if it has happened to the same client before."""
		key = IncidentKey(source.site, kind, code, source.user, source.address)
		incident = self._incidents.get(key)
		if incident is None:
			self._incidents[key] = Incident(time(), message)
			if len(self._incidents) > MAX_INCIDENTS:
				self._incidents.popitem(last=False)
			return
		incident.time, incident.message = time(), message
		incident.count += 1
		self._incidents.move_to_end(key)

	def _on_refused(self, namespace: str, refused: ConnectRefused, source: Source) -> None:
		site = namespace.removeprefix("/")
		if refused.data and refused.data.get("limit"):
			# The limit itself is an incident already.
			return
		message = f"A client was refused: {_printable(refused.message)}"
		if refused.reason:
			message += f" ({_printable(refused.reason)})"
		known = source._replace(site=site if self._sites.exists(site) else "")
		self.add(REFUSED, refused.code, f"{message}.", known)

	def _on_limit(self, key: str, source: Source) -> None:
		if key == SLOW_CLIENT_KEY:
			limit = getattr(self._config, key)
			message = f"A client did not read: more than {limit} bytes waited for it ({key}), and its connection was closed."
			self.add(SLOW_CLIENT, key, message, source)
		else:
			self.add(LIMIT, key, self._limit_message(key), source)

	def _limit_message(self, key: str) -> str:
		return f"The limit {key} was reached. It is {getattr(self._config, key)}: {KEYS[key].metadata['key'].help}."

	def _on_handler_failed(self, queue: HandlerQueue, event: str, error: BaseException) -> None:
		message = f"A handler of {_printable(event)!r} of the app {queue.app.name} failed with {type(error).__name__}"
		if origin := _origin_text(error):
			message += f" in {origin}"
		self.add(HANDLER_ERROR, type(error).__name__, f"{message}.", _source_of(queue))

	def _on_javascript_failed(self, app: str, source: Source) -> None:
		message = (
			f"A handler of {app or 'an app'} in JavaScript failed. The log of the sidecar has the error."
		)
		self.add(HANDLER_ERROR, "javascript_error", message, source)

	def _on_event_dropped(self, queue: HandlerQueue, event: str, key: str) -> None:
		message = f"{self._limit_message(key)} An event for the app {queue.app.name} was dropped."
		self.add(LIMIT, key, message, _source_of(queue))

	def _on_web_outage(self, site: str, reason: str) -> None:
		what = f"does not serve {site}" if site else "is unavailable"
		message = (
			f"The web process at {self._config.web_url} {what}: {_printable(reason)}. Clients wait for it."
		)
		self.add(OUTAGE, "web_unavailable", message, Source(site=site))

	def _on_redis_lost(self, endpoint: str, reason: str) -> None:
		message = f"{endpoint} is unavailable: {_printable(reason)}. No event arrives until it is back."
		self.add(OUTAGE, "redis_unavailable", message, Source())


def _source_of(queue: HandlerQueue) -> Source:
	return Source.of_socket(queue.socket._server_socket)._replace(socket="")


def _origin_text(error: BaseException) -> str:
	"""Return file and line that raised `error`; empty if they are unknown."""
	file, line = origin_of(error)
	return f"{file.rpartition('/')[2]}, line {line}" if file else ""


def _printable(text: str) -> str:
	short = text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]}…"
	return "".join(one if one.isprintable() else "\N{REPLACEMENT CHARACTER}" for one in short).rstrip(".")
