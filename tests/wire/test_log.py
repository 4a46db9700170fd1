"""The log as JSON lines."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest

from tests.wire.apps import install, write_handlers
from tests.wire.bench import APP_SITE, Bench
from tests.wire.clients import Refused
from tests.wire.conditions import PATIENCE, until
from tests.wire.conftest import Connect, MakeBench
from tests.wire.sidecar import Sidecar

HANDLERS = """
from frappe.realtime import realtime

@realtime.on("say")
async def say(socket, text):
	raise ValueError("on purpose")
"""


def lines(bench: Bench) -> list[dict[str, Any]]:
	"""Return the objects in the log."""
	return [json.loads(line) for line in bench.sidecar.log.splitlines()]


def test_lines_have_the_client_and_nothing_secret(make_bench: MakeBench, connect: Connect) -> None:
	bench = make_bench(start=False, common={"realtime_log_format": "json"})
	write_handlers(bench, "chat", HANDLERS)
	install(bench, "chat")
	bench.start()
	bench.sidecar.expects_traceback = True
	user = bench.user()
	client = connect(bench, user)
	client.emit("say", "a secret payload")
	bench.valkey.client.publish("events", '{"message": "a secret payload"}')
	with pytest.raises(Refused):
		connect(bench, user, headers={"Origin": "https://elsewhere.invalid"})

	def failure() -> dict[str, Any]:
		return next((line for line in lines(bench) if "a handler of 'say' failed" in line["message"]), {})

	found = until(failure, "the failure of the handler")
	assert (found["level"], found["site"], found["user"], found["socket"]) == (
		"ERROR",
		APP_SITE,
		user.name,
		client.id,
	)
	assert "on purpose" in found["traceback"]
	until(lambda: [line for line in lines(bench) if "invalid message" in line["message"]], "the message")
	until(lambda: [line for line in lines(bench) if "was refused" in line["message"]], "the refusal")
	log = bench.sidecar.log
	assert "a secret payload" not in log
	assert not [sid for sid in bench.site().sessions if sid in log]


def test_the_option_of_serve(make_bench: MakeBench, tmp_path: Path) -> None:
	bench = make_bench(start=False)
	bench.sidecar = Sidecar(bench.folder, tmp_path / "log", ("--log-format", "json"))
	bench.start()
	assert lines(bench)[0]["message"].startswith("frappe-realtime ")


def test_malformed_requests_are_logged_at_a_bounded_rate(make_bench: MakeBench) -> None:
	"""aiohttp parses the body of a request for `/health`."""
	bench = make_bench()
	head = b"POST /health HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
	for _ in range(100):
		with socket.create_connection(("127.0.0.1", bench.sidecar.port), timeout=PATIENCE) as connection:
			connection.sendall(head + b"not a chunk\r\n")
			assert b" 400 " in connection.recv(1000)
	lines = [line for line in bench.sidecar.log.splitlines() if "a request is not valid HTTP" in line]
	assert 1 <= len(lines) < 30
	assert len(bench.sidecar.log) < 10_000
