"""The figures of docs/scaling.md that `benchmarks/fleet` computes: the tables are those of the program, and the model adds up."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks.fleet.__main__ import CHANGES, SIZES, STEADY, Fleet, Row, table
from benchmarks.fleet.units import Units
from tests.unit.docs.blocks import ROOT


@pytest.mark.parametrize("rows", [STEADY, CHANGES], ids=["steady", "changes"])
def test_the_page_has_the_table_of_the_program(rows: list[Row]) -> None:
	assert table(rows) in (ROOT / "docs" / "scaling.md").read_text()


def test_the_page_has_the_units() -> None:
	page = (ROOT / "docs" / "scaling.md").read_text()
	units = Units.load()
	for value in (
		units.connect,
		units.recovery,
		units.delivery,
		units.foreign_event,
		units.foreign_event_in_batch,
		units.other_site_event,
		units.other_site_event_in_batch,
		units.redis_event,
		units.redis_subscriber,
	):
		assert f"{value:g} µs" in page


def test_the_parts_of_the_cpu_are_all_of_it() -> None:
	for size in SIZES:
		one = Fleet(size, Units.load())
		parts = one.cpu_connections + one.cpu_deliveries + one.cpu_peers + one.processes * one.foreign_share
		assert one.cpu == pytest.approx(parts)


def test_a_fleet_has_two_processes_at_least_and_enough_for_its_sockets() -> None:
	units = Units.load()
	for size in (1, 10_000, 20_001, 1_000_000):
		one = Fleet(size, units)
		assert one.processes >= 2
		assert one.processes * one.sockets_per_process >= size


def test_the_limit_of_redis_is_where_it_uses_its_share() -> None:
	one = Fleet(1_000_000, Units.load(), connects_per_hour=0)
	at_limit = replace(one, events_per_socket=one.redis_limit / one.sockets)
	assert at_limit.redis_cpu == pytest.approx(0.7)
