"""python -m benchmarks: runs each server in turn for several rounds, and prints the table.

python -m benchmarks [--rounds 3] [--quick] [--servers ours,node,stock] [--write docs/performance.md]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from benchmarks import cases, report
from benchmarks.servers import NAMES, backends, make_bench, running


def main() -> None:
	parser = argparse.ArgumentParser(
		description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
	)
	parser.add_argument("--rounds", type=int, default=3)
	parser.add_argument(
		"--quick", action="store_true", help="a tenth of the work, to check that everything runs"
	)
	parser.add_argument("--servers", default=",".join(NAMES))
	parser.add_argument("--write", type=Path, help="the Markdown file whose table is replaced")
	options = parser.parse_args()
	names = options.servers.split(",")
	if unknown := set(names) - set(NAMES):
		parser.error(f"unknown servers {sorted(unknown)}; choose from {', '.join(NAMES)}")
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
	# A delivery of this server costs ten times as much, so fewer of them are enough.
	reduced = replace(scale, deliveries=scale.deliveries // 5, saturated=scale.saturated // 5)
	rounds: dict[str, list[cases.Figures]] = {name: [] for name in names}
	with backends() as (redis_port, web_port), tempfile.TemporaryDirectory() as folder:
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
	text = report.table(rounds)
	print(text)
	if options.write:
		report.write(options.write, text)


if __name__ == "__main__":
	main()
