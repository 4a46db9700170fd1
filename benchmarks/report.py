"""The tables: medians with their spread and the ratios of the column "ours" to the others; and the limits."""

from __future__ import annotations

import json
import platform
import shutil
import statistics
import subprocess
from importlib.metadata import version
from pathlib import Path

from benchmarks.cases.common import Figures
from benchmarks.columns import BUN, FLOOR, NODE, OURS, STOCK
from benchmarks.limits import limits_table
from benchmarks.servers import CACHE

PEERS = (BUN, NODE, FLOOR, STOCK)
"""The columns that have a ratio."""

LABELS = {
	"start_cpu_ms": "CPU until it listens, ms",
	"start_mb": "resident at start, MB",
	"connect_us": "CPU per WebSocket connect with authentication, µs",
	"connects_per_second": "WebSocket connects per second",
	"connection_kb": "resident per idle connection in three rooms, KB",
	"polling_connect_us": "CPU per polling connect and upgrade, µs",
	"polling_connects_per_second": "polling connects and upgrades per second",
	"reconnect_us": "all clients back at once: CPU per connect, µs",
	"reconnect_seconds": "all clients back at once: seconds until the last is connected",
	"reconnect_growth_percent": "all clients back at once: growth of resident memory from the first time to the last, %",
	"mixed_us": "CPU per delivery, one in flight, 1,000 in the room, 200 of them by long-polling, 100 B, µs",
	"one_user_us": "CPU per message to one user among 5,000, µs",
	"p50_ms": "10 events/s to 1,000: p50 publish to receipt, ms",
	"p99_ms": "10 events/s to 1,000: p99 publish to receipt, ms",
	"publish_us": "CPU of the web process per publish, µs",
	"way_p50_ms": "publish in the web process to receipt, one user: p50, ms",
	"way_p99_ms": "publish in the web process to receipt, one user: p99, ms",
	"permission_us": "CPU per subscription to a document, with the question to the web process, µs",
	"revocation_us": "CPU per socket when a DocType's rules change for 1,000 sockets, µs",
	"tls_connect_us": "over TLS: CPU of the server per connect, µs",
	"tls_connect_nginx_us": "over TLS: CPU of nginx per connect, µs",
	"tls_delivery_us": "over TLS: CPU of the server per delivery, 1,000 in the room, 100 B, µs",
	"tls_delivery_nginx_us": "over TLS: CPU of nginx per delivery, 1,000 in the room, 100 B, µs",
}
BEGIN, END = "<!-- table -->", "<!-- end of table -->"


def label(name: str) -> str:
	"""Return the label of the figure `name` in the table."""
	if name in LABELS:
		return LABELS[name]
	kind, _, rest = name.partition("_us_")
	if kind == "recovery":
		return f"CPU per recovery with {int(rest):,} missed events, µs"
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
	for name in ("socket.io", "@redis/client", "bun", "@socket.io/bun-engine"):
		package = CACHE / "node_modules" / name / "package.json"
		if package.exists():
			found[name] = json.loads(package.read_text())["version"]
	for name, command in {"Node": "node", "nginx": "nginx"}.items():
		if (path := shutil.which(command)) is not None:
			output = subprocess.run([path, "-v"], capture_output=True, text=True, check=True)
			found[name] = (
				(output.stdout + output.stderr).strip().lstrip("v").removeprefix("nginx version: nginx/")
			)
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


def tables(rounds: dict[str, list[Figures]]) -> str:
	"""Return the figures, the limits and the versions as Markdown.

	Args:
		rounds: The figures of each round, by column.
	"""
	names = list(rounds)
	values: dict[str, dict[str, list[float]]] = {}
	for name in names:
		for figures in rounds[name]:
			for figure, value in figures.items():
				values.setdefault(figure, {}).setdefault(name, []).append(value)
	medians = {
		name: {figure: statistics.median(of[name]) for figure, of in values.items() if name in of}
		for name in names
	}
	peers = [name for name in PEERS if name in names and OURS in names]
	head = ["figure", *names, *[f"ours / {name}" for name in peers]]
	lines = ["| " + " | ".join(head) + " |", "| --- |" + " ---: |" * (len(head) - 1)]
	for figure, of in values.items():
		cells = [label(figure), *[_spread(of.get(name, [])) for name in names]]
		for peer in peers:
			ours, other = medians[OURS].get(figure), medians[peer].get(figure)
			has_ratio = "_percent" not in figure and ours is not None and other
			cells.append(f"**{ours / other:.2f}**" if has_ratio else "")  # type: ignore[operator]
		lines.append("| " + " | ".join(cells) + " |")
	count = max(len(figures) for figures in rounds.values())
	lines += [
		"",
		f"Medians of {count} round{'s' if count > 1 else ''}{', in brackets the smallest and the largest' if count > 1 else ''}. "
		f"{versions()}. {machine()}.",
	]
	if limits := limits_table(medians):
		lines += ["", "The limits that this project sets itself:", "", limits]
	return "\n".join(lines)


def _spread(values: list[float]) -> str:
	"""Return the median, with the smallest and the largest value if there are several; empty without values."""
	if not values:
		return ""
	median = number(statistics.median(values))
	return f"{median} ({number(min(values))} to {number(max(values))})" if len(values) > 1 else median


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
