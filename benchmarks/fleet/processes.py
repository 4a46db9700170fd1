"""Memory of processes, from /proc."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple


class Memory(NamedTuple):
	"""The memory of a process in bytes.

	Attributes:
		resident: All of it, with the pages of programs and libraries that other processes may have too.
		private: What the system gets back when the process ends.
	"""

	resident: float
	private: float

	def __str__(self) -> str:
		return f"{self.resident / 1e6:.1f} MB resident, {self.private / 1e6:.1f} MB private"


def memory(pid: int) -> Memory:
	"""Return the memory of a process."""
	sizes: dict[str, int] = {}
	for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
		name, size, *_ = line.split()
		sizes[name] = int(size) * 1024
	return Memory(sizes["Rss:"], sizes["Private_Clean:"] + sizes["Private_Dirty:"])
