"""The limits that this project sets itself: ratios to the other servers that the column "ours" must not exceed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from benchmarks.columns import BUN, FLOOR, NODE, OURS

Medians = Mapping[str, Mapping[str, float]]
"""Medians by column and figure."""


@dataclass(frozen=True, slots=True)
class Limit:
	"""One line of the table of limits.

	Attributes:
		title: What is limited.
		figures: The figures; the largest of their ratios counts.
		ratios: The largest permitted ratio to each other column.
	"""

	title: str
	figures: tuple[str, ...]
	ratios: Mapping[str, float]

	def measured(self, medians: Medians, column: str) -> float | None:
		"""Return the largest ratio to `column`; None if it has not been measured."""
		ratios = [
			medians[OURS][figure] / medians[column][figure]
			for figure in self.figures
			if figure in medians.get(OURS, {}) and medians.get(column, {}).get(figure)
		]
		return max(ratios, default=None)


LIMITS = (
	Limit("CPU per WebSocket connect", ("connect_us",), {BUN: 0.9, NODE: 0.2}),
	Limit("CPU per polling connect and upgrade", ("polling_connect_us",), {BUN: 0.9, NODE: 0.2}),
	Limit("all back at once: CPU per connect", ("reconnect_us",), {BUN: 0.9, NODE: 0.2}),
	Limit("message to one user", ("one_user_us",), {BUN: 0.75, NODE: 0.5, FLOOR: 1.8}),
	Limit(
		"delivery, one in flight, 1,000 and 5,000 in the room, 100 B and 1 KB (largest ratio)",
		tuple(f"in_flight_us_{room}_{size}" for room in (1000, 5000) for size in (100, 1000)),
		{BUN: 0.85, NODE: 0.55, FLOOR: 1.15},
	),
	Limit("p99 from publish to receipt", ("p99_ms",), {BUN: 0.9, NODE: 0.65}),
	Limit("memory of an idle connection", ("connection_kb",), {BUN: 0.25, NODE: 0.15}),
	Limit("resident at start", ("start_mb",), {BUN: 1.0, NODE: 0.65}),
	Limit("CPU until it listens", ("start_cpu_ms",), {BUN: 1.0, NODE: 0.9}),
)


def limits_table(medians: Medians) -> str:
	"""Return the measured ratios beside their limits as Markdown; empty if none was measured."""
	lines = []
	for limit in LIMITS:
		for column, most in limit.ratios.items():
			ratio = limit.measured(medians, column)
			if ratio is not None:
				met = "yes" if ratio <= most else "**no**"
				lines.append(f"| {limit.title} | {column} | {ratio:.2f} | {most:g} | {met} |")
	if not lines:
		return ""
	head = ["| figure | against | ours / it | limit | met |", "| --- | --- | ---: | ---: | --- |"]
	return "\n".join(head + lines)
