"""python -m benchmarks.shared_editing [--writers 50] [--seconds 30] [--cut 5] [--states 1000]

Writers in one Node process edit one Yjs document with @frappe-realtime/yjs: each inserts or deletes a character five times a second.
Every `--cut` seconds one of them loses its connection. A reader without the permission to write follows, and tries to change the text.
At the end all must have the same text; then all leave, and one that comes back must have it too.

The exit code is 0 if that is so. Printed are the time until all have the same text, the changes, and the CPU time of the sidecar.
`--states 0` runs it as without the extra `shared-editing`: then nobody has the text after all have left.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.servers import cpu_of
from tests.wire.background import Background
from tests.wire.bench import Bench
from tests.wire.conditions import until
from tests.wire.editors import BUILT, TYPE, Editors
from tests.wire.sidecars import metric

PAUSE = 0.2
"""Seconds between two changes of a writer."""

NAME = "N-1"


def run(bench: Bench, editors: Editors, options: argparse.Namespace) -> bool:
	"""Run the writers, print the result, and return True if all have converged."""
	user = bench.user()
	bench.site().forbid(user.name, TYPE, NAME, "write")
	pages = [editors.open(bench, NAME) for _ in range(options.writers)]
	for page in pages:
		page.synced()
	assert bench.sidecar.process is not None
	pid = bench.sidecar.process.pid
	cpu, began = cpu_of(pid), time.monotonic()
	writer, cuts = pages[0], 0
	with ThreadPoolExecutor(1) as pool:
		count = round(options.seconds / PAUSE)
		writing = pool.submit(
			editors.do, "write", patience=10 * options.seconds, count=count, pause=round(PAUSE * 1000)
		)
		next_cut = options.cut
		while not writing.done():
			time.sleep(0.1)
			if time.monotonic() - began > next_cut:
				next_cut += options.cut
				writer.do("cut")
				cuts += 1
		writing.result()
	wrote = time.monotonic()
	text = editors.converge(120)
	converged = time.monotonic() - wrote
	seconds = time.monotonic() - began
	used = cpu_of(pid) - cpu
	changes = metric(bench, "shared_updates_total")
	print(f"{options.writers} writers, {seconds:.0f} s, one cut {cuts} times")
	print(f"converged      {converged:.1f} s after the last change; {len(text)} characters")
	print(f"changes        {changes:.0f} passed on, {metric(bench, 'shared_update_bytes_total'):.0f} bytes")
	print(f"deliveries     {changes * (options.writers - 1):.0f}")
	print(
		f"CPU            {used / seconds:.1%} of a core, {used / max(1, changes) * 1e6:.0f} µs for each change"
	)

	reader = editors.open(bench, NAME, user)
	reader.has(text)
	reader.insert("changed by a reader ")
	writer.insert("!")
	until(lambda: "!" in reader.state["text"], "the last change at the reader")
	unchanged = all("reader" not in page.state["text"] for page in pages)
	print(f"a reader       {'has changed nothing' if unchanged else 'HAS CHANGED THE TEXT'}")

	reader.do("close")
	for page in pages:
		page.do("close")
	back = editors.open(bench, NAME).synced().state["text"]
	kept = back == "!" + text
	print(f"after all left {'the text is there' if kept else 'the text is gone'}")
	return unchanged and kept == bool(options.states)


def main() -> None:
	parser = argparse.ArgumentParser(
		prog="python -m benchmarks.shared_editing",
		description=__doc__,
		formatter_class=argparse.RawDescriptionHelpFormatter,
	)
	parser.add_argument("--writers", type=int, default=50)
	parser.add_argument("--seconds", type=float, default=30)
	parser.add_argument("--cut", type=float, default=5)
	parser.add_argument("--states", type=int, default=1000)
	options = parser.parse_args()
	if not BUILT.exists():
		sys.exit("the npm packages are not built: run script/test once")
	background = Background()
	with tempfile.TemporaryDirectory() as folder:
		bench = Bench(background, Path(folder), common={"realtime_shared_states": options.states})
		editors = Editors()
		try:
			bench.start()
			converged = run(bench, editors, options)
		finally:
			editors.close()
			bench.close()
			background.close()
	sys.exit(not converged)


if __name__ == "__main__":
	main()
