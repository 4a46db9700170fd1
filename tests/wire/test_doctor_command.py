"""The doctor as a command: several causes, an unknown site, `--json`, `--fix`, and what it leaves behind."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from tests.wire.bench import APP_SITE, STOCK_SITE, Bench
from tests.wire.conditions import free_port
from tests.wire.conftest import MakeBench
from tests.wire.doctor import ON_APP_SITE, common, is_well, remedies, run_doctor, with_addresses


@pytest.fixture
def bench(make_bench: MakeBench) -> Bench:
	"""A bench in which both sites have an address that is reached."""
	return with_addresses(make_bench(version=17))


def test_an_unknown_site_ends_the_doctor_at_once(bench: Bench) -> None:
	bench.web.requests.clear()
	code, said = run_doctor(bench, "--site", "nosuch")
	assert code == 1
	(cause,) = remedies(said)
	assert "has no site 'nosuch'" in cause.what
	assert cause.command == "frappe-realtime doctor"
	assert f"it has: {APP_SITE}, {STOCK_SITE}" in said
	assert said.count("\nFAILED") == 1
	assert "\nok" not in said, "nothing else is checked"
	assert not bench.web.requests


def test_two_causes_have_a_line_each(bench: Bench) -> None:
	bench.stop_web()
	bench.sidecar.stop()
	code, said = run_doctor(bench)
	assert code == 1
	assert [cause.what.partition(":")[0] for cause in remedies(said)] == [
		"the web process does not answer at http",
		"the sidecar does not run",
	]
	assert "FAILED  the web process does not answer at" in said
	assert f"FAILED  the sidecar does not run: nothing answers on port {bench.sidecar.port}" in said
	assert "webserver_port" in said
	assert "frappe-realtime serve" in said
	assert "2 of " in said


def test_json(bench: Bench) -> None:
	code, said = run_doctor(bench, *ON_APP_SITE, "--json")
	well = json.loads(said)
	assert (code, well["ok"], well["causes"], well["fixed"]) == (0, True, [], [])
	assert {"redis.ok", "rights.ok", "web.ok", "sidecar.ok", "delivery.ok", "publish.ok", "public.ok"} <= {
		finding["code"] for finding in well["findings"]
	}
	bench.valkey.stop()
	code, said = run_doctor(bench, *ON_APP_SITE, "--json")
	broken = json.loads(said)
	assert (code, broken["ok"], len(broken["causes"])) == (1, False, 1)
	(cause,) = broken["causes"]
	assert (cause["code"], cause["state"], cause["follows_from"]) == ("redis.down", "FAILED", "")
	consequences = [finding for finding in broken["findings"] if finding["follows_from"]]
	assert {finding["follows_from"] for finding in consequences} == {"redis.down"}


def test_fix_changes_a_key_and_names_the_command_to_undo_it(bench: Bench) -> None:
	(bench.folder / "Procfile").write_text(f"web: bench serve --port {bench.web_port}\n")
	wrong = free_port()
	bench.write_config(webserver_port=wrong)
	file = Path(common(bench))
	before = file.read_text()
	would = f"set webserver_port from {wrong} to {bench.web_port} in {file}"
	assert f"With --fix this command would {would}" in run_doctor(bench, *ON_APP_SITE)[1]
	assert file.read_text() == before, "without --fix nothing is changed"
	code, said = run_doctor(bench, *ON_APP_SITE, "--fix")
	assert code == 0, said
	assert f"Fixed: {would}" in said
	assert json.loads(file.read_text()) == {**json.loads(before), "webserver_port": bench.web_port}
	undo = re.search(r"to undo it: (mv \S+ \S+)", said)
	assert undo is not None
	subprocess.run(undo[1].split(), check=True)
	assert file.read_text() == before


def test_fix_does_nothing_where_the_right_value_is_not_certain(bench: Bench) -> None:
	bench.stop_web()
	sites = bench.folder / "sites"
	files = {path: path.read_bytes() for path in sites.rglob("*") if path.is_file()}
	code, said = run_doctor(bench, *ON_APP_SITE, "--fix")
	assert code == 1
	assert "There is nothing that --fix can mend." in said
	assert {path: path.read_bytes() for path in sites.rglob("*") if path.is_file()} == files


def test_the_doctor_leaves_nothing_in_redis(bench: Bench) -> None:
	before = set(bench.valkey.client.scan_iter("*doctor*"))
	is_well(bench, *ON_APP_SITE)
	assert set(bench.valkey.client.scan_iter("*doctor*")) == before == set()
