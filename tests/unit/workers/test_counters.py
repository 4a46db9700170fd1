"""The counters of workers that have ended."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from realtime.workers import counters
from realtime.workers.counters import RESTARTS, Family, add, add_ended, is_kept, keep, read_kept


def counter(value: float, **labels: str) -> list[Family]:
	return [
		("events", "Events", "counter", [("events_total", labels, value)]),
		("sockets", "Sockets", "gauge", [("sockets", {}, value)]),
	]


def total(folder: Path, *alive: str) -> float:
	"""Return the sum of the counters of ended workers."""
	samples = [sample for _, _, _, found in add(read_kept(folder).without(alive)) for sample in found]
	assert all(name == "events_total" for name, _, _ in samples), "gauges end with their worker"
	return sum(value for _, _, value in samples)


def test_the_counters_of_an_ended_worker_stay(tmp_path: Path) -> None:
	keep(tmp_path, "one", counter(5))
	keep(tmp_path, "one", counter(7))
	keep(tmp_path, "two", counter(1))
	assert is_kept(tmp_path, "one")
	assert total(tmp_path, "one", "two") == 0
	assert total(tmp_path, "two") == 7, "the supervisor does not know yet that it has ended"
	add_ended(tmp_path, "one")
	assert not is_kept(tmp_path, "one")
	assert total(tmp_path, "two") == 7
	add_ended(tmp_path, "two")
	assert total(tmp_path) == 8
	assert len(list(tmp_path.iterdir())) == 1, "one file for all"


def test_a_worker_counts_once_while_its_file_is_being_removed(
	tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
	keep(tmp_path, "one", counter(5))
	monkeypatch.setattr(Path, "unlink", lambda self, missing_ok: None)
	add_ended(tmp_path, "one")
	assert is_kept(tmp_path, "one")
	assert total(tmp_path) == 5


def test_a_worker_that_is_added_while_the_files_are_read_counts_once(
	tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
	for name in ("one", "two"):
		keep(tmp_path, name, counter(5))
	read, ending = counters._read, ["one", "two"]

	def read_and_end(path: Path) -> dict[str, Any]:
		content = read(path)
		if path.name == counters.SUFFIX and ending:
			name = ending.pop()
			monkeypatch.setattr(counters, "_read", read)
			add_ended(tmp_path, name)
			monkeypatch.setattr(counters, "_read", read_and_end)
		return content

	monkeypatch.setattr(counters, "_read", read_and_end)
	assert total(tmp_path) == 10
	assert not ending


def test_a_worker_that_answers_and_then_ends_counts_once(tmp_path: Path) -> None:
	keep(tmp_path, "one", counter(5))
	kept = read_kept(tmp_path)
	add_ended(tmp_path, "one")
	assert kept.without(["one"]) == [[]]


def test_labels_are_kept_apart(tmp_path: Path) -> None:
	keep(tmp_path, "one", counter(1, reason="a"))
	keep(tmp_path, "two", counter(2, reason="b"))
	add_ended(tmp_path, "one")
	add_ended(tmp_path, "two")
	((family,),) = read_kept(tmp_path).without(())
	assert [(labels, value) for _, labels, value in family[3]] == [({"reason": "a"}, 1), ({"reason": "b"}, 2)]


def test_a_worker_that_has_told_nothing(tmp_path: Path) -> None:
	add_ended(tmp_path, "one")
	assert total(tmp_path) == 0


def test_a_folder_that_cannot_be_written(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
	keep(tmp_path / "gone", "one", counter(1))
	assert "cannot be kept" in caplog.text


def test_how_often_workers_were_started_again_is_not_added_up(tmp_path: Path) -> None:
	"""Each worker has the number that the supervisor had when it was started."""
	for number, name in enumerate(("one", "two", "three")):
		keep(tmp_path, name, [("restarts", "Restarts", "counter", [(RESTARTS, {}, number)])])
		add_ended(tmp_path, name)
	((family,),) = read_kept(tmp_path).without(())
	assert [value for _, _, value in family[3]] == [2]
