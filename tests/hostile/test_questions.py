"""Questions to the web process: a failing one is not repeated, and one client causes a bounded number of them."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

import pytest

from realtime.demo.endpoints import FrappeError
from tests.wire.apps import install, write_handlers
from tests.wire.bench import APP_SITE, SITES, STOCK_SITE, Bench
from tests.wire.conditions import until
from tests.wire.conftest import Connect, MakeBench

KEY = "realtime_guest_questions_per_second"


def fail_at(bench: Bench, site: str, monkeypatch: pytest.MonkeyPatch, prefix: str = "odd") -> None:
	"""Make the web process fail (HTTP 500) at the permission of documents whose name starts with `prefix`."""
	model = bench.site(site)
	model.allow("Guest", "ToDo")
	permitted = model.has_permission

	def fails(user: str, doctype: str, name: str = "", ptype: str = "read") -> bool:
		if name.startswith(prefix):
			raise FrappeError(500, "AttributeError")
		return permitted(user, doctype, name, ptype)

	monkeypatch.setattr(model, "has_permission", fails)


def asked(bench: Bench) -> Counter[str]:
	"""Return how often the web process was asked about each document."""
	return Counter(name for request in list(bench.web.requests) for _, name in request.questions() if name)


def metric(bench: Bench, name: str) -> float:
	_, text = bench.sidecar.get("/metrics")
	return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith(name))


@pytest.mark.parametrize("site", SITES)
def test_a_question_at_which_the_web_process_fails_is_repeated_once(
	make_bench: MakeBench, connect: Connect, monkeypatch: pytest.MonkeyPatch, site: str
) -> None:
	bench = make_bench()
	fail_at(bench, site, monkeypatch)
	client = connect(bench, site=site)
	end = time.monotonic() + 4
	while time.monotonic() < end:
		client.emit("doc_subscribe", "ToDo", "odd")
		client.fence()
		time.sleep(0.3)
	# With the app: together with others, alone, and once more.
	assert 1 <= asked(bench)["odd"] <= (3 if site == APP_SITE else 2)


def test_the_failure_is_forgotten_when_the_access_changes(
	make_bench: MakeBench, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
	bench = make_bench()
	with monkeypatch.context() as broken:
		fail_at(bench, APP_SITE, broken)
		client = connect(bench)
		client.emit("doc_subscribe", "ToDo", "odd")
		until(lambda: asked(bench)["odd"] >= 3, "the failures")
	message = '{"site": "app.test", "kind": "doctype", "doctype": "ToDo"}'
	bench.valkey.client.publish("frappe_realtime:access", message)
	until(lambda: metric(bench, "frappe_realtime_access_messages_total"), "the change of access is read")
	bench.join(client, "doc:ToDo/odd", "doc_subscribe", "ToDo", "odd")


@pytest.mark.parametrize("site", SITES)
def test_a_client_that_invents_names_asks_at_its_rate(
	make_bench: MakeBench, connect: Connect, site: str
) -> None:
	bench = make_bench()
	hostile, other = connect(bench, site=site), connect(bench, bench.user(site), site)
	began = time.monotonic()
	for number in range(90):
		hostile.emit("doc_subscribe", "ToDo", f"invented {number}")
	hostile.fence()
	until(lambda: hostile.all("limit_reached"), "limit_reached")
	[message] = hostile.all("limit_reached")[0]
	assert message["limit"] == KEY
	until(lambda: asked(bench), "the first questions")
	burst, rate = 20, 2
	allowed = burst + rate * (time.monotonic() - began) + 1
	assert sum(asked(bench).values()) <= allowed
	assert metric(bench, f'frappe_realtime_limit_reached_total{{limit="{KEY}"}}') >= 90 - allowed
	# One message for the many, and one more after each question that the rate has allowed since; others are not affected.
	messages = len(hostile.all("limit_reached"))
	assert messages <= 1 + rate * (time.monotonic() - began)
	bench.join(other, "doc:ToDo/1", "doc_subscribe", "ToDo", "1", site=site)


ASKING = """
from frappe.realtime import realtime

@realtime.on("ask", allow_guest=True)
async def ask(socket, name):
	return await socket.has_permission("ToDo", name)
"""


def test_questions_of_handlers_count_in_the_rate_of_the_client(
	make_bench: MakeBench, connect: Connect
) -> None:
	bench = make_bench(start=False)
	write_handlers(bench, "asking", ASKING)
	install(bench, "asking")
	bench.start()
	hostile, other = connect(bench), connect(bench, bench.user())
	began = time.monotonic()
	for number in range(90):
		hostile.emit("ask", f"invented {number}")
	hostile.fence()
	until(lambda: hostile.all("limit_reached"), "limit_reached")
	until(lambda: asked(bench), "the first questions")
	burst, rate = 20, 2
	assert sum(asked(bench).values()) <= burst + rate * (time.monotonic() - began) + 1
	assert other.call("ask", bench.document()) is True
	bench.sidecar.expects_traceback = True


def test_what_is_known_costs_nothing(make_bench: MakeBench, connect: Connect) -> None:
	bench = make_bench()
	bench.site(STOCK_SITE).allow("Guest", "ToDo")
	client = connect(bench, site=STOCK_SITE)
	bench.join(client, "doc:ToDo/1", "doc_subscribe", "ToDo", "1", site=STOCK_SITE)
	for _ in range(30):
		client.emit("doc_unsubscribe", "ToDo", "1")
		client.emit("doc_subscribe", "ToDo", "1")
	client.fence()
	received: Any = client.all("limit_reached")
	assert received == []
