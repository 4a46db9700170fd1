"""The counters of workers that have ended."""

from __future__ import annotations

from pathlib import Path

import pytest

from realtime.workers.counters import Family, add, add_ended, is_kept, keep, of_ended


def counter(value: float, **labels: str) -> list[Family]:
	return [
		("events", "Events", "counter", [("events_total", labels, value)]),
		("sockets", "Sockets", "gauge", [("sockets", {}, value)]),
	]


def total(folder: Path, *alive: str) -> float:
	"""Return the sum of the counters of ended workers."""
	samples = [sample for _, _, _, found in add(of_ended(folder, alive)) for sample in found]
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


def test_labels_are_kept_apart(tmp_path: Path) -> None:
	keep(tmp_path, "one", counter(1, reason="a"))
	keep(tmp_path, "two", counter(2, reason="b"))
	add_ended(tmp_path, "one")
	add_ended(tmp_path, "two")
	((family,),) = of_ended(tmp_path, ())
	assert [(labels, value) for _, labels, value in family[3]] == [({"reason": "a"}, 1), ({"reason": "b"}, 2)]


def test_a_worker_that_has_told_nothing(tmp_path: Path) -> None:
	add_ended(tmp_path, "one")
	assert of_ended(tmp_path, ()) == []


def test_a_folder_that_cannot_be_written(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
	keep(tmp_path / "gone", "one", counter(1))
	assert "cannot be kept" in caplog.text
