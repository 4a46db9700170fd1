"""python -m benchmarks.soak [--minutes 30] [--clients 60] [--seed N]

Two sites with stock clients, which are cut at random by reset, black hole and half-open; clients that come and go;
clients that stop reading; garbage; Redis and the web process that restart or hang. Exits with 1 unless the sidecar's
memory is flat after the first sixth of the time, no descriptor is left over at the end, its log has no traceback, and every
event has reached every client of its site, once, in order, and nobody else.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from websockets.asyncio.client import connect

from benchmarks.delivery.parts import OURS, Clients, Publisher, Redis, Server, end, install, web_process
from benchmarks.delivery.proxy import HOWS, Proxy

SITES = ("one.test", "two.test")
RATE = 10.0


class Soak:
	"""One run."""

	def __init__(self, folder: Path, clients: int, seconds: float) -> None:
		self.seconds = seconds
		self.count = clients
		self.redis = Redis(folder / "redis")
		self.redis.start()
		self.web, self.web_port = web_process(clients, self.redis, SITES)
		self.server = Server(OURS, folder, self.redis, self.web_port, SITES)
		self.server.start()
		self.server.wait()
		self.proxy = Proxy(self.server.port)
		self.memory: list[tuple[float, int]] = []
		self.troubles: dict[str, int] = {}
		self._tasks: set[asyncio.Task[Any]] = set()

	@property
	def pid(self) -> int:
		assert self.server.process is not None
		return self.server.process.pid

	def resident(self) -> int:
		"""Bytes of the sidecar."""
		fields = Path(f"/proc/{self.pid}/statm").read_text().split()
		return int(fields[1]) * os.sysconf("SC_PAGE_SIZE")

	def descriptors(self) -> int:
		"""Open files and sockets of the sidecar."""
		return len(os.listdir(f"/proc/{self.pid}/fd"))

	def descriptors_when_at_most(self, most: int, patience: float) -> int:
		"""How many there are once they are few, or after `patience`.

		The engine lets go of a half-open connection after a missed ping; Redis and the web process keep a few.
		"""
		deadline = time.monotonic() + patience
		while (now := self.descriptors()) > most and time.monotonic() < deadline:
			time.sleep(1)
		return now

	async def run(self) -> list[str]:
		"""What was wrong at the end."""
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
			for publisher in publishers:
				publisher.start()
			await self.trouble()
			for publisher in publishers:
				await asyncio.to_thread(publisher.stop)
			wrong = []
			for group, publisher, site in zip(groups, publishers, SITES, strict=True):
				await group.wait(half)
				wrong += await self.judge(group, publisher.published, site)
		finally:
			for group in groups:
				group.close()
			self.proxy.close()
		return wrong + await self.judge_process(at_rest)

	async def trouble(self) -> None:
		"""Everything at once, until the time is over."""
		begun = time.monotonic()
		loops = [self.cuts(), self.visitors(), self.slow_readers(), self.garbage(), self.faults()]
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

	def happened(self, what: str) -> None:
		self.troubles[what] = self.troubles.get(what, 0) + 1

	async def cuts(self) -> None:
		while True:
			await asyncio.sleep(random.expovariate(self.count / 20))
			client = random.randrange(self.count // 2 * 2)
			if client not in self.proxy.cut_clients:
				self.happened("cuts")
				how = random.choice(HOWS)
				task = asyncio.create_task(self.proxy.cut(client, how, random.uniform(0.1, 4)))
				self._tasks.add(task)
				task.add_done_callback(self._tasks.discard)

	async def visitor(self, site: str, read: bool, seconds: float) -> None:
		"""A browser that connects, reads or does not, and vanishes."""
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
			# Whatever ends it: it was to vanish anyway.
			self.happened("visits cut short")

	async def visitors(self) -> None:
		while True:
			await asyncio.sleep(random.expovariate(2))
			self.happened("visitors")
			await self.start(self.visitor(random.choice(SITES), True, random.uniform(0, 5)))

	async def slow_readers(self) -> None:
		while True:
			await asyncio.sleep(random.expovariate(0.2))
			self.happened("slow readers")
			await self.start(self.visitor(random.choice(SITES), False, random.uniform(5, 20)))

	async def start(self, work: Any) -> None:
		task = asyncio.create_task(work)
		self._tasks.add(task)
		task.add_done_callback(self._tasks.discard)

	async def garbage(self) -> None:
		while True:
			await asyncio.sleep(random.expovariate(2))
			self.happened("garbage")
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

	async def faults(self) -> None:
		while True:
			await asyncio.sleep(random.uniform(0.03, 0.08) * min(self.seconds, 600))
			fault = random.choice([self.redis_restarts, self.redis_hangs, self.web_restarts, self.web_hangs])
			self.happened(fault.__name__.replace("_", " "))
			await fault()

	async def redis_restarts(self) -> None:
		await asyncio.to_thread(self.redis.stop)
		await asyncio.sleep(random.uniform(0, 6))
		await asyncio.to_thread(self.redis.start)

	async def redis_hangs(self) -> None:
		await self.hang(self.redis.pid, random.uniform(1, 12))

	async def web_restarts(self) -> None:
		await asyncio.to_thread(end, self.web)
		await asyncio.sleep(random.uniform(0, 6))
		self.web, _ = await asyncio.to_thread(web_process, self.count, self.redis, SITES, self.web_port)

	async def web_hangs(self) -> None:
		await self.hang(self.web.pid, random.uniform(1, 8))

	@staticmethod
	async def hang(pid: int, seconds: float) -> None:
		os.kill(pid, signal.SIGSTOP)
		try:
			await asyncio.sleep(seconds)
		finally:
			os.kill(pid, signal.SIGCONT)

	async def judge(self, group: Clients, published: int, site: str) -> list[str]:
		"""Whether every client of `site` has got everything."""
		before: Any = None
		while True:
			report = await asyncio.to_thread(group.ask, f"report {published}")
			if all(client[0] == published for client in report) or report == before:
				break
			before = report
			await asyncio.sleep(10)
		delivered, duplicates, disordered, _, told, silent, recovered, reconnects, strays = [
			sum(column) for column in zip(*report, strict=True)
		]
		print(
			f"{site}: {published} events to {len(report)} clients: {delivered} delivered, {duplicates} twice, "
			f"{disordered} out of order, {told} lost and told, {silent} lost silently, {strays} of the other site; "
			f"{recovered} of {reconnects} reconnects recovered"
		)
		complete = delivered == published * len(report)
		return [] if complete and not (duplicates or disordered or strays) else [f"delivery on {site}"]

	async def judge_process(self, at_rest: int) -> list[str]:
		"""Whether the process is as it was."""
		wrong = []
		settled = [size for passed, size in self.memory if passed > self.seconds / 6]
		third = max(1, len(settled) // 3)
		early, late = max(settled[:third]), max(settled[-third:])
		print(
			f"memory: at most {early / 1e6:.1f} MB early, {late / 1e6:.1f} MB late; trouble: {self.troubles}"
		)
		if late > early * 1.1 + 2e6:
			wrong.append("memory grows")
		now = await asyncio.to_thread(self.descriptors_when_at_most, at_rest + 24, 90)
		print(f"descriptors: {at_rest} at first, {now} in the end")
		if now > at_rest + 24:
			wrong.append("descriptors are left over")
		log = self.server.log.read_text()
		if "Traceback" in log or "never retrieved" in log or self.server.process.poll() is not None:  # type: ignore[union-attr]
			print(log[-5000:], file=sys.stderr)
			wrong.append("the log has a traceback, or the sidecar has ended")
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
	parser.add_argument("--seed", type=int, default=0, help="of what happens when")
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
	print("wrong: " + ", ".join(wrong) if wrong else "all is well")
	sys.exit(bool(wrong))


if __name__ == "__main__":
	main()
