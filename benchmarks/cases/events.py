"""Cases of events: the cost of a delivery and its latency, in rooms and with messages of several sizes."""

from __future__ import annotations

import time

from benchmarks.cases.common import Figures, Setup, percentile, settle
from benchmarks.load import Load
from benchmarks.publishers import Publisher
from benchmarks.servers import Server
from frappe_realtime.contract.rooms import SITE_ROOM, user_room

MAX_EVENT_BYTES = 5_000_000
"""Bytes of one event to all sockets of a room; larger products of room and message are left out."""

LATENCY_ROOM = 1000
"""Sockets in the room of the latency case."""


def in_flight(setup: Setup) -> Figures:
	"""Measure µs of server CPU per delivery when each event is published after all clients have received the last one."""
	figures: Figures = {}
	publisher, scale = setup.publisher(), setup.scale
	with setup.warm_server() as (server, load):
		for room in scale.rooms:
			load.connect(room)
			settle(server)
			for size in scale.sizes:
				if room * size <= MAX_EVENT_BYTES:
					deliveries = setup.deliveries(
						scale.deliveries if size < 10_000 else scale.deliveries // 4
					)
					cost = _deliver(server, load, publisher, room, size, deliveries)
					figures[f"in_flight_us_{room}_{size}"] = cost
			load.drop(keep=False)
			settle(server)
	return figures


def mixed(setup: Setup) -> Figures:
	"""Measure the same with a part of the clients on long-polling."""
	if not setup.column.has_polling:
		return {}
	scale = setup.scale
	with setup.warm_server() as (server, load):
		load.connect_mixed(scale.mixed, scale.staying)
		settle(server)
		deliveries = setup.deliveries(scale.deliveries // 4)
		return {"mixed_us": _deliver(server, load, setup.publisher(), scale.mixed, 100, deliveries)}


def _deliver(
	server: Server, load: Load, publisher: Publisher, room: int, size: int, deliveries: int
) -> float:
	"""Return µs of server CPU per delivery with one event in flight."""
	event = publisher.event(SITE_ROOM, size)
	events = max(10, deliveries // room)
	for count in (max(5, events // 10), events):
		load.reset()
		before = server.cpu()
		for number in range(1, count + 1):
			publisher.publish(event)
			load.wait_for(number * room)
	cost = (server.cpu() - before) / (events * room) * 1e6
	load.check_count(events * room)
	return cost


def saturated(setup: Setup) -> Figures:
	"""Measure deliveries when events are published faster than they can be delivered.

	The figures are µs of server CPU per delivery, deliveries per second, and the share of polls in which the load generator
	found no data. If that share is near 0, the load generator limits the result, and not the server.
	"""
	figures: Figures = {}
	publisher, scale = setup.publisher(), setup.scale
	with setup.warm_server() as (server, load):
		for room in scale.rooms:
			load.connect(room)
			settle(server)
			figures |= _saturate(server, load, publisher, room, setup.deliveries(scale.saturated))
			load.drop(keep=False)
			settle(server)
	return figures


def _saturate(server: Server, load: Load, publisher: Publisher, room: int, deliveries: int) -> Figures:
	chunk = min(50, max(10, 50_000 // room))
	events = max(chunk, deliveries // room)
	event = publisher.event(SITE_ROOM, 100)
	for rounds in (1, events // chunk):
		load.reset()
		before, started = server.cpu(), time.perf_counter()
		for _ in range(rounds):
			publisher.publish(event, chunk)
			load.poll(0)
		load.wait_for(rounds * chunk * room)
	total = rounds * chunk * room
	elapsed = time.perf_counter() - started
	cost = (server.cpu() - before) / total * 1e6
	empty = 100 * load.empty_polls / load.polls
	load.check_count(total)
	return {
		f"saturated_us_{room}": cost,
		f"saturated_per_second_{room}": total / elapsed,
		f"saturated_waited_percent_{room}": empty,
	}


def one_user(setup: Setup) -> Figures:
	"""Measure µs of server CPU per message to one user of many, with one message in flight."""
	publisher, users, messages = setup.publisher(), setup.scale.connects, setup.scale.user_messages
	with setup.warm_server() as (server, load):
		load.connect(users)
		settle(server)
		events = [publisher.event(user_room(f"user{number}@example.com"), 100) for number in range(users)]
		for count in (messages // 4, messages):
			load.reset()
			before = server.cpu()
			for number in range(1, count + 1):
				publisher.publish(events[number * 7 % users])
				load.wait_for(number)
		cost = (server.cpu() - before) / messages * 1e6
		load.check_count(messages)
		return {"one_user_us": cost}


def latency(setup: Setup) -> Figures:
	"""Measure the milliseconds from publish to receipt, at 10 events per second to a room."""
	with setup.warm_server() as (server, load):
		load.connect(LATENCY_ROOM)
		settle(server)
		publisher = setup.publisher()
		receipt_times(load, publisher, LATENCY_ROOM, 100, 1)
		values = receipt_times(load, publisher, LATENCY_ROOM, 100, setup.scale.seconds)
		load.check_count(len(values))
		return {"p50_ms": percentile(values, 0.5), "p99_ms": percentile(values, 0.99)}


def receipt_times(load: Load, publisher: Publisher, room: int, size: int, seconds: float) -> list[float]:
	"""Return the milliseconds from publish to receipt, for each event and each socket, at 10 events per second."""
	event = publisher.event(SITE_ROOM, size)
	values: list[float] = []
	load.reset()
	begun = time.perf_counter()
	for number in range(1, int(seconds * 10) + 1):
		arrivals: list[float] = []
		published = time.perf_counter()
		publisher.publish(event)
		load.wait_for(number * room, arrivals=arrivals)
		values.extend((moment - published) * 1e3 for moment in arrivals)
		while (left := begun + number / 10 - time.perf_counter()) > 0:
			load.poll(left)
	return values
