"""python -m benchmarks.slow: the effect of clients that stop reading on the other clients, in each server.

python -m benchmarks.slow [--servers ours,node,stock] [--readers 200] [--slow 1,1000] [--seconds 20] [--rounds 3]

Ten events of 10 KB per second are sent to all clients. The times are from publish to receipt, at the clients that read.
This server closes a client when more than `realtime_max_unsent` bytes wait for it, here 256 KB in addition to the kernel's
buffers; the other servers have no limit.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path

from benchmarks.cases.common import percentile, settle
from benchmarks.cases.events import receipt_times
from benchmarks.load import Load
from benchmarks.publishers import Publisher
from benchmarks.servers import Server, backends, make_bench, running

SIZE = 10_000
MAX_UNSENT = 256 * 1024


def measure(
	server: Server, redis_port: int, readers: int, slow: list[int], seconds: float
) -> list[list[float]]:
	"""Return p50, p99 (ms) and the resident memory (MB), without slow clients and for each number of them in `slow`."""
	publisher, reading = Publisher(redis_port), Load(server.port)
	reading.connect(readers)
	settle(server)
	receipt_times(reading, publisher, readers, SIZE, 2)
	rows = []
	for count in (0, *slow):
		# These clients connect normally, and are never polled again.
		stopped = Load(server.port)
		stopped.connect(count)
		settle(server)
		values = receipt_times(reading, publisher, readers, SIZE, seconds)
		rows.append([percentile(values, 0.5), percentile(values, 0.99), server.memory() / 1e6])
		stopped.drop()
		settle(server)
	return rows


def main() -> None:
	parser = argparse.ArgumentParser(
		prog="python -m benchmarks.slow",
		description=__doc__,
		formatter_class=argparse.RawDescriptionHelpFormatter,
	)
	parser.add_argument("--servers", default="ours,node,stock")
	parser.add_argument("--readers", type=int, default=200)
	parser.add_argument("--slow", default="1,1000")
	parser.add_argument("--seconds", type=float, default=20)
	parser.add_argument("--rounds", type=int, default=3)
	options = parser.parse_args()
	names, slow = options.servers.split(","), [int(count) for count in options.slow.split(",")]
	results: dict[str, list[list[list[float]]]] = {name: [] for name in names}
	with backends() as (redis_port, web_port), tempfile.TemporaryDirectory() as folder:
		url = f"redis://127.0.0.1:{redis_port}"
		bench = make_bench(Path(folder), url, web_port)
		config = bench / "sites" / "common_site_config.json"
		config.write_text(json.dumps({**json.loads(config.read_text()), "realtime_max_unsent": MAX_UNSENT}))
		for number in range(options.rounds):
			for name in names:
				print(f"round {number + 1}: {name}", file=sys.stderr, flush=True)
				with running(name, bench, url, web_port) as server:
					results[name].append(measure(server, redis_port, options.readers, slow, options.seconds))
	print("| slow clients | server | p50, ms | p99, ms | p99 / without them | resident, MB |")
	print("| ---: | --- | ---: | ---: | ---: | ---: |")
	for position, count in enumerate((0, *slow)):
		for name in names:
			p50, p99, memory = (
				statistics.median(one[position][column] for one in results[name]) for column in range(3)
			)
			ratio = statistics.median(one[position][1] / one[0][1] for one in results[name])
			print(f"| {count:,} | {name} | {p50:.1f} | {p99:.1f} | {ratio:.2f} | {memory:.0f} |")


if __name__ == "__main__":
	main()
