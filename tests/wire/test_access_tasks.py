"""Who may follow a background task: who has started it, and System Users unless configured otherwise."""

from __future__ import annotations

import json

import pytest

from realtime.demo.model import GUEST, WEBSITE_USER
from tests.wire.bench import APP_SITE, STOCK_SITE, Bench
from tests.wire.clients import Client
from tests.wire.conftest import Connect, MakeBench
from tests.wire.test_access import hears, tell


def starts(bench: Bench, user: str, task: str, site: str = APP_SITE) -> None:
	"""Say what the app says when a task begins."""
	tell(bench, "task", site, task_id=task, user=user)


def follows(bench: Bench, client: Client, task: str, site: str = APP_SITE) -> bool:
	"""Tell whether a client that has asked for it hears of a task."""
	client.fence()
	return hears(bench, client, f"task_progress:{task}", site=site)


@pytest.fixture(scope="module", params=["task_subscribe", "progress_subscribe"])
def event(request: pytest.FixtureRequest) -> str:
	return str(request.param)


def test_a_portal_user_follows_his_own_task(bench: Bench, connect: Connect, event: str) -> None:
	mine, others = bench.user(user_type=WEBSITE_USER), bench.user(user_type=WEBSITE_USER)
	task = bench.document()
	starts(bench, mine.name, task)
	for user, may in ((mine, True), (others, False), (GUEST, False)):
		client = connect(bench, user)
		client.emit(event, task)
		assert follows(bench, client, task) == may


def test_who_subscribes_before_the_task_is_known(bench: Bench, connect: Connect) -> None:
	"""The Desk invents the id of a bulk operation and subscribes before it asks for it."""
	mine, others = bench.user(user_type=WEBSITE_USER), bench.user(user_type=WEBSITE_USER)
	clients = [connect(bench, user) for user in (mine, others, GUEST)]
	task, left = bench.document(), bench.document()
	for client in clients:
		client.emit("task_subscribe", task)
		client.emit("task_subscribe", left)
		client.emit("task_unsubscribe", left)
		client.fence()
	starts(bench, mine.name, task)
	starts(bench, mine.name, left)
	bench.publish("task_progress", 1, f"task_progress:{task}")
	bench.publish("task_progress", 2, f"task_progress:{left}")
	bench.settle(*clients)
	assert [[args[0] for args in client.all("task_progress")] for client in clients] == [[1], [], []]


def test_the_first_word_counts(bench: Bench, connect: Connect) -> None:
	mine, thief = bench.user(user_type=WEBSITE_USER), bench.user(user_type=WEBSITE_USER)
	task = bench.document()
	starts(bench, mine.name, task)
	starts(bench, thief.name, task)
	client = connect(bench, thief)
	client.emit("task_subscribe", task)
	assert not follows(bench, client, task)


def test_a_task_of_a_guest(bench: Bench, connect: Connect) -> None:
	task = bench.document()
	starts(bench, GUEST, task)
	guest = connect(bench)
	guest.emit("task_subscribe", task)
	assert follows(bench, guest, task)


def test_tasks_that_began_before_the_sidecar(make_bench: MakeBench, connect: Connect) -> None:
	bench = make_bench()
	user = bench.user(user_type=WEBSITE_USER)
	word = {"site": APP_SITE, "kind": "task", "task_id": "t", "user": user.name}
	bench.valkey.client.xadd(f"frappe_realtime:{APP_SITE}:tasks", {"e": json.dumps(word)})
	client = connect(bench, user)
	bench.join(client, "task_progress:t", "task_subscribe", "t")


def test_only_the_owner_where_that_is_configured(make_bench: MakeBench, connect: Connect) -> None:
	bench = make_bench(common={"realtime_task_subscribers": "owner"})
	mine, others = connect(bench, owner := bench.user()), connect(bench, bench.user())
	starts(bench, owner.name, "t")
	for client in (mine, others):
		client.emit("task_subscribe", "t")
	assert follows(bench, mine, "t")
	assert not follows(bench, others, "t")


def test_without_the_app_system_users(bench: Bench, connect: Connect, event: str) -> None:
	task = bench.document()
	for user, may in (
		(bench.user(STOCK_SITE), True),
		(bench.user(STOCK_SITE, WEBSITE_USER), False),
		(GUEST, False),
	):
		client = connect(bench, user, STOCK_SITE)
		client.emit(event, task)
		assert follows(bench, client, task, STOCK_SITE) == may
