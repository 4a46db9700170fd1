"""Four workers ask the web process as one does, and each of them goes on without the others."""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from typing import Any

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

COMMON: dict[str, Any] = {"socketio_workers": COUNT, "realtime_cache_seconds": 3600}
"""The configuration: no answer expires while the tests run."""

ASKED_WHO = "frappe.realtime.get_user_info"
ASKED_WHETHER = "frappe.realtime.has_permissions"


@pytest.fixture(scope="module")
def shared(make_shared_bench: MakeBench) -> Bench:
	"""A bench for the tests that stop no worker."""
	one = make_shared_bench(common=COMMON)
	workers(one, COUNT)
	return one


@pytest.fixture
def bench(shared: Bench) -> Iterator[Bench]:
	"""The shared bench, without clients; its web process is well again afterwards."""
	until(lambda: shared.sidecar.health()[1]["connections"] == 0, "the end of earlier clients")
	yield shared
	shared.web.heal()
	shared.sidecar.check_log()


@contextmanager
def tabs_of(bench: Bench, user: User) -> Iterator[list[Client]]:
	"""Connect the tabs of one session."""
	session: dict[str, str | None] = {"Cookie": f"sid={bench.site().login(user.name)}"}
	tabs = [bench.client(headers=session) for _ in range(TABS)]
	for waiting in [tab.start_connecting() for tab in tabs]:
		waiting.result(30)
	try:
		yield tabs
	finally:
		for tab in tabs:
			tab.close()


def heard(bench: Bench, kind: str) -> float:
	"""Return how many messages of a kind about access the workers have read together."""
	start = f'frappe_realtime_access_messages_total{{kind="{kind}"}} '
	lines = bench.sidecar.get("/metrics")[1].splitlines()
	return sum(float(line.removeprefix(start)) for line in lines if line.startswith(start))


def announce(bench: Bench, kind: str, **what: str) -> None:
	"""Say what the app says when access has changed, and wait until all workers have heard it."""
	message = json.dumps({"site": APP_SITE, "kind": kind, **what})
	before = heard(bench, kind)
	assert bench.valkey.client.publish("frappe_realtime:access", message) == COUNT
	until(lambda: heard(bench, kind) == before + COUNT, f"{kind} at all workers")


def asked(bench: Bench, before: Counter[str]) -> Counter[str]:
	"""Return how often the web process was asked each question since `before`, a copy of its counts."""
	return Counter(bench.web.counts) - before


def hears(bench: Bench, tabs: list[Client], room: str) -> list[bool]:
	event = f"probe {bench.document()}"
	bench.publish(event, {}, room)
	bench.settle(*tabs)
	return [bool(tab.all(event)) for tab in tabs]


def questions(bench: Bench, name: str) -> int:
	return sum(["ToDo", name] in request.questions() for request in list(bench.web.requests))


def test_the_tabs_of_a_user_ask_once(bench: Bench) -> None:
	name, before = bench.document(), Counter(bench.web.counts)
	metrics = tuple(
		f"{kind}_{how}_total" for kind in ("sessions", "permissions") for how in ("asked", "shared")
	)
	counted = {one: metric(bench, one) for one in metrics}
	with tabs_of(bench, bench.user()) as tabs:
		assert len({owner_of(tab.sio.eio.sid) for tab in tabs}) > 1
		for tab in tabs:
			bench.join(tab, f"doc:ToDo/{name}", "doc_subscribe", "ToDo", name)
	assert asked(bench, before)[ASKED_WHO] == 1
	assert questions(bench, name) == 1

	def are_counted() -> bool:
		more = {one: metric(bench, one) - counted[one] for one in metrics}
		return all(
			more[f"{kind}_asked_total"] == 1 and 1 <= more[f"{kind}_shared_total"] < COUNT
			for kind in ("sessions", "permissions")
		)

	# Of a worker that does not answer within a second, it is what it has told before.
	until(are_counted, "one question of each kind, and answers that are shared")


def test_a_permission_that_goes_while_it_is_asked_for(bench: Bench) -> None:
	user, name = bench.user(), bench.document()
	before = Counter(bench.web.counts)
	with tabs_of(bench, user) as tabs:
		bench.web.fail("has_permissions", hang=True, body=b'{"message": [true]}')
		for tab in tabs:
			tab.emit("doc_subscribe", "ToDo", name)
			tab.fence()
		until(lambda: asked(bench, before)[ASKED_WHETHER], "the question")
		assert asked(bench, before)[ASKED_WHETHER] == 1
		bench.site().forbid(user.name, "ToDo", name)
		announce(bench, "user", user=user.name)
		bench.web.heal()
		until(lambda: asked(bench, before)[ASKED_WHETHER] > 1, "the same question again")
		until(lambda: metric(bench, "recheck_waiting") == 0, "the end of the revalidation")
		assert not any(hears(bench, tabs, f"doc:ToDo/{name}"))
		# Each worker accepts only what was asked after it has heard of the change.
		assert asked(bench, before)[ASKED_WHETHER] <= 1 + COUNT


def test_a_session_that_ends_while_its_tabs_connect(bench: Bench) -> None:
	user, before = bench.user(), Counter(bench.web.counts)
	sid = bench.site().login(user.name)
	info = {"user": user.name, "user_type": "System User", "installed_apps": ["frappe"]}
	bench.web.fail(ASKED_WHO, hang=True, body=json.dumps({"message": info}).encode())
	tabs = [bench.client(headers={"Cookie": f"sid={sid}"}) for _ in range(TABS)]
	connecting = [tab.start_connecting() for tab in tabs]
	until(lambda: bench.sidecar.health()[1]["connections"] == TABS, "all connections")
	until(lambda: asked(bench, before)[ASKED_WHO], "the question")
	assert asked(bench, before)[ASKED_WHO] == 1
	del bench.site().sessions[sid]
	announce(bench, "session", sid_hash=sha256(sid.encode()).hexdigest())
	bench.web.heal()
	for waiting in connecting:
		waiting.result(30)
	assert not any(hears(bench, tabs, f"user:{user.name}"))
	assert all(hears(bench, tabs, "user:Guest"))
	for tab in tabs:
		tab.close()


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "stopped"])
def test_a_worker_that_does_not_answer_any_more(make_bench: MakeBench, signum: signal.Signals) -> None:
	"""The clients of the other workers are admitted, also those about whom that worker had been asked."""
	bench = make_bench(common=COMMON)
	workers(bench, COUNT)
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
		bench.web.heal()
		for client, name in left:
			until(lambda client=client, name=name: all(hears(bench, [client], f"doc:ToDo/{name}")), name)  # type: ignore[misc]
	finally:
		if signum == signal.SIGSTOP:
			os.kill(pid, signal.SIGCONT)
	for client in clients:
		client.close()
