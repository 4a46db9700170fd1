"""The cases: each one measures one server and returns figures by name."""

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
	"""Publishes events on Redis as Frappe does, over one TCP connection.

	Args:
		port: The port of Redis.
	"""

	def __init__(self, port: int) -> None:
		self.socket = socket.create_connection(("127.0.0.1", port))
		self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

	@staticmethod
	def command(room: str, size: int) -> bytes:
		"""Return the PUBLISH command of an event for `room` whose message has about `size` bytes."""
		message = {"mark": MARK.decode(), "text": "x" * max(0, size - 30)}
		payload = json.dumps({"event": "bench", "message": message, "room": room, "namespace": SITE}).encode()
		return b"*3\r\n$7\r\nPUBLISH\r\n$6\r\nevents\r\n$%d\r\n%b\r\n" % (len(payload), payload)

	def publish(self, commands: bytes, count: int = 1) -> None:
		"""Send `count` encoded commands and read their answers."""
		self.socket.sendall(commands)
		answers = 0
		while answers < count:
			answers += self.socket.recv(1 << 16).count(b"\r\n")


@dataclass(slots=True)
class Scale:
	"""The amount of work of each case.

	Attributes:
		sizes: Bytes of a message.
		rooms: Sockets in the room.
		deliveries: Deliveries with one event in flight.
		saturated: Deliveries of the saturated case.
		user_messages: Messages to single users.
		seconds: Duration of the latency case.
		connects: WebSocket connects.
		polling: Connects with polling and an upgrade.
		staying: Clients that stay on polling, of 1,000, in the case with both transports.
		waves: How often all clients reconnect at once.
	"""

	sizes: tuple[int, ...] = (100, 1000, 10_000)
	rooms: tuple[int, ...] = (100, 1000, 5000)
	deliveries: int = 100_000
	saturated: int = 200_000
	user_messages: int = 10_000
	seconds: float = 10.0
	connects: int = 5000
	polling: int = 2000
	staying: int = 200
	waves: int = 4


def percentile(values: list[float], share: float) -> float:
	"""Return the percentile of `values` for a `share` from 0 to 1."""
	ordered = sorted(values)
	return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def in_flight(
	server: Server, load: Load, publisher: Publisher, room: int, size: int, deliveries: int
) -> float:
	"""Return µs of server CPU per delivery when each event is published after all clients have received the last one."""
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
	load.check_count(events * room)
	return cost


def saturated(
	server: Server, load: Load, publisher: Publisher, room: int, size: int, deliveries: int
) -> Figures:
	"""Return the figures when events are published faster than they can be delivered.

	These are µs of server CPU per delivery, deliveries per second, and the share of polls in which the load generator
	found no data. If that share is near 0, the load generator limits the result, and not the server.
	"""
	chunk = min(50, max(10, 50_000 // room))
	events = max(chunk, deliveries // room)
	commands = publisher.command("all", size) * chunk
	for rounds in (1, events // chunk):
		load.reset()
		before, started = server.cpu(), time.perf_counter()
		for _ in range(rounds):
			publisher.publish(commands, chunk)
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


def one_user(server: Server, load: Load, publisher: Publisher, messages: int, users: int) -> float:
	"""Return µs of server CPU per message to one of `users` users, with one message in flight."""
	commands = [publisher.command(f"user:user{number}@example.com", 100) for number in range(users)]
	for count in (messages // 4, messages):
		load.reset()
		before = server.cpu()
		for number in range(1, count + 1):
			publisher.publish(commands[number * 7 % users])
			load.wait_for(number)
	cost = (server.cpu() - before) / messages * 1e6
	load.check_count(messages)
	return cost


def receipt_times(load: Load, publisher: Publisher, room: int, size: int, seconds: float) -> list[float]:
	"""Return the milliseconds from publish to receipt, for each event and each socket, at 10 events per second."""
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
			load.poll(left)
	return values


def latency(load: Load, publisher: Publisher, room: int, seconds: float) -> Figures:
	"""Return the median and the 99th percentile of the receipt times."""
	values = receipt_times(load, publisher, room, 100, seconds)
	load.check_count(len(values))
	return {"p50_ms": percentile(values, 0.5), "p99_ms": percentile(values, 0.99)}


def connects(server: Server, load: Load, count: int, connect: Callable[[int], None]) -> tuple[float, float]:
	"""Return µs of server CPU per connect, and connects per second."""
	before, started = server.cpu(), time.perf_counter()
	connect(count)
	elapsed = time.perf_counter() - started
	settle(server)
	return (server.cpu() - before) / count * 1e6, count / elapsed


def settle(server: Server) -> None:
	"""Wait until the server is idle."""
	idle = 0
	last = server.cpu()
	while idle < 3:
		time.sleep(0.1)
		now = server.cpu()
		idle = idle + 1 if now - last < 0.002 else 0
		last = now


def run(server: Server, redis_port: int, scale: Scale) -> Figures:
	"""Run the cases of events on a new server process."""
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
	"""Run the cases of memory and connects on another new process, without the memory that other cases have used."""
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
		# All at once, as after a restart of the reverse proxy.
		cost, rate = connects(server, load, scale.connects, lambda count: load.connect(count, window=count))
		costs.append(cost)
		seconds.append(scale.connects / rate)
		memory.append(server.memory())
	figures["reconnect_us"] = statistics.median(costs)
	figures["reconnect_seconds"] = statistics.median(seconds)
	figures["reconnect_growth_percent"] = (memory[-1] / memory[0] - 1) * 100
	load.drop()
	return figures
