"""Four workers ask the web process as one does, and each of them goes on without the others."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256

import pytest

from realtime.demo.model import User
from realtime.engine.owners import owner_of
from tests.wire.bench import APP_SITE, Bench
from tests.wire.clients import Client
from tests.wire.conditions import until
from tests.wire.conftest import MakeBench
from tests.wire.workers import metric, workers

COUNT = 4
TABS = 12
"""Of one user: the chance that one worker accepts all of them is one in four million."""

ASKED_WHO = "frappe.realtime.get_user_info"
ASKED_WHETHER = "frappe.realtime.has_permissions"


@pytest.fixture
def bench(make_bench: MakeBench) -> Bench:
	# No answer expires while the test runs.
	one = make_bench(common={"socketio_workers": COUNT, "realtime_cache_seconds": 3600})
	workers(one, COUNT)
	return one


@contextmanager
def tabs_of(bench: Bench, user: User) -> Iterator[list[Client]]:
	"""Connect the tabs of one session."""
	session: dict[str, str | None] = {"Cookie": f"sid={bench.site().login(user.name)}"}
	tabs = [bench.client(headers=session) for _ in range(TABS)]
	for waiting in [tab.start_connecting() for tab in tabs]:
		waiting.result(30)
	yield tabs
	for tab in tabs:
		tab.close()


def announce(bench: Bench, kind: str, **what: str) -> None:
	"""Say what the app says when access has changed, and wait until all workers have heard it."""
	message = json.dumps({"site": APP_SITE, "kind": kind, **what})
	assert bench.valkey.client.publish("frappe_realtime:access", message) == COUNT
	line = f'frappe_realtime_access_messages_total{{kind="{kind}"}} {COUNT}.0'
	until(lambda: line in bench.sidecar.get("/metrics")[1], f"{kind} at all workers")


def heal(bench: Bench) -> None:
	bench.web.heal()
	# The stand-in's loop does not notice by itself what another thread has set.
	bench.background.run(asyncio.sleep(0))


def hears(bench: Bench, tabs: list[Client], room: str) -> list[bool]:
	event = f"probe {bench.document()}"
	bench.publish(event, {}, room)
	bench.settle(*tabs)
	return [bool(tab.all(event)) for tab in tabs]


def questions(bench: Bench, name: str) -> int:
	return sum(["ToDo", name] in request.questions() for request in bench.web.requests)


def test_the_tabs_of_a_user_ask_once(bench: Bench) -> None:
	name = bench.document()
	with tabs_of(bench, bench.user()) as tabs:
		assert len({owner_of(tab.sio.eio.sid) for tab in tabs}) > 1
		for tab in tabs:
			bench.join(tab, f"doc:ToDo/{name}", "doc_subscribe", "ToDo", name)
	assert bench.web.counts[ASKED_WHO] == 1
	assert questions(bench, name) == 1
	for kind in ("sessions", "permissions"):
		assert metric(bench, f"{kind}_asked_total") == 1
		assert 1 <= metric(bench, f"{kind}_shared_total") < COUNT


def test_a_permission_that_goes_while_it_is_asked_for(bench: Bench) -> None:
	user, name = bench.user(), bench.document()
	with tabs_of(bench, user) as tabs:
		bench.web.fail("has_permissions", hang=True, body=b'{"message": [true]}')
		for tab in tabs:
			tab.emit("doc_subscribe", "ToDo", name)
			tab.fence()
		until(lambda: bench.web.counts[ASKED_WHETHER], "the question")
		assert bench.web.counts[ASKED_WHETHER] == 1
		bench.site().forbid(user.name, "ToDo", name)
		announce(bench, "user", user=user.name)
		heal(bench)
		until(lambda: bench.web.counts[ASKED_WHETHER] > 1, "the same question again")
		until(lambda: metric(bench, "recheck_waiting") == 0, "the end of the revalidation")
		assert not any(hears(bench, tabs, f"doc:ToDo/{name}"))
		# Each worker accepts only what was asked after it has heard of the change.
		assert bench.web.counts[ASKED_WHETHER] <= 1 + COUNT


def test_a_session_that_ends_while_its_tabs_connect(bench: Bench) -> None:
	user = bench.user()
	sid = bench.site().login(user.name)
	info = {"user": user.name, "user_type": "System User", "installed_apps": ["frappe"]}
	bench.web.fail(ASKED_WHO, hang=True, body=json.dumps({"message": info}).encode())
	tabs = [bench.client(headers={"Cookie": f"sid={sid}"}) for _ in range(TABS)]
	connecting = [tab.start_connecting() for tab in tabs]
	until(lambda: bench.sidecar.health()[1]["connections"] == TABS, "all connections")
	until(lambda: bench.web.counts[ASKED_WHO], "the question")
	assert bench.web.counts[ASKED_WHO] == 1
	del bench.site().sessions[sid]
	announce(bench, "session", sid_hash=sha256(sid.encode()).hexdigest())
	heal(bench)
	for waiting in connecting:
		waiting.result(30)
	assert not any(hears(bench, tabs, f"user:{user.name}"))
	assert all(hears(bench, tabs, "user:Guest"))
	for tab in tabs:
		tab.close()


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "stopped"])
def test_a_worker_that_does_not_answer_any_more(bench: Bench, signum: signal.Signals) -> None:
	"""The clients of the other workers are admitted, also those about whom that worker had been asked."""
	users = [bench.user() for _ in range(24)]
	names = [bench.document() for _ in users]
	clients = [bench.client(user).connect() for user in users]
	pids = {one["name"]: one["pid"] for one in bench.sidecar.health()[1]["workers"]}
	bench.web.fail("has_permissions", hang=True)
	for client, name in zip(clients, names, strict=True):
		client.emit("doc_subscribe", "ToDo", name)
		client.fence()
	until(lambda: bench.web.counts[ASKED_WHETHER], "the questions")
	victim, pid = next(iter(pids.items()))
	left = [
		(client, name)
		for client, name in zip(clients, names, strict=True)
		if owner_of(client.sio.eio.sid) != victim
	]
	os.kill(pid, signum)
	try:
		heal(bench)
		for client, name in left:
			until(lambda client=client, name=name: all(hears(bench, [client], f"doc:ToDo/{name}")), name)  # type: ignore[misc]
	finally:
		if signum == signal.SIGSTOP:
			os.kill(pid, signal.SIGCONT)
	for client in clients:
		client.close()
