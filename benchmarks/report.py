"""The table: medians with their spread, and the ratio of this server to each other one."""

from __future__ import annotations

import json
import platform
import statistics
from importlib.metadata import version
from pathlib import Path

from benchmarks.cases import Figures
from benchmarks.servers import ROOT

LABELS = {
	"start_cpu_ms": "CPU until it listens, ms",
	"start_mb": "resident at start, MB",
	"connection_kb": "resident per idle connection in three rooms, KB",
	"connect_us": "CPU per WebSocket connect with authentication, µs",
	"connects_per_second": "WebSocket connects per second",
	"polling_connect_us": "CPU per polling connect and upgrade, µs",
	"polling_connects_per_second": "polling connects and upgrades per second",
	"reconnect_us": "all clients reconnect at once: CPU per connect, µs",
	"reconnect_seconds": "all clients reconnect at once: seconds until the last is connected",
	"reconnect_growth_percent": "all clients reconnect at once: growth of resident memory from the first time to the last, %",
	"mixed_us": "CPU per delivery, one in flight, 1,000 in the room, 200 of them by long-polling, 100 B, µs",
	"one_user_us": "CPU per message to one user among 5,000, µs",
	"p50_ms": "10 events/s to 1,000: p50 publish to receipt, ms",
	"p99_ms": "10 events/s to 1,000: p99 publish to receipt, ms",
}
BEGIN, END = "<!-- table -->", "<!-- end of table -->"


def label(name: str) -> str:
	"""Return the label of the figure `name` in the table."""
	if name in LABELS:
		return LABELS[name]
	kind, _, rest = name.partition("_us_")
	if kind == "in_flight":
		room, size = rest.split("_")
		return f"CPU per delivery, one in flight, {int(room):,} in the room, {int(size):,} B, µs"
	if kind == "saturated":
		return f"CPU per delivery, saturated, {int(rest):,} in the room, 100 B, µs"
	if "_waited_" in name:
		return f"polls of the load generator without data, saturated, {int(name.rpartition('_')[2]):,} in the room, %"
	return f"deliveries per second, saturated, {int(name.rpartition('_')[2]):,} in the room"


def versions() -> str:
	"""Return the versions of the measured software."""
	found = {
		name: version(name) for name in ("uvloop", "aiohttp", "websockets", "httptools", "python-socketio")
	}
	for name in ("socket.io", "@redis/client"):
		package = ROOT / ".cache" / "benchmark" / "node_modules" / name / "package.json"
		if package.exists():
			found[name] = json.loads(package.read_text())["version"]
	return ", ".join(
		f"{name} {number}" for name, number in {"Python": platform.python_version(), **found}.items()
	)


def machine() -> str:
	"""Return the processor and the kernel of this machine."""
	model = ""
	for line in Path("/proc/cpuinfo").read_text().splitlines():
		if line.startswith("model name"):
			model = line.partition(":")[2].strip()
			break
	return f"{model}, {platform.system()} {platform.release()}; server on one core, load, Redis and web stand-in on another"


def table(rounds: dict[str, list[Figures]]) -> str:
	"""Return the table as Markdown.

	Args:
		rounds: The figures of each round, by server.
	"""
	names = list(rounds)
	peers = [name for name in names if name != "ours" and "ours" in names]
	head = ["figure", *names, *[f"ours / {name}" for name in peers]]
	lines = ["| " + " | ".join(head) + " |", "| --- |" + " ---: |" * (len(head) - 1)]
	for figure in rounds[names[0]][0]:
		cells = [label(figure)]
		medians = {}
		for name in names:
			values = [each[figure] for each in rounds[name] if figure in each]
			medians[name] = statistics.median(values)
			spread = f" ({number(min(values))} to {number(max(values))})" if len(values) > 1 else ""
			cells.append(number(medians[name]) + spread)
		for peer in peers:
			no_ratio = "_percent" in figure or not medians[peer]
			cells.append("" if no_ratio else f"**{medians['ours'] / medians[peer]:.2f}**")
		lines.append("| " + " | ".join(cells) + " |")
	count = len(rounds[names[0]])
	lines += [
		"",
		f"Medians of {count} round{'s' if count > 1 else ''}, in brackets the smallest and the largest. {versions()}. {machine()}.",
	]
	return "\n".join(lines)


def number(value: float) -> str:
	"""Return a number with three significant digits."""
	if value >= 1000:
		return f"{value:,.0f}"
	return f"{value:.3g}"


def write(path: Path, text: str) -> None:
	"""Replace the table in a Markdown file.

	Raises:
		ValueError: The file does not have the comments that mark the table.
	"""
	content = path.read_text()
	if BEGIN not in content or END not in content:
		raise ValueError(f"{path} has no {BEGIN} and {END}")
	before, _, rest = content.partition(BEGIN)
	path.write_text(f"{before}{BEGIN}\n{text}\n{END}{rest.partition(END)[2]}")
