"""python -m benchmarks.remote_sockets [--sockets 10000]

What it costs that handlers find the sockets of other processes in `nsp.sockets`: for each socket, the bytes of its announcement, the CPU
time of the process that announces it and of one that receives it, and the memory there, in Python and in the Node process of handlers in
JavaScript. Nothing is started but Node: the time of Redis and of the connections is not in it.
"""

from __future__ import annotations

import argparse
import gc
import secrets
import subprocess
import time
import tracemalloc
from collections.abc import Callable

from benchmarks.servers import ROOT
from realtime.cluster import message_reader, message_writer
from realtime.cluster.messages import PART, SocketChanges
from realtime.cluster.sockets import Identity, SocketChange, SocketTable
from realtime.demo.npm import node
from realtime.socketio.namespace import Namespaces

SENDER = "A" * 16
NAMESPACE = "/site.example.com"

NODE = """
const [folder, count] = process.argv.splice(1, 2);
const { Runtime } = require(`${folder}/runtime.js`);
const nsp_of = (runtime) => runtime._namespaces.get("/site.example.com");
const runtime = Object.create(Runtime.prototype, { _namespaces: { value: new Map() }, channel: { value: { send() {} } } });
const sockets = Array.from({ length: Number(count) }, (_, n) =>
	[String(n).padStart(20, "-"), `user${n}@example.com`, "System User", [], {}]);
const text = JSON.stringify(["/site.example.com", sockets]);
sockets.length = 0;
const measure = (work) => {
	const before = process.cpuUsage();
	work();
	const { user, system } = process.cpuUsage(before);
	return user + system;
};
gc();
const before = process.memoryUsage().heapUsed;
const added = measure(() => runtime.on_add_remotes(...JSON.parse(text)));
gc();
const memory = process.memoryUsage().heapUsed - before;
const listed = measure(() => { for (const [, s] of nsp_of(runtime).sockets) if (s.user === "nobody") throw s; });
console.log(`in Node: add a socket ${(added / count).toFixed(1)} µs, ${Math.round(memory / count)} bytes of memory`);
console.log(`in Node: look at all sockets once ${(listed / 1000).toFixed(1)} ms`);
"""


def microseconds(work: Callable[[], object], count: int) -> float:
	"""Return the CPU time of `work` for each of `count`."""
	before = time.process_time()
	work()
	return (time.process_time() - before) / count * 1e6


def measure(count: int) -> None:
	"""Measure with this number of sockets, and print the results."""
	changes: list[SocketChange] = [
		(
			NAMESPACE,
			secrets.token_urlsafe(15),
			Identity(f"user{n}@example.com", "System User", f"User {n}"),
		)
		for n in range(count)
	]
	messages: list[bytes] = []

	def announce() -> None:
		parts = message_writer.parts(changes, PART)
		messages.extend(message_writer.socket_changes(SENDER, n, part) for n, part in enumerate(parts))

	announced = microseconds(announce, count)
	alone = [message_writer.socket_changes(SENDER, 1, [change]) for change in changes]

	def receive(table: SocketTable, payloads: list[bytes]) -> None:
		for payload in payloads:
			message = message_reader.read(payload)
			assert isinstance(message, SocketChanges)
			table.apply(SENDER, message.changes)

	tables = [SocketTable(Namespaces(), count) for _ in range(3)]
	received = microseconds(lambda: receive(tables[0], messages), count)
	received_alone = microseconds(lambda: receive(tables[1], alone), count)
	gc.collect()
	tracemalloc.start()
	receive(tables[2], messages)
	gc.collect()
	memory = tracemalloc.get_traced_memory()[0] / count
	tracemalloc.stop()
	listed = microseconds(lambda: [tables[0].get(NAMESPACE, id) for id in tables[0].ids(NAMESPACE)], 1000)
	forgotten = microseconds(lambda: tables[0].forget(SENDER), 1000)
	print(f"announce a socket: {announced:.1f} µs, {sum(map(len, messages)) / count:.0f} bytes with others,")
	print(f"  {sum(map(len, alone)) / count:.0f} bytes alone")
	print(
		f"receive it: {received:.1f} µs with others, {received_alone:.1f} µs alone; {memory:.0f} bytes of memory"
	)
	print(
		f"look at all sockets once: {listed:.1f} ms; forget all of a process that has ended: {forgotten:.1f} ms"
	)


def main() -> None:
	"""Measure Python, then Node."""
	parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
	parser.add_argument("--sockets", type=int, default=10_000)
	count = parser.parse_args().sockets
	measure(count)
	folder = ROOT / "realtime" / "javascript" / "node"
	# The last ones stand for those of process_arguments.js.
	arguments = [str(folder), str(count), "main.js", "0", "0", "", "1", "1"]
	subprocess.run([node(), "--expose-gc", "-e", NODE, *arguments], check=True)


if __name__ == "__main__":
	main()
