"""python -m benchmarks: runs each case for each server in turn, for several rounds, and prints the tables.

python -m benchmarks [--rounds 3] [--quick] [--servers ours,bun] [--only connect,one_user] [--write docs/performance.md]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from benchmarks import report
from benchmarks.cases import CASES
from benchmarks.cases.common import QUICK, Figures, Scale, Setup
from benchmarks.cases.tls import missing as tls_missing
from benchmarks.columns import COLUMNS, FLOOR, missing
from benchmarks.servers import backends, compile_floor, make_bench

SETTINGS = {"realtime_connections_per_address": 1_000_000}
"""All clients of the benchmark have one address."""


def main() -> None:
	parser = argparse.ArgumentParser(
		prog="python -m benchmarks",
		description=__doc__,
		formatter_class=argparse.RawDescriptionHelpFormatter,
	)
	parser.add_argument("--rounds", type=int, default=3)
	parser.add_argument(
		"--quick", action="store_true", help="a tenth of the work, to check that everything runs"
	)
	parser.add_argument("--servers", default=",".join(COLUMNS), help="columns, separated by commas")
	parser.add_argument("--only", default=",".join(CASES), help="cases, separated by commas")
	parser.add_argument("--write", type=Path, help="the Markdown file whose tables are replaced")
	options = parser.parse_args()
	servers, names = options.servers.split(","), options.only.split(",")
	for given, known in ((servers, COLUMNS), (names, CASES)):
		if unknown := set(given) - set(known):
			parser.error(f"unknown: {', '.join(sorted(unknown))}; choose from {', '.join(known)}")
	notes = [f"Not measured: {name}, because {reason}." for name in servers if (reason := missing(name))]
	if "tls" in names and (reason := tls_missing()):
		notes.append(f"Not measured: TLS, because {reason}.")
	rounds = measure(
		[name for name in servers if not missing(name)],
		names,
		options.rounds,
		QUICK if options.quick else Scale(),
	)
	text = "\n\n".join([report.tables(rounds), *notes])
	print(text)
	if options.write:
		report.write(options.write, text)


def measure(servers: list[str], names: list[str], count: int, scale: Scale) -> dict[str, list[Figures]]:
	"""Return the figures of each round by server; the servers of one case follow each other directly.

	Args:
		servers: Names of columns.
		names: Names of cases.
		count: Rounds.
		scale: The amount of work.
	"""
	rounds: dict[str, list[Figures]] = {name: [] for name in servers}
	if FLOOR in servers:
		compile_floor()
	with backends("frappe_realtime") as (redis_port, web_port), tempfile.TemporaryDirectory() as folder:
		bench = make_bench(Path(folder), f"redis://127.0.0.1:{redis_port}", web_port, **SETTINGS)
		setups = {name: Setup(COLUMNS[name], bench, redis_port, web_port, scale) for name in servers}
		for number in range(count):
			figures: dict[str, Figures] = {name: {} for name in servers}
			for case in names:
				for name in servers:
					print(f"round {number + 1}: {case}, {name}", file=sys.stderr, flush=True)
					figures[name] |= CASES[case](setups[name])
			for name in servers:
				rounds[name].append(figures[name])
	return rounds


if __name__ == "__main__":
	main()
