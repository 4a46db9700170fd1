"""Packets other than events: acknowledgements and attachments count against the rate of a client, and in bytes."""

from __future__ import annotations

import re
import time

import pytest

from tests.wire.apps import install, write_handlers
from tests.wire.bench import APP_SITE
from tests.wire.conftest import Connect, MakeBench
from tests.wire.raw import WebSocketSession

NAMESPACE = f"/{APP_SITE},"

ASKING = """
from frappe.realtime import realtime

@realtime.on("ask", allow_guest=True)
async def ask(socket, times):
	for number in range(times):
		await socket.call("question", number)
	return "asked"
"""


@pytest.mark.parametrize("kind", ["ack", "attachments", "binary ack"])
def test_a_flood_closes_the_connection(make_bench: MakeBench, connect: Connect, kind: str) -> None:
	"""A Guest may send 100 packets at once; after as many again the connection is closed."""
	bench = make_bench()
	witness = connect(bench, bench.user())
	raw = WebSocketSession(bench, bench.headers()).join()
	placeholders = ",".join(f'{{"_placeholder":true,"num":{number}}}' for number in range(10))
	for number in range(300):
		if kind == "ack":
			raw.send(f"43{NAMESPACE}{number}[]")
		elif number < 30:
			head = f'4510-{NAMESPACE}["x",' if kind == "attachments" else f"4610-{NAMESPACE}{number}["
			raw.send(f"{head}{placeholders}]")
			for _ in range(10):
				raw.send(b"x")
	assert raw.ends()
	key = "realtime_guest_events_per_second"
	assert f'limit_reached_total{{limit="{key}"}}' in bench.sidecar.get("/metrics")[1]
	witness.fence()


def test_an_expected_acknowledgement_is_free(make_bench: MakeBench) -> None:
	"""The server asked for it. A client may be asked often: here by a handler, three times as often as a Guest may send packets at once."""
	bench = make_bench(start=False)
	write_handlers(bench, "asking", ASKING)
	install(bench, "asking")
	bench.start()
	raw = WebSocketSession(bench, bench.headers()).join()
	question = re.compile(rf'42{NAMESPACE}(\d+)\["question",\d+\]')
	raw.send(f'42{NAMESPACE}1["ask",300]')
	while (packet := str(raw.receive())) != f'43{NAMESPACE}1["asked"]':
		if found := question.fullmatch(packet):
			raw.send(f"43{NAMESPACE}{found[1]}[]")
	assert raw.fence()
	key = "realtime_guest_events_per_second"
	assert f'limit_reached_total{{limit="{key}"}}' not in bench.sidecar.get("/metrics")[1]
	raw.close()


@pytest.mark.parametrize(
	("user", "key", "size", "count"),
	[
		("Guest", "realtime_guest_attachment_bytes", 40_000, 3),
		("user", "realtime_attachment_bytes", 90_000, 3),
	],
)
def test_attachments_are_bounded_in_bytes(
	make_bench: MakeBench, user: str, key: str, size: int, count: int
) -> None:
	bench = make_bench(
		common={"realtime_attachment_bytes": 200_000, "realtime_guest_attachment_bytes": 100_000}
	)
	headers = bench.headers(bench.user() if user == "user" else user)
	placeholders = ",".join(f'{{"_placeholder":true,"num":{number}}}' for number in range(count))
	raw = WebSocketSession(bench, headers).join()
	raw.send(f'45{count - 1}-{NAMESPACE}["x",{placeholders.rsplit(",", 2)[0]}]')
	for _ in range(count - 1):
		raw.send(b"x" * size)
	assert raw.fence(), "fewer bytes than the bound"
	raw.send(f'45{count}-{NAMESPACE}["x",{placeholders}]')
	for _ in range(count):
		raw.send(b"x" * size)
	assert raw.ends()
	assert f'limit_reached_total{{limit="{key}"}} 1' in bench.sidecar.get("/metrics")[1]


def test_what_attachments_of_guests_hold(make_bench: MakeBench) -> None:
	"""Incomplete events of 20 connections hold no more than the bound each."""
	bench = make_bench()
	raws = [WebSocketSession(bench, bench.headers()).join() for _ in range(20)]
	before = bench.sidecar.memory()
	for raw in raws:
		raw.send(f'4510-{NAMESPACE}["x",{{"_placeholder":true,"num":0}}]')
		for _ in range(9):
			raw.send(b"x" * 999_000)
	time.sleep(1)
	assert bench.sidecar.memory() - before < 30 * 1024 * 1024
	for raw in raws:
		raw.close()
