"""`frappe-realtime top`: all sites and all sidecars of the bench, on a terminal, in a pipe and as JSON."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.wire.background import Background
from tests.wire.bench import APP_SITE, STOCK_SITE, Bench
from tests.wire.clients import Refused
from tests.wire.command import Result, run_command
from tests.wire.conditions import PATIENCE, until
from tests.wire.conftest import Connect, MakeBench
from tests.wire.sidecar import ROOT, environment
from tests.wire.sidecars import Pair


def run_top(bench: Bench, *arguments: str) -> Result:
	"""Run `top` where it must end by itself."""
	return run_command("top", "--bench", str(bench.folder), *arguments)


def shown(bench: Bench, sidecars: int = 1) -> dict[str, Any]:
	"""Return what `top --once --json` prints when this number of sidecars have answered in time."""

	def complete() -> dict[str, Any]:
		result = run_top(bench, "--once", "--json")
		assert result.code == 0, result.errors
		found: dict[str, Any] = json.loads(result.output)
		return found if len(found["processes"]) >= sidecars else {}

	return until(complete, f"the answers of {sidecars} sidecars")


def test_all_sites_as_json(make_bench: MakeBench, connect: Connect) -> None:
	bench = make_bench()
	connect(bench, bench.user())
	connect(bench, bench.user(STOCK_SITE), STOCK_SITE)
	connect(bench, site=STOCK_SITE)
	with pytest.raises(Refused):
		connect(bench, headers={"Origin": "https://elsewhere.invalid"})
	shown(bench)
	published: list[str] = []

	def counted() -> dict[str, Any]:
		published.append(f"news {len(published)}")
		bench.publish(published[-1], {"text": "hello"}, "all")
		one = shown(bench)
		return one if one["events"] else {}

	# Not one event: they are counted for ten seconds after `top` has asked, and a busy machine may need longer to ask again.
	found = until(counted, "an event")
	assert found.keys() == {
		"time",
		"interval",
		"processes",
		"latency_ms",
		"sites",
		"events",
		"incidents",
	}
	assert {site["site"]: site["totals"]["sockets"] for site in found["sites"]} == {
		APP_SITE: 1,
		STOCK_SITE: 2,
	}
	(process,) = found["processes"]
	assert process["sockets"] == 3
	assert {(event["site"], event["event"], event["count"]) for event in found["events"]} <= {
		(APP_SITE, event, 1) for event in published
	}
	(incident,) = found["incidents"]
	assert (incident["site"], incident["code"]) == (APP_SITE, "origin_not_allowed")
	assert not [sid for sid in bench.site().sessions if sid in json.dumps(found)]


def test_one_block_in_a_pipe(bench: Bench, connect: Connect) -> None:
	connect(bench, bench.user())
	result = run_top(bench, "--once")
	assert result.code == 0
	assert "\x1b" not in result.output
	assert APP_SITE in result.output
	assert "deliveries/s" in result.output


def test_on_a_terminal_until_ctrl_c(bench: Bench, connect: Connect) -> None:
	connect(bench, bench.user())
	ours, theirs = pty.openpty()
	process = subprocess.Popen(
		[sys.executable, "-m", "realtime", "top", "--bench", str(bench.folder)],
		stdout=theirs,
		stderr=subprocess.PIPE,
		cwd=ROOT,
		env=environment(TERM="xterm", COLUMNS="150", LINES="40"),
	)
	os.close(theirs)
	written = b""
	try:
		while APP_SITE.encode() not in written:
			written += os.read(ours, 65536)
		process.send_signal(signal.SIGINT)
		# As a terminal does: a program that writes to one that nobody reads would wait for ever.
		with contextlib.suppress(OSError):
			while os.read(ours, 65536):
				pass
		assert process.wait(PATIENCE) == 0
	finally:
		process.kill()
		process.wait()
		os.close(ours)
		assert process.stderr is not None
		errors = process.stderr.read()
		process.stderr.close()
	assert errors == b""
	assert b"\x1b[" in written


def test_both_sidecars(background: Background, tmp_path: Path, connect: Connect) -> None:
	pair = Pair(background, tmp_path)
	try:
		pair.start()
		user = pair.first.user()
		connect(pair.first, user)
		connect(pair.second, user)
		found = shown(pair.first, 2)
		assert len(found["processes"]) == 2
		(site,) = found["sites"]
		assert (site["totals"]["sockets"], site["totals"]["users"]) == (2, 1)
	finally:
		pair.close()
	pair.check_logs()


def test_without_a_sidecar(make_bench: MakeBench) -> None:
	bench = make_bench(start=False)
	bench.valkey.start()
	result = run_top(bench, "--once")
	assert result.code == 1
	assert "no sidecar answers" in result.errors


def test_without_redis(make_bench: MakeBench) -> None:
	result = run_top(make_bench(start=False), "--once", "--json")
	assert result.code == 1
	assert "redis_queue" in result.errors
	assert result.output == ""
