"""What is measured: each case drives one server and returns named figures."""

from __future__ import annotations

import json
import socket
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.load import MARK, SITE, Load
from benchmarks.servers import Server

Figures = dict[str, float]


class Publisher:
	"""Writes events to Redis as Frappe's web process does, over one raw connection."""

	def __init__(self, port: int) -> None:
		self.socket = socket.create_connection(("127.0.0.1", port))
		self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

	@staticmethod
	def command(room: str, size: int) -> bytes:
		"""The PUBLISH of an event whose message fills about `size` bytes."""
		message = {"mark": MARK.decode(), "text": "x" * max(0, size - 30)}
		payload = json.dumps({"event": "bench", "message": message, "room": room, "namespace": SITE}).encode()
		return b"*3\r\n$7\r\nPUBLISH\r\n$6\r\nevents\r\n$%d\r\n%b\r\n" % (len(payload), payload)

	def publish(self, commands: bytes, count: int = 1) -> None:
		"""Send `commands` and read their answers."""
		self.socket.sendall(commands)
		answers = 0
		while answers < count:
			answers += self.socket.recv(1 << 16).count(b"\r\n")


@dataclass(slots=True)
class Scale:
	"""How much of each case is run."""

	sizes: tuple[int, ...] = (100, 1000, 10_000)
	rooms: tuple[int, ...] = (100, 1000, 5000)
	deliveries: int = 100_000
	saturated: int = 200_000
	user_messages: int = 10_000
	seconds: float = 10.0
	connects: int = 5000
	polling: int = 2000
	staying: int = 200
	"""Of 1,000 clients, how many stay with long-polling in the case with both."""
	waves: int = 4


def percentile(values: list[float], share: float) -> float:
	"""The value below which `share` of `values` lie."""
	ordered = sorted(values)
	return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def in_flight(
	server: Server, load: Load, publisher: Publisher, room: int, size: int, deliveries: int
) -> float:
	"""µs of server CPU for a delivery when the next event waits until all have the last."""
	command = publisher.command("all", size)
	events = max(10, deliveries // room)
	for measured in (False, True):
		load.reset()
		before = server.cpu()
		count = events if measured else max(5, events // 10)
		for number in range(1, count + 1):
			publisher.publish(command)
			load.wait_for(number * room)
	cost = (server.cpu() - before) / (events * room) * 1e6
	load.check(events * room)
	return cost


def saturated(
	server: Server, load: Load, publisher: Publisher, room: int, size: int, deliveries: int
) -> Figures:
	"""µs of server CPU for a delivery, and deliveries a second, when events come faster than they can be delivered.

	And the share of looks at which the load generator found nothing: near 0 it is what limits the server.
	"""
	chunk = min(50, max(10, 50_000 // room))
	events = max(chunk, deliveries // room)
	commands = publisher.command("all", size) * chunk
	for rounds in (1, events // chunk):
		load.reset()
		before, started = server.cpu(), time.perf_counter()
		for _ in range(rounds):
			publisher.publish(commands, chunk)
			load.turn(0)
		load.wait_for(rounds * chunk * room)
	total = rounds * chunk * room
	elapsed = time.perf_counter() - started
	cost = (server.cpu() - before) / total * 1e6
	waited = 100 * load.waited / load.looks
	load.check(total)
	return {
		f"saturated_us_{room}": cost,
		f"saturated_per_second_{room}": total / elapsed,
		f"saturated_waited_percent_{room}": waited,
	}


def one_user(server: Server, load: Load, publisher: Publisher, messages: int, users: int) -> float:
	"""µs of server CPU for a message to one user among `users`, one in flight."""
	commands = [publisher.command(f"user:user{number}@example.com", 100) for number in range(users)]
	for count in (messages // 4, messages):
		load.reset()
		before = server.cpu()
		for number in range(1, count + 1):
			publisher.publish(commands[number * 7 % users])
			load.wait_for(number)
	cost = (server.cpu() - before) / messages * 1e6
	load.check(messages)
	return cost


def times_of_receipt(load: Load, publisher: Publisher, room: int, size: int, seconds: float) -> list[float]:
	"""Milliseconds from publish to receipt at 10 events a second, of each event at each socket of the room."""
	command = publisher.command("all", size)
	values: list[float] = []
	load.reset()
	begun = time.perf_counter()
	for number in range(1, int(seconds * 10) + 1):
		arrivals: list[float] = []
		published = time.perf_counter()
		publisher.publish(command)
		load.wait_for(number * room, arrivals=arrivals)
		values.extend((moment - published) * 1e3 for moment in arrivals)
		while (left := begun + number / 10 - time.perf_counter()) > 0:
			load.turn(left)
	return values


def latency(load: Load, publisher: Publisher, room: int, seconds: float) -> Figures:
	"""The median and the 99th percentile of these times."""
	values = times_of_receipt(load, publisher, room, 100, seconds)
	load.check(len(values))
	return {"p50_ms": percentile(values, 0.5), "p99_ms": percentile(values, 0.99)}


def connects(server: Server, load: Load, count: int, connect: Callable[[int], None]) -> tuple[float, float]:
	"""µs of server CPU for a connect, and connects a second."""
	before, started = server.cpu(), time.perf_counter()
	connect(count)
	elapsed = time.perf_counter() - started
	settle(server)
	return (server.cpu() - before) / count * 1e6, count / elapsed


def settle(server: Server) -> None:
	"""Until the server has nothing left to do."""
	idle = 0
	last = server.cpu()
	while idle < 3:
		time.sleep(0.1)
		now = server.cpu()
		idle = idle + 1 if now - last < 0.002 else 0
		last = now


def run(server: Server, redis_port: int, scale: Scale) -> Figures:
	"""All cases on one fresh server."""
	figures: Figures = {}
	publisher = Publisher(redis_port)
	figures["start_cpu_ms"] = server.start_cpu * 1e3
	settle(server)
	figures["start_mb"] = server.memory() / 1e6
	load = Load(server.port)

	load.connect(50)
	load.drop()
	settle(server)

	figures["polling_connect_us"], figures["polling_connects_per_second"] = connects(
		server, load, scale.polling, load.connect_polling
	)
	load.drop()
	settle(server)

	load.connect_mixed(1000, scale.staying)
	settle(server)
	figures["mixed_us"] = in_flight(server, load, publisher, 1000, 100, scale.deliveries // 4)
	load.drop()
	settle(server)

	for room in scale.rooms:
		load.connect(room)
		settle(server)
		for size in scale.sizes:
			if room * size > 5_000_000:
				continue
			figures[f"in_flight_us_{room}_{size}"] = in_flight(
				server,
				load,
				publisher,
				room,
				size,
				scale.deliveries if size < 10_000 else scale.deliveries // 4,
			)
		figures |= saturated(server, load, publisher, room, 100, scale.saturated)
		if room == 1000:
			figures |= latency(load, publisher, room, scale.seconds)
		if room == 5000:
			figures["one_user_us"] = one_user(server, load, publisher, scale.user_messages, room)
		load.drop()
		settle(server)
	return figures


def run_connections(server: Server, redis_port: int, scale: Scale) -> Figures:
	"""Memory and connects, on a fresh server of their own: nothing may lie around from other cases."""
	figures: Figures = {}
	load = Load(server.port)
	load.connect(50)
	load.drop()
	settle(server)
	before = server.memory()
	figures["connect_us"], figures["connects_per_second"] = connects(
		server, load, scale.connects, load.connect
	)
	figures["connection_kb"] = (server.memory() - before) / scale.connects / 1024
	costs: list[float] = []
	seconds: list[float] = []
	memory: list[float] = []
	for _ in range(scale.waves):
		load.drop()
		settle(server)
		# All at once, as after a restart of the proxy.
		cost, rate = connects(server, load, scale.connects, lambda count: load.connect(count, window=count))
		costs.append(cost)
		seconds.append(scale.connects / rate)
		memory.append(server.memory())
	figures["reconnect_us"] = statistics.median(costs)
	figures["reconnect_seconds"] = statistics.median(seconds)
	figures["reconnect_growth_percent"] = (memory[-1] / memory[0] - 1) * 100
	load.drop()
	return figures
