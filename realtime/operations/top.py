"""`frappe-realtime top`: a live view of all sites of the bench.

It asks the sidecars over the channel on which they ask each other, as an operator who can use the Redis of the bench. So
it needs no endpoint and no credential of a user, and shows the sidecars of all hosts.
"""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
import sys
from itertools import count
from time import monotonic, time
from types import TracebackType
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from frappe_realtime.contract.channels import SIDECARS_CHANNEL

from ..bus.endpoint import RedisEndpoint
from ..bus.store import RedisStore, StoreDenied, StoreUnavailable
from ..bus.subscription import EventSubscriber
from ..cluster import message_reader, message_writer, messages
from ..config import Config
from ..monitor import merge
from ..monitor.bench import ANSWER_TIMEOUT, BENCH, INTERVAL
from ..monitor.process import Part
from .findings import TIMEOUT
from .redis_failure import redis_failure
from .terminal import discard_output, printable, run_until_signal

PLAIN_WIDTH = 160
"""Characters of a line of the plain output."""

MAX_ROWS = 12
"""Events and incidents that are shown."""


class TopError(Exception):
	"""Nothing can be shown; the message says what was tried and what to do."""


class Sidecars:
	"""Asks all sidecars of the bench. An async context manager: it subscribes to their channel.

	Args:
		config: The configuration of the bench.
	"""

	def __init__(self, config: Config) -> None:
		self._endpoint = RedisEndpoint(config)
		self._store = RedisStore(self._endpoint)
		self._subscribed = asyncio.Event()
		self._subscriber = EventSubscriber(
			self._endpoint, lambda events: None, {SIDECARS_CHANNEL: self._take}, [self._subscribed.set]
		)
		self._id = secrets.token_urlsafe(12)
		self._numbers = count(1)
		self._request = ""
		self._replies: asyncio.Queue[Part] = asyncio.Queue()

	async def __aenter__(self) -> Sidecars:
		# Its log lines would be written into the view; `ask` says why there is no answer.
		logging.getLogger("realtime.bus").setLevel(logging.CRITICAL)
		self._subscriber.start()
		return self

	async def __aexit__(
		self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
	) -> None:
		await self._subscriber.stop()
		await self._store.close()

	async def ask(self) -> list[Part]:
		"""Return what the sidecars answer within `ANSWER_TIMEOUT`; if none does, the first answer within `TIMEOUT`.

		Raises:
			TopError: Redis does not answer, or no sidecar does.
		"""
		self._request = str(next(self._numbers))
		self._replies = asyncio.Queue()
		request = message_writer.request(self._id, self._request, BENCH, {})
		try:
			await asyncio.wait_for(self._subscribed.wait(), TIMEOUT)
			(receivers,) = await asyncio.wait_for(
				self._store.publish_all(SIDECARS_CHANNEL, [request]), TIMEOUT
			)
		except (StoreUnavailable, StoreDenied, asyncio.TimeoutError) as error:
			raise TopError(redis_failure(self._endpoint, error, self._subscriber.reason)) from error
		# This process is one of them.
		parts = await self._collect(receivers - 1)
		if not parts:
			raise TopError(
				f"no sidecar answers on the channel {SIDECARS_CHANNEL} of {self._endpoint}. "
				"Start it (frappe-realtime serve), or restart it if it is of an earlier version"
			)
		return parts

	async def _collect(self, expected: int) -> list[Part]:
		parts: list[Part] = []
		asked = monotonic()
		while len(parts) < expected:
			# Without any answer there is nothing to show: a sidecar that is busy is waited for.
			left = asked + (ANSWER_TIMEOUT if parts else TIMEOUT) - monotonic()
			if left <= 0:
				break
			try:
				parts.append(await asyncio.wait_for(self._replies.get(), left))
			except asyncio.TimeoutError:
				break
		return parts

	def _take(self, payload: bytes) -> None:
		"""Keep a reply to the last request."""
		# The channel also has the events of handlers, which need not be decoded.
		if b" reply " not in payload[:30]:
			return
		try:
			reply = message_reader.read(payload)
		except (ValueError, TypeError):
			return
		if (
			isinstance(reply, messages.Reply)
			and (reply.to, reply.id) == (self._id, self._request)
			and isinstance(reply.answer, dict)
		):
			self._replies.put_nowait(reply.answer)


def top(config: Config, once: bool, as_json: bool) -> None:
	"""Show the state of all sites every `INTERVAL` seconds, until SIGINT or SIGTERM.

	On a terminal it is a table that updates itself, elsewhere one block of text each time.

	Args:
		config: The configuration of the bench.
		once: Show it once.
		as_json: Print a JSON object (`merge.bench`) in one line each time.

	Raises:
		SystemExit: With code 1 if nothing can be shown at the start.
	"""
	try:
		run_until_signal(_top(config, once, as_json))
	except TopError as error:
		sys.exit(f"frappe-realtime: {error}")
	except BrokenPipeError:
		discard_output()


async def _top(config: Config, once: bool, as_json: bool) -> None:
	async with Sidecars(config) as sidecars:
		state = merge.bench(await sidecars.ask(), time(), INTERVAL)
		if not as_json and not once and sys.stdout.isatty():
			await _show_live(sidecars, state)
			return
		console = Console(width=PLAIN_WIDTH, no_color=True, highlight=False)
		while True:
			if as_json:
				print(json.dumps(state), flush=True)
			else:
				console.print(render(state, plain=True))
				sys.stdout.flush()
			if once:
				return
			await asyncio.sleep(INTERVAL)
			state = merge.bench(await sidecars.ask(), time(), INTERVAL)


async def _show_live(sidecars: Sidecars, state: dict[str, Any]) -> None:
	"""Update the screen until the task is cancelled; an outage is shown, and does not end the command."""
	with Live(render(state), screen=True, auto_refresh=False) as live:
		while True:
			live.refresh()
			await asyncio.sleep(INTERVAL)
			try:
				state = merge.bench(await sidecars.ask(), time(), INTERVAL)
				live.update(render(state))
			except TopError as error:
				live.update(Group(Text(printable(str(error)), style="bold red"), render(state)))


def render(state: dict[str, Any], plain: bool = False) -> RenderableType:
	"""Return the state of the bench (`merge.bench`) as tables; `plain` without frames."""
	processes, latency = state["processes"], state["latency_ms"]
	sockets = sum(site["totals"]["sockets"] for site in state["sites"])
	head = Text(
		f"{len(processes)} sidecars, {len(state['sites'])} sites, {sockets} sockets; "
		f"publish to write {latency['p50']:g} ms (median), {latency['p99']:g} ms (99 %)",
		style="bold",
	)
	parts: list[RenderableType] = [head, _sites(state, plain), _processes(state, plain)]
	if state["events"]:
		parts.append(_events(state, plain))
	if state["incidents"]:
		parts.append(_incidents(state, plain))
	return Group(*parts)


def _table(plain: bool, *columns: str) -> Table:
	"""Return an empty table; columns are right-aligned unless their name begins with `<`."""
	table = Table(box=None, pad_edge=False) if plain else Table(expand=True)
	for column in columns:
		name = column.removeprefix("<")
		table.add_column(name, justify="left" if name != column else "right", overflow="ellipsis")
	return table


def _row(table: Table, *values: object, style: str = "") -> None:
	# As text and not as markup: names may contain brackets.
	table.add_row(*[Text(printable(str(value))) for value in values], style=style)


def _sites(state: dict[str, Any], plain: bool) -> Table:
	table = _table(
		plain,
		"<site",
		"users",
		"guests",
		"sockets",
		"websocket",
		"polling",
		"rooms",
		"events/s",
		"deliveries/s",
		"from clients/s",
	)
	for site in sorted(state["sites"], key=lambda site: -site["totals"]["sockets"]):
		totals, rates = site["totals"], site["rates"]
		_row(
			table,
			site["site"],
			*[totals[key] for key in ("users", "guests", "sockets", "websocket", "polling", "rooms")],
			*[f"{rates[key]:.1f}" for key in ("events", "deliveries", "client_events")],
		)
	return table


def _processes(state: dict[str, Any], plain: bool) -> Table:
	table = _table(
		plain, "<sidecar", "pid", "<version", "sockets", "waiting", "memory", "CPU", "<Redis", "<web"
	)
	for one in state["processes"]:
		_row(
			table,
			one["host"],
			one["pid"],
			one["version"],
			one["sockets"],
			one["clients_waiting"],
			f"{one['memory'] / 1e6:.0f} MB",
			f"{one['cpu'] * 100:.1f} %",
			one["redis"],
			one["web"],
			style="" if one["redis"] == one["web"] == "ok" else "red",
		)
	return table


def _events(state: dict[str, Any], plain: bool) -> Table:
	table = _table(plain, "<event", "<site", "count", "bytes", "deliveries", "<to all users")
	for one in state["events"][:MAX_ROWS]:
		_row(
			table,
			one["event"],
			one["site"],
			one["count"],
			one["bytes"],
			one["deliveries"],
			"yes" if one["to_all"] else "",
		)
	return table


def _incidents(state: dict[str, Any], plain: bool) -> Table:
	table = _table(plain, "ago", "<kind", "<site", "<user", "times", "<what happened")
	for one in state["incidents"][:MAX_ROWS]:
		_row(
			table,
			f"{max(0, state['time'] - one['time']):.0f} s",
			one["kind"],
			one["site"],
			one["user"] or one["address"],
			one["count"],
			one["message"],
		)
	return table
