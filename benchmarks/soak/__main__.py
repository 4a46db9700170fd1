"""python -m benchmarks.soak [--minutes 30] [--clients 60] [--seed N]

Two sites have stock clients, which are cut off at random times by a reset, as a black hole, or half-open. Other clients
connect for a short time, stop reading, or send random bytes. The attacks of `benchmarks.hostile` run one after another on a
third site. Redis and the web process restart or hang. First everything that fills up to a bound is filled: the history
windows of all sites, and the connections without a login. Python keeps the memory for the next time, which would hide a leak; so
the connections are opened again at the end. The exit code is 0 if the memory of the sidecar does not grow from then on, and is
the same with all connections at the end, it has no more descriptors at the end than at the start, its log has no traceback and
less than 1 MB, and every event has reached every client of its site once, in order, and no other client.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

from websockets.asyncio.client import connect

from benchmarks.attacks import attacks
from benchmarks.client import SITE as ATTACKED_SITE
from benchmarks.delivery.parts import OURS, Clients, Publisher, Redis, Server, end, install, web_process
from benchmarks.delivery.proxy import HOWS, Proxy
from frappe_realtime.publishing.connection import queue_connector
from frappe_realtime.publishing.outbox import Message, Outbox

SITES = ("one.test", "two.test")
RATE = 10.0

ATTACK_SECONDS = 20.0
MAX_GROWTH = 1.1
"""Memory at the end in relation to the memory at the start: objects that stay divide the free memory into small parts."""

MAX_LOG = 1_000_000
"""Bytes."""

FILL_EVENTS = 2000
"""Events of 1 KB with which a history window is filled: more than it keeps."""

FILL_ATTACK = "polling handshakes"
FILL_SECONDS = 40.0
"""The attack that opens as many connections without a login as the sidecar keeps, and the seconds that it needs for that."""


class Soak:
	"""One run.

	Args:
		folder: An empty folder.
		clients: The number of clients of both sites.
		seconds: The duration.
	"""

	def __init__(self, folder: Path, clients: int, seconds: float) -> None:
		self.seconds = seconds
		self.count = clients
		self.redis = Redis(folder / "redis")
		self.redis.start()
		self.web, self.web_port = web_process(clients, self.redis, (*SITES, ATTACKED_SITE))
		self.server = Server(OURS, folder, self.redis, self.web_port, (*SITES, ATTACKED_SITE))
		self.server.start()
		self.server.wait()
		self.proxy = Proxy(self.server.port)
		self.memory: list[tuple[float, int]] = []
		self.filled: list[int] = []
		"""The memory with all connections, at the start and at the end."""
		self.caused: dict[str, int] = {}
		self._tasks: set[asyncio.Task[Any]] = set()

	@property
	def pid(self) -> int:
		assert self.server.process is not None
		return self.server.process.pid

	def resident(self) -> int:
		"""Return the resident memory of the sidecar in bytes."""
		fields = Path(f"/proc/{self.pid}/statm").read_text().split()
		return int(fields[1]) * os.sysconf("SC_PAGE_SIZE")

	def descriptors(self) -> int:
		"""Return the number of open files and sockets of the sidecar."""
		return len(os.listdir(f"/proc/{self.pid}/fd"))

	def descriptors_when_at_most(self, most: int, timeout: float) -> int:
		"""Wait until there are at most `most` descriptors, at most `timeout` seconds; return their number.

		The engine closes a half-open connection after a missed ping. Redis and the web process keep a few connections open.
		"""
		deadline = time.monotonic() + timeout
		while (now := self.descriptors()) > most and time.monotonic() < deadline:
			time.sleep(1)
		return now

	async def run(self) -> list[str]:
		"""Run, and return the list of faults that were found; empty if there are none."""
		await self.proxy.start()
		half = self.count // 2
		at_rest = self.descriptors()
		groups = [
			Clients(self.proxy.port, half, "websocket", SITES[0]),
			Clients(self.proxy.port, half, "polling,websocket", SITES[1], half),
		]
		publishers = [Publisher(self.redis.url, RATE, site) for site in SITES]
		try:
			for group in groups:
				assert await group.wait(half) == half, "not all clients have connected"
			await self.fill()
			for publisher in publishers:
				publisher.start()
			await self.cause_faults()
			for publisher in publishers:
				await asyncio.to_thread(publisher.stop)
			wrong = []
			for group, publisher, site in zip(groups, publishers, SITES, strict=True):
				await group.wait(half)
				wrong += await self.check_delivery(group, publisher.published, site)
		finally:
			for group in groups:
				group.close()
			self.proxy.close()
		await self.fill_connections()
		return wrong + await self.check_process(at_rest)

	async def fill(self) -> None:
		"""Fill the history windows of all sites with events that no client receives, then the table of connections."""
		# The first request for a page imports aiohttp: 14 MB that an attack would add at some time of the run.
		url = f"http://127.0.0.1:{self.server.port}/metrics"
		await asyncio.to_thread(lambda: urllib.request.urlopen(url, timeout=30).read())
		sizes = [self.resident()]
		visit = asyncio.create_task(self.visitor(ATTACKED_SITE, True, 10))
		for site in (*SITES, ATTACKED_SITE):
			await asyncio.to_thread(self.publish_for_nobody, site)
		await visit
		sizes.append(self.resident())
		await self.fill_connections()
		first, windows, connections = [f"{size / 1e6:.1f} MB" for size in (*sizes, *self.filled)]
		print(f"memory: {first}, with full history windows {windows}, and with all connections {connections}")

	async def fill_connections(self) -> None:
		"""Open as many connections without a login as the sidecar keeps, and measure its memory."""
		number = next(number for number, attack in enumerate(attacks()) if attack.name == FILL_ATTACK)
		assert await self.attack(number, FILL_SECONDS) == 0, "the attack was not prepared"
		self.filled.append(self.resident())

	def publish_for_nobody(self, site: str) -> None:
		"""Publish events into the history of a site, in a room without members."""
		outbox = Outbox(queue_connector({"redis_queue": self.redis.url}), lambda line: None)
		event = {"event": "filler", "message": "x" * 1000, "room": "nobody", "namespace": site}
		stream = f"frappe_realtime:{site}:events"
		for _ in range(FILL_EVENTS):
			outbox.send([Message("events", json.dumps(event), stream, FILL_EVENTS, 600)])
		assert outbox.flush(30), "Redis has not received all events"

	async def cause_faults(self) -> None:
		"""Cause all kinds of faults at the same time, until the time is over."""
		begun = time.monotonic()
		loops = [
			self.cuts(),
			self.visitors(),
			self.slow_readers(),
			self.garbage(),
			self.attacks(),
			self.faults(),
		]
		tasks = [asyncio.create_task(loop) for loop in loops]
		while (passed := time.monotonic() - begun) < self.seconds:
			self.memory.append((passed, self.resident()))
			for task in tasks:
				if task.done():
					task.result()
			await asyncio.sleep(min(5, self.seconds / 50))
		for task in tasks:
			task.cancel()
		await asyncio.gather(*tasks, *self._tasks, return_exceptions=True)

	def count_fault(self, what: str) -> None:
		self.caused[what] = self.caused.get(what, 0) + 1

	async def cuts(self) -> None:
		while True:
			await asyncio.sleep(random.expovariate(self.count / 20))
			client = random.randrange(self.count // 2 * 2)
			if client not in self.proxy.cut_clients:
				self.count_fault("cuts")
				how = random.choice(HOWS)
				task = asyncio.create_task(self.proxy.cut(client, how, random.uniform(0.1, 4)))
				self._tasks.add(task)
				task.add_done_callback(self._tasks.discard)

	async def visitor(self, site: str, read: bool, seconds: float) -> None:
		"""Connect a client that reads or does not read for some seconds, and then closes the TCP connection."""
		headers = {"X-Frappe-Site-Name": site, "Cookie": f"sid=session-{random.randrange(self.count)}"}
		url = f"ws://127.0.0.1:{self.server.port}/socket.io/?EIO=4&transport=websocket"
		try:
			opening = connect(url, additional_headers=headers, user_agent_header="Mozilla/5.0")
			connection = await asyncio.wait_for(opening, 10)
			await connection.send(f"40/{site},")
			deadline = time.monotonic() + seconds
			while read and time.monotonic() < deadline:
				await asyncio.wait_for(connection.recv(), max(0.01, deadline - time.monotonic()))
			if not read:
				connection.transport.pause_reading()
				for _ in range(200):
					await connection.send(f'42/{site},["ping"]')
				await asyncio.sleep(seconds)
			connection.transport.abort()
		except Exception:
			# The client would have been closed anyway.
			self.count_fault("visits cut short")

	async def visitors(self) -> None:
		while True:
			await asyncio.sleep(random.expovariate(2))
			self.count_fault("visitors")
			await self.start(self.visitor(random.choice(SITES), True, random.uniform(0, 5)))

	async def slow_readers(self) -> None:
		while True:
			await asyncio.sleep(random.expovariate(0.2))
			self.count_fault("slow readers")
			await self.start(self.visitor(random.choice(SITES), False, random.uniform(5, 20)))

	async def start(self, work: Any) -> None:
		task = asyncio.create_task(work)
		self._tasks.add(task)
		task.add_done_callback(self._tasks.discard)

	async def garbage(self) -> None:
		while True:
			await asyncio.sleep(random.expovariate(2))
			self.count_fault("garbage")
			head = random.choice(
				[
					b"",
					b"GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: x\r\n",
					b"POST / HTTP/1.1\r\n",
				]
			)
			try:
				with socket.create_connection(("127.0.0.1", self.server.port), 1) as connection:
					connection.sendall(head + random.randbytes(random.randrange(2000)))
			except OSError:
				pass

	async def attacks(self) -> None:
		"""Attack the third site; an attack that cannot be prepared while Redis or the web process is away is left out."""
		numbers = range(len(list(attacks())))
		while True:
			code = await self.attack(random.choice(numbers), ATTACK_SECONDS)
			self.count_fault("attacks that were not prepared" if code else "attacks")

	async def attack(self, number: int, seconds: float) -> int | None:
		"""Run one attack on the third site for some seconds, and return the exit code of the attacker."""
		arguments = (number, self.server.port, seconds, self.redis.port)
		attacker = await asyncio.create_subprocess_exec(
			*(sys.executable, "-m", "benchmarks.attacks", *map(str, arguments)),
			stdin=subprocess.PIPE,
			stdout=subprocess.PIPE,
			stderr=subprocess.DEVNULL,
		)
		try:
			await asyncio.wait_for(attacker.communicate(b"\n"), seconds + 60)
		finally:
			if attacker.returncode is None:
				attacker.kill()
				await attacker.wait()
		return attacker.returncode

	async def faults(self) -> None:
		while True:
			await asyncio.sleep(random.uniform(0.03, 0.08) * min(self.seconds, 600))
			fault = random.choice([self.redis_restarts, self.redis_hangs, self.web_restarts, self.web_hangs])
			self.count_fault(fault.__name__.replace("_", " "))
			await fault()

	async def redis_restarts(self) -> None:
		await asyncio.to_thread(self.redis.stop)
		try:
			await asyncio.sleep(random.uniform(0, 6))
		finally:
			await asyncio.to_thread(self.redis.start)

	async def redis_hangs(self) -> None:
		await self.hang(self.redis.pid, random.uniform(1, 12))

	async def web_restarts(self) -> None:
		await asyncio.to_thread(end, self.web)
		try:
			await asyncio.sleep(random.uniform(0, 6))
		finally:
			self.web, _ = await asyncio.to_thread(
				web_process, self.count, self.redis, (*SITES, ATTACKED_SITE), self.web_port
			)

	async def web_hangs(self) -> None:
		await self.hang(self.web.pid, random.uniform(1, 8))

	@staticmethod
	async def hang(pid: int, seconds: float) -> None:
		os.kill(pid, signal.SIGSTOP)
		try:
			await asyncio.sleep(seconds)
		finally:
			os.kill(pid, signal.SIGCONT)

	async def check_delivery(self, group: Clients, published: int, site: str) -> list[str]:
		"""Return the faults of the delivery on `site`."""
		before: Any = None
		while True:
			report = await asyncio.to_thread(group.ask, f"report {published}")
			if all(client[0] == published for client in report) or report == before:
				break
			before = report
			await asyncio.sleep(10)
		delivered, duplicates, disordered, _, notified, silent, recovered, reconnects, strays = [
			sum(column) for column in zip(*report, strict=True)
		]
		print(
			f"{site}: {published} events to {len(report)} clients: {delivered} delivered, {duplicates} twice, "
			f"{disordered} out of order, {notified} lost (client notified), {silent} lost silently, {strays} of the other site; "
			f"{recovered} of {reconnects} reconnects recovered"
		)
		complete = delivered == published * len(report)
		return [] if complete and not (duplicates or disordered or strays) else [f"delivery on {site}"]

	async def check_process(self, at_rest: int) -> list[str]:
		"""Return the faults of the sidecar process: memory, descriptors and log."""
		wrong = []
		third = max(1, len(self.memory) // 3)
		early, late = (max(size for _, size in part) for part in (self.memory[:third], self.memory[-third:]))
		by_minute = [0] * (int(self.memory[-1][0] / 60) + 1)
		for passed, size in self.memory:
			minute = int(passed / 60)
			by_minute[minute] = max(by_minute[minute], size)
		print("memory by minute, MB: " + " ".join(f"{size / 1e6:.0f}" for size in by_minute))
		print(f"memory: at most {early / 1e6:.1f} MB early, {late / 1e6:.1f} MB late; faults: {self.caused}")
		first, last = self.filled
		print(f"memory with all connections: {first / 1e6:.1f} MB at first, {last / 1e6:.1f} MB in the end")
		if late > early * MAX_GROWTH or last > first * MAX_GROWTH:
			wrong.append("memory grows")
		now = await asyncio.to_thread(self.descriptors_when_at_most, at_rest + 24, 90)
		print(f"descriptors: {at_rest} at first, {now} in the end")
		if now > at_rest + 24:
			wrong.append("descriptors leak")
		log = self.server.log.read_text()
		if "Traceback" in log or "never retrieved" in log or self.server.process.poll() is not None:  # type: ignore[union-attr]
			print(log[-5000:], file=sys.stderr)
			wrong.append("the log has a traceback, or the sidecar has ended")
		print(f"log: {len(log) / 1e3:.0f} KB")
		if len(log) > MAX_LOG:
			wrong.append("the log is too long")
		return wrong

	def close(self) -> None:
		self.server.close()
		end(self.web)
		self.redis.close()


def main() -> None:
	parser = argparse.ArgumentParser(
		prog="python -m benchmarks.soak",
		description=__doc__,
		formatter_class=argparse.RawDescriptionHelpFormatter,
	)
	parser.add_argument("--minutes", type=float, default=30)
	parser.add_argument("--clients", type=int, default=60)
	parser.add_argument("--seed", type=int, default=0, help="seed of the random times")
	options = parser.parse_args()
	random.seed(options.seed)
	install()
	with tempfile.TemporaryDirectory() as folder:
		soak = Soak(Path(folder), options.clients, options.minutes * 60)
		try:
			wrong = asyncio.run(soak.run())
		except subprocess.SubprocessError as error:
			wrong = [str(error)]
		finally:
			soak.close()
	print("faults: " + ", ".join(wrong) if wrong else "no faults")
	sys.exit(bool(wrong))


if __name__ == "__main__":
	main()
