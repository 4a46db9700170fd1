"""The collector: counts events and handlers of watched sites, in bounded memory, and nothing else."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

from realtime.bus.events import read_event
from realtime.handlers.calls import CallReports, HandlerCalls
from realtime.json_codec import dumps
from realtime.monitor.collector import LEASE_SECONDS, MAX_NAME, MAX_NAMES, OTHER, ActivityCollector
from realtime.signals import Signal
from realtime.socketio.fanout import Fanout
from realtime.socketio.namespace import Namespaces
from tests.unit.socketio.fakes import SITE, add_socket
from tests.unit.virtual_time import in_virtual_time


class Executor:
	"""Keeps its observer."""

	def __init__(self) -> None:
		self.observer: Any = None
		self.handler_failed: Signal[Any] = Signal()

	def observe(self, observer: Any) -> None:
		self.observer = observer

	def unobserve(self) -> None:
		self.observer = None


class Setting:
	"""A fan-out with two sockets in the room `all`, and a collector."""

	def __init__(self) -> None:
		self.namespaces = Namespaces()
		for _ in range(2):
			add_socket(self.namespaces).join("all")
		self.namespace = self.namespaces[f"/{SITE}"]
		self.fanout = Fanout(self.namespaces)
		self.executor = Executor()
		self.javascript = CallReports()
		self.collector = ActivityCollector(self.fanout, self.executor, self.javascript)  # type: ignore[arg-type]

	def publish(self, event: str, room: str | None = "all", site: str | None = SITE) -> int:
		"""Deliver an event, and return its size."""
		payload = dumps({"event": event, "message": {}, "room": room, "namespace": site}).encode()
		self.fanout.deliver([read_event(payload)])
		return len(payload)


def queue(site: str = SITE) -> Any:
	"""Return a queue of the app `chat`."""
	return SimpleNamespace(socket=SimpleNamespace(site=site), app=SimpleNamespace(name="chat"))


@in_virtual_time
async def test_only_watched_sites_are_counted() -> None:
	it = Setting()
	add_socket(it.namespaces, site="two.test")
	it.publish("early")
	activity = it.collector.watch(SITE)
	size = it.publish("news")
	it.publish("news", "user:nobody")
	it.publish("other", site="two.test")
	assert activity.events.keys() == {"news"}
	news = activity.events["news"]
	assert (news.published, news.emitted, news.deliveries, news.to_all) == (2, 0, 2, True)
	assert news.published_bytes > size


@in_virtual_time
async def test_an_event_for_a_room_is_not_to_all() -> None:
	it = Setting()
	activity = it.collector.watch(SITE)
	it.publish("private", "user:ann@example.com")
	it.fanout.emit(it.namespace, ["chat"], "said", [1])
	assert not activity.events["private"].to_all
	it.publish("build_event", None, None)
	it.fanout.emit(it.namespace, None, "shouted", [1])
	assert activity.events["build_event"].to_all
	assert activity.events["shouted"].to_all


@in_virtual_time
async def test_events_of_handlers_and_of_other_processes() -> None:
	it = Setting()
	activity = it.collector.watch(SITE)
	it.fanout.emit(it.namespace, ["all"], 'say "it"', [b"binary"])
	it.fanout.send_local(f"/{SITE}", ["all"], encoded("said"), relayed=True)
	own, relayed = activity.events['say "it"'], activity.events["said"]
	assert (own.emitted, own.deliveries) == (1, 2)
	assert own.emitted_bytes > 6
	assert (relayed.emitted, relayed.emitted_bytes, relayed.deliveries) == (0, 0, 2)
	assert (it.namespace.emitted, it.namespace.deliveries) == (1, 4)


def encoded(event: str) -> Any:
	from realtime.engine import Encoded

	return Encoded(f'2/{SITE},["{event}",1]')


@in_virtual_time
async def test_an_event_that_is_sent_in_two_forms_is_counted_once() -> None:
	it = Setting()
	activity = it.collector.watch(SITE)
	members = list(it.namespace.members("all"))
	payload = dumps({"event": "list_update", "message": {}, "room": "doctype:ToDo", "namespace": SITE})
	event = read_event(payload.encode())
	it.fanout.send_events(it.namespace, members[:1], [event])
	it.fanout.send_events(it.namespace, members[1:], [event], repeated=True)
	assert (activity.events["list_update"].published, activity.events["list_update"].deliveries) == (1, 2)
	assert (it.namespace.published, it.namespace.deliveries) == (1, 2)


@in_virtual_time
async def test_names_are_bounded() -> None:
	it = Setting()
	activity = it.collector.watch(SITE)
	for number in range(MAX_NAMES + 50):
		it.publish(f"{number} {'x' * 1000}")
		it.executor.observer.handled(queue(), f"{number} {'x' * 1000}", 0.001)
	assert len(activity.events) == len(activity.handlers) == MAX_NAMES + 1
	assert activity.events[OTHER].published == 50
	assert activity.handlers["chat", OTHER].calls == 50
	assert max(map(len, activity.events)) == MAX_NAME


@in_virtual_time
async def test_handlers_and_their_errors() -> None:
	it = Setting()
	activity = it.collector.watch(SITE)
	it.executor.observer.handled(queue(), "say", 0.5)
	it.executor.observer.handled(queue("two.test"), "say", 0.5)
	it.executor.handler_failed.send(queue(), "say", ValueError("x" * 1000))
	(count,) = activity.handlers.values()
	assert (count.calls, count.seconds, count.errors) == (1, 0.5, 1)
	assert count.last_error == "ValueError: " + "x" * 200


@in_virtual_time
async def test_calls_that_another_process_reports() -> None:
	it = Setting()
	activity = it.collector.watch(SITE)
	assert it.javascript.sites == {SITE}
	it.javascript.reported.send(HandlerCalls(SITE, "chat", "say", 2, 0.5, 1, "x" * 1000))
	it.javascript.reported.send(HandlerCalls(SITE, "chat", "say", 3, 0.25, 0, ""))
	it.javascript.reported.send(HandlerCalls("two.test", "chat", "say", 1, 1, 0, ""))
	(count,) = activity.handlers.values()
	assert (count.calls, count.seconds, count.errors, count.last_error) == (5, 0.75, 1, "x" * 200)


@in_virtual_time
async def test_another_process_reports_only_while_a_site_is_watched() -> None:
	it = Setting()
	changes = []
	it.javascript.sites_changed.connect(lambda: changes.append(set(it.javascript.sites)))
	it.collector.watch(SITE)
	it.collector.watch(SITE)
	it.collector.watch("two.test")
	await asyncio.sleep(LEASE_SECONDS)
	it.collector.expire()
	assert changes == [{SITE}, {SITE, "two.test"}, set()]


@in_virtual_time
async def test_a_site_is_forgotten_when_its_lease_ends() -> None:
	it = Setting()
	first = it.collector.watch(SITE)
	await asyncio.sleep(LEASE_SECONDS - 1)
	it.collector.expire()
	assert it.collector.watch(SITE) is first
	await asyncio.sleep(LEASE_SECONDS + 1)
	it.collector.expire()
	it.publish("late")
	assert first.events == {}
	assert it.executor.observer is None
	assert it.fanout._observer is None
	assert it.collector.watch(SITE) is not first
