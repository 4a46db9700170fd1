"""python -m benchmarks.delivery: this server, Node as Frappe runs it, and Node with its connection state recovery.

python -m benchmarks.delivery [--clients 200] [--seconds 60] [--cases reset,sigkill] [--servers ours,node] [--write FILE]

20 events per second are published. Each client is cut off every 5 to 10 seconds, for 2 seconds. Cases use WebSocket unless
their title names another transport. The exit code is 1 if this server has lost, repeated or reordered an event.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.delivery.parts import (
	OURS,
	SERVERS,
	Clients,
	Publisher,
	Redis,
	Server,
	end,
	install,
	web_process,
)
from benchmarks.delivery.proxy import BLACK_HOLE, HALF_OPEN, RESET, Proxy
from benchmarks.servers import raise_file_limit

CUT_SECONDS = 2.0
REDIS_DOWN_SECONDS = 5.0


@dataclass(frozen=True)
class Case:
	"""One case.

	Attributes:
		title: Its name in the table.
		how: How clients are cut off; None for not at all.
		alone: Whether there is only one client.
		before_first_event: Whether clients are cut off once, before the first event.
		server: The signal by which the server is restarted, `TERM` or `KILL`; empty for not at all.
		redis: Whether Redis is restarted.
		transports: The transports of the clients.
	"""

	title: str
	how: str | None = RESET
	alone: bool = False
	before_first_event: bool = False
	server: str = ""
	redis: bool = False
	transports: str = "websocket"


CASES = {
	"reset": Case("cut by reset"),
	"black-hole": Case("cut by a black hole", BLACK_HOLE),
	"half-open": Case("cut half-open", HALF_OPEN),
	"polling": Case("cut by reset, on polling", transports="polling"),
	"upgrade": Case("cut by reset, polling and upgrade", transports="polling,websocket"),
	"alone": Case("one client alone, cut by reset", alone=True),
	"alone-half-open": Case("one client alone, cut half-open", HALF_OPEN, alone=True),
	"first": Case("cut before the first event", before_first_event=True),
	"sigterm": Case("cut by reset, server restarted by SIGTERM", server="TERM"),
	"sigkill": Case("cut by reset, server restarted by SIGKILL", server="KILL"),
	"redis": Case("cut by reset, Redis restarted, 5 s away", redis=True),
	"redis-alone": Case("not cut, Redis restarted, 5 s away", None, redis=True),
}


@dataclass
class Result:
	"""The result of one case with one server.

	Attributes:
		delivered: Percentage of the events that the clients have received.
		worst: The same for the client with the fewest events.
		duplicates: Events that were received again.
		disordered: Events that were received out of order.
		notified: Lost events of which the client was notified.
		silent: Lost events of which the client was not notified.
		recovered: Reconnects that recovered the session.
		reconnects: All reconnects.
		ended: How often the server ended unexpectedly.
	"""

	delivered: float
	worst: float
	duplicates: int
	disordered: int
	notified: int
	silent: int
	recovered: int
	reconnects: int
	ended: int

	@property
	def perfect(self) -> bool:
		return self.worst == 100 and not (self.duplicates or self.disordered or self.silent)

	def row(self, title: str, server: str) -> str:
		recovered = f"{100 * self.recovered / self.reconnects:.0f}" if self.reconnects else "-"
		ended = f"; ended unexpectedly {self.ended} times" if self.ended else ""
		return (
			f"| {title} | {server} | {self.delivered:.2f} | {self.worst:.2f} | {self.duplicates} | "
			f"{self.disordered} | {self.notified} | {self.silent} | {recovered} of {self.reconnects}{ended} |"
		)


HEAD = (
	"| case | server | delivered, % | worst client, % | duplicates | out of order | lost, client notified | "
	"lost silently | reconnects recovered, % |\n|---|---|---|---|---|---|---|---|---|"
)


async def cut_repeatedly(proxy: Proxy, client: int, how: str, until: float) -> None:
	"""Cut off one client every 5 to 10 seconds, for 2 seconds."""
	loop = asyncio.get_running_loop()
	await asyncio.sleep(random.uniform(0.5, 7.5))
	while loop.time() < until:
		await proxy.cut(client, how, CUT_SECONDS)
		await asyncio.sleep(random.uniform(5, 10) - CUT_SECONDS)


async def run(name: str, case: Case, count: int, seconds: float, rate: float) -> Result:
	"""Run one case against one server."""
	count = 1 if case.alone else count
	with tempfile.TemporaryDirectory() as temporary:
		folder = Path(temporary)
		redis = Redis(folder / "redis")
		redis.start()
		web, web_port = web_process(count, redis)
		server = Server(name, folder, redis, web_port)
		server.start()
		server.wait()
		proxy = Proxy(server.port)
		await proxy.start()
		clients = Clients(proxy.port, count, case.transports)
		publisher = Publisher(redis.url, rate)
		supervisor = asyncio.create_task(server.supervise())
		try:
			connected = await clients.wait(count)
			assert connected == count, f"only {connected} of {count} clients have connected to {name}"
			loop = asyncio.get_running_loop()
			tasks = []
			if case.before_first_event:
				tasks += [loop.create_task(proxy.cut(n, RESET, CUT_SECONDS)) for n in range(count)]
				await asyncio.sleep(0.1)
			publisher.start()
			until = loop.time() + seconds
			if case.how is not None and not case.before_first_event:
				tasks += [loop.create_task(cut_repeatedly(proxy, n, case.how, until)) for n in range(count)]
			await restart_backends(case, server, redis, until)
			await asyncio.sleep(max(0, until - loop.time()))
			await asyncio.to_thread(publisher.stop)
			await asyncio.gather(*tasks)
			await clients.wait(count, 30)
			return await settle(clients, publisher.published, server.ended)
		finally:
			supervisor.cancel()
			clients.close()
			proxy.close()
			server.close()
			end(web)
			redis.close()
			if name == OURS and "Traceback" in server.log.read_text():
				print(server.log.read_text(), file=sys.stderr)


async def restart_backends(case: Case, server: Server, redis: Redis, until: float) -> None:
	"""Restart the server or Redis, as the case says, up to the time `until`."""
	loop = asyncio.get_running_loop()
	if case.redis:
		await asyncio.sleep((until - loop.time()) / 3)
		await asyncio.to_thread(redis.stop)
		await asyncio.sleep(REDIS_DOWN_SECONDS)
		await asyncio.to_thread(redis.start)
	while case.server and loop.time() < until - 6:
		await asyncio.sleep(6)
		await server.restart(force=case.server == "KILL")


async def settle(clients: Clients, published: int, ended: int) -> Result:
	"""Wait until no more events arrive, and return the result."""
	before, last = None, time.monotonic()
	while True:
		report = await asyncio.to_thread(clients.ask, f"report {published}")
		if all(client[0] == published for client in report):
			break
		if report != before:
			before, last = report, time.monotonic()
		elif time.monotonic() - last > 8:
			break
		await asyncio.sleep(0.5)
	columns = [sum(column) for column in zip(*report, strict=True)]
	return Result(
		100 * columns[0] / (published * len(report)),
		100 * min(client[0] for client in report) / published,
		columns[1] + columns[8],
		columns[2],
		columns[4],
		columns[5],
		columns[6],
		columns[7],
		ended,
	)


def main() -> None:
	parser = argparse.ArgumentParser(
		prog="python -m benchmarks.delivery",
		description=__doc__,
		formatter_class=argparse.RawDescriptionHelpFormatter,
	)
	parser.add_argument("--clients", type=int, default=200)
	parser.add_argument("--seconds", type=float, default=60)
	parser.add_argument("--rate", type=float, default=20)
	parser.add_argument("--cases", default=",".join(CASES), help=", ".join(CASES))
	parser.add_argument("--servers", default=",".join(SERVERS), help=", ".join(SERVERS))
	parser.add_argument("--write", type=Path, help="file that the table is written to")
	options = parser.parse_args()
	names, cases = options.servers.split(","), options.cases.split(",")
	if unknown := (set(names) - set(SERVERS)) | (set(cases) - set(CASES)):
		parser.error(f"unknown: {', '.join(sorted(unknown))}")
	install()
	raise_file_limit()
	lines = [
		f"{options.clients} clients, {options.rate:g} events/s for {options.seconds:g} s, each client cut off every "
		"5 to 10 s for 2 s.\n",
		HEAD,
	]
	print("\n".join(lines), flush=True)
	failed = False
	for key in cases:
		for name in names:
			result = asyncio.run(run(name, CASES[key], options.clients, options.seconds, options.rate))
			failed |= name == OURS and not result.perfect
			lines.append(result.row(CASES[key].title, name))
			print(lines[-1], flush=True)
	if options.write is not None:
		options.write.write_text("\n".join(lines) + "\n")
	sys.exit(failed)


if __name__ == "__main__":
	main()
