"""docs/broken-benches.md: each line of the doctor in the table is checked by a test, and each code of the browser exists."""

from __future__ import annotations

import re

import pytest

from tests.broken_benches import ROWS, fits
from tests.unit.docs.blocks import ROOT

WIRE = ROOT / "tests" / "wire"
SOURCES = "".join(path.read_text() for path in sorted(WIRE.glob("test_doctor_*.py")))
REMEDIES = (ROOT / "frappe_realtime" / "public" / "js" / "remedies.js").read_text()


def is_named(row: str) -> bool:
	"""Return whether a test of the doctor names a row: as a whole, or by the end that its parameter is."""
	return any(
		f'"{end}"' in SOURCES
		for end in (row, row.removeprefix("nginx "), row.partition(" may not ")[2])
		if end
	)


def test_the_table_is_read() -> None:
	assert len(ROWS) >= 50
	assert all(all(row) for row in ROWS.values())


@pytest.mark.parametrize("row", [name for name, row in ROWS.items() if row.doctor.startswith("`")])
def test_a_line_of_the_doctor_is_checked(row: str) -> None:
	assert is_named(row)
	assert ROWS[row].remedy.startswith("`")


def test_a_row_that_no_test_names_is_found() -> None:
	assert not is_named("nginx without a configuration")


@pytest.mark.parametrize(
	"code", sorted({code for row in ROWS.values() for code in re.findall(r"#(\w+)\)", row.browser)})
)
def test_a_code_of_the_browser_has_a_remedy(code: str) -> None:
	assert f"\t{code}: [" in REMEDIES


@pytest.mark.parametrize(
	("said", "is_right"),
	[
		("Redis at redis://h:1 (redis_queue) is away", True),
		("Redis at redis://h:1 (redis_queue) is away.", False),
		("Redis at redis://h:1 (redis_cache) is away", False),
	],
)
def test_a_cell_stands_for_the_lines_that_differ_in_its_gaps(said: str, is_right: bool) -> None:
	assert fits("`Redis at … (redis_queue) is away`", said) is is_right
