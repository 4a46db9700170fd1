"""The counters of workers that have ended, so that the sums of a host never go down.

A counter that goes down looks like a restart to Prometheus, which then takes its whole value for an increase. So each worker
keeps its counters in the folder of the workers whenever it reports them, and the supervisor adds those of a worker that has
ended to the others'. What a killed worker has counted since its last report is lost.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from ..json_codec import dumps, loads

logger = logging.getLogger("realtime.workers")

SUFFIX = ".counters"

KINDS = ("counter", "histogram")
"""The types of metrics that only increase."""

RESTARTS = "frappe_realtime_worker_restarts_total"
"""The counter that is not of a worker itself: each has it from the supervisor, and the newest one has the most."""

Sample = tuple[str, dict[str, str], float]
"""The name of a sample, its labels, and its value."""

Family = tuple[str, str, str, list[Sample]]
"""The name of a metric, its description, its type, and its samples."""


def keep(folder: Path, name: str, families: Iterable[Family]) -> None:
	"""Keep the counters of the worker `name`; replaces what it has kept before."""
	_write(folder / (name + SUFFIX), {"families": [one for one in families if one[2] in KINDS]})


def is_kept(folder: Path, name: str) -> bool:
	"""Return True if the worker `name` has kept counters."""
	return (folder / (name + SUFFIX)).exists()


class Kept(NamedTuple):
	"""What is kept at one time.

	Args:
		ended: The sums of the workers that have ended, as far as the supervisor has added them.
		workers: The counters of the others, by name.
	"""

	ended: list[Family]
	workers: dict[str, list[Family]]

	def without(self, alive: Iterable[str]) -> list[list[Family]]:
		"""Return the counters of the workers that have ended.

		Args:
			alive: The names of the workers whose counters are known from themselves.
		"""
		known = set(alive)
		return [self.ended, *(families for name, families in self.workers.items() if name not in known)]


def read_kept(folder: Path) -> Kept:
	"""Return what is kept.

	It has to be read before the workers are asked: one that answers and then ends would count twice otherwise.
	"""
	while True:
		sums = _read(folder / SUFFIX)
		# One that is added already, and whose file is about to be removed, does not count twice.
		added = {"", sums.get("last", "")}
		parts = {
			name: part["families"]
			for path in folder.glob("*" + SUFFIX)
			if (name := path.name.removesuffix(SUFFIX)) not in added and (part := _read(path))
		}
		# One that was added since the sums were read, and whose file is removed, would not count at all.
		if _read(folder / SUFFIX) == sums:
			return Kept(sums.get("families", []), parts)


def add_ended(folder: Path, name: str) -> None:
	"""Add the counters of the worker `name`, which has ended, to those of the others that have; for the supervisor."""
	path = folder / (name + SUFFIX)
	part = _read(path)
	if part:
		sums = _read(folder / SUFFIX).get("families", [])
		families = add([sums, part["families"]], most=frozenset((RESTARTS,)))
		_write(folder / SUFFIX, {"families": families, "last": name})
		path.unlink(missing_ok=True)


def add(
	parts: Iterable[Iterable[Family]],
	least: frozenset[str] = frozenset(),
	most: frozenset[str] = frozenset(),
) -> list[Family]:
	"""Return metrics with the sums of their samples.

	Args:
		parts: The metrics of each worker.
		least: The names of samples whose minimum counts in place of the sum.
		most: The names of samples whose maximum counts.
	"""
	merged: dict[str, tuple[str, str, dict[tuple[str, tuple[tuple[str, str], ...]], float]]] = {}
	for families in parts:
		for name, description, kind, samples in families:
			values = merged.setdefault(name, (description, kind, {}))[2]
			for sample, labels, value in samples:
				key = (sample, tuple(labels.items()))
				if key not in values:
					values[key] = value
				elif sample in least:
					values[key] = min(values[key], value)
				elif sample in most:
					values[key] = max(values[key], value)
				else:
					values[key] += value
	return [
		(
			name,
			description,
			kind,
			[(sample, dict(labels), value) for (sample, labels), value in values.items()],
		)
		for name, (description, kind, values) in merged.items()
	]


def _read(path: Path) -> dict[str, Any]:
	with suppress(OSError, ValueError):
		content = loads(path.read_text())
		if isinstance(content, dict):
			return content
	return {}


def _write(path: Path, content: dict[str, Any]) -> None:
	new = path.with_name(path.name + ".new")
	try:
		new.write_text(dumps(content))
		new.replace(path)
	except OSError as error:
		logger.warning("the counters of a worker cannot be kept in %s: %s", path, error)
