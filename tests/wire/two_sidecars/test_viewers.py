"""Viewers of documents on two sidecars, also when one of them or Redis is away, and clients that change between them."""

from __future__ import annotations

import signal

from tests.wire.bench import APP_SITE, STOCK_SITE
from tests.wire.conditions import until
from tests.wire.conftest import Connect
from tests.wire.raw import PollingSession, request
from tests.wire.recoveries import answer, first, recover
from tests.wire.sidecars import MakePair, Pair, metric, others
from tests.wire.test_doc_viewers import open_document, viewers
from tests.wire.test_doc_viewers import wait_for_viewers as sees
from tests.wire.two_sidecars.clients import passed, user_of


def test_viewers_on_both(pair: Pair, connect: Connect) -> None:
	name = pair.first.document()
	ann, ben, eve = (pair.first.user() for _ in range(3))
	here, there, also_there = connect(pair.first, ann), connect(pair.second, ben), connect(pair.second, eve)
	open_document(pair.first, here, name)
	open_document(pair.second, there, name)
	for client in (here, there):
		sees(client, name, ann.name, ben.name)
	open_document(pair.second, also_there, name)
	for client in (here, there, also_there):
		sees(client, name, ann.name, ben.name, eve.name)
	there.emit("doc_close", "ToDo", name)
	for client in (here, also_there):
		sees(client, name, ann.name, eve.name)
	also_there.close()
	sees(here, name, ann.name)


def test_one_user_on_both_gets_no_doc_viewers(pair: Pair, connect: Connect, room: str) -> None:
	name = pair.first.document()
	ann = pair.first.user()
	here, there = connect(pair.first, ann), connect(pair.second, ann)
	open_document(pair.first, here, name)
	open_document(pair.second, there, name)
	passed(there, here)
	assert here.all("doc_viewers") == there.all("doc_viewers") == []
	watcher = connect(pair.second, pair.second.user())
	open_document(pair.second, watcher, name)
	sees(here, name, ann.name, user_of(watcher))
	there.close()
	until(lambda: (ann.name,) in here.all("gone"), "that it has gone")
	sees(watcher, name, ann.name, user_of(watcher))


def test_viewers_of_the_same_document_of_another_site(pair: Pair, connect: Connect) -> None:
	name = pair.first.document()
	here = connect(pair.first, pair.first.user())
	there = connect(pair.second, pair.second.user(STOCK_SITE), STOCK_SITE)
	open_document(pair.first, here, name)
	open_document(pair.second, there, name, STOCK_SITE)
	also_there = connect(pair.first, pair.first.user(STOCK_SITE), STOCK_SITE)
	passed(there, also_there)
	assert here.all("doc_viewers") == there.all("doc_viewers") == []


def test_one_sidecar_is_killed(make_pair: MakePair, connect: Connect) -> None:
	pair = make_pair()
	name = pair.first.document()
	ann, ben = pair.first.user(), pair.first.user()
	here, there = connect(pair.first, ann), connect(pair.second, ben)
	for bench, client in ((pair.first, here), (pair.second, there)):
		open_document(bench, client, name)
		client.call("enter", "room")
	sees(here, name, ann.name, ben.name)
	until(lambda: len(here.call("who", "room")) == 2, "two in the room")
	pair.second.sidecar.kill()
	sees(here, name, ann.name)
	assert len(here.call("who", "room")) == 1
	assert others(pair.first) == []
	assert metric(pair.first, "sidecar_members") == 0


def test_one_sidecar_stops(make_pair: MakePair, connect: Connect) -> None:
	pair = make_pair()
	name = pair.first.document()
	ann = pair.first.user()
	here, there = connect(pair.first, ann), connect(pair.second, pair.second.user())
	open_document(pair.first, here, name)
	open_document(pair.second, there, name)
	until(lambda: len(viewers(here, name)) == 2, "two viewers")
	pair.second.sidecar.stop()
	sees(here, name, ann.name)
	until(lambda: "a peer has stopped" in pair.first.sidecar.log, "a line in the log")


def test_one_sidecar_is_suspended(make_pair: MakePair, connect: Connect) -> None:
	"""It is considered dead, and is a peer again when it continues."""
	pair = make_pair()
	name = pair.first.document()
	ann, ben = pair.first.user(), pair.first.user()
	here, there = connect(pair.first, ann), connect(pair.second, ben)
	open_document(pair.first, here, name)
	open_document(pair.second, there, name)
	sees(here, name, ann.name, ben.name)
	pair.second.sidecar.signal(signal.SIGSTOP)
	sees(here, name, ann.name)
	here.emit("doc_close", "ToDo", name)
	pair.second.sidecar.signal(signal.SIGCONT)
	sees(there, name, ben.name)
	here.emit("doc_open", "ToDo", name)
	for client in (here, there):
		sees(client, name, ann.name, ben.name)


def test_redis_restarts(make_pair: MakePair, connect: Connect) -> None:
	"""Changes of members that were made meanwhile are replicated afterwards."""
	pair = make_pair()
	stays, goes, comes = (pair.first.document() for _ in range(3))
	ann, ben = pair.first.user(), pair.first.user()
	here, there = connect(pair.first, ann), connect(pair.second, ben)
	for name in (stays, goes):
		open_document(pair.first, here, name)
		open_document(pair.second, there, name)
		sees(here, name, ann.name, ben.name)
	pair.first.valkey.stop()
	there.emit("doc_close", "ToDo", goes)
	there.emit("doc_open", "ToDo", comes)
	here.emit("doc_open", "ToDo", comes)
	for client in (here, there):
		client.fence()
	assert viewers(here, goes) == sorted([ann.name, ben.name])
	pair.first.valkey.start()
	sees(here, goes, ann.name)
	for client in (here, there):
		sees(client, comes, ann.name, ben.name)
	assert viewers(here, stays) == sorted([ann.name, ben.name])

	def heard() -> bool:
		here.emit("say", "nsp", "", "again")
		return bool(there.all("said"))

	until(heard, "an emit")


def test_a_client_recovers_at_the_other_sidecar(pair: Pair, connect: Connect) -> None:
	"""Its old connection, whose loss was not detected, is closed, and does not overwrite the session."""
	user, name = pair.first.user(), pair.first.document()
	old, known, offset = first(pair.first, user)
	old.send(f'42/{APP_SITE},["doc_open","ToDo","{name}"]')
	watcher = connect(pair.second, pair.second.user())
	open_document(pair.second, watcher, name)
	sees(watcher, name, user.name, user_of(watcher))
	new = recover(pair.second, user, known["pid"], offset)
	assert answer(new) == known
	assert old.ends()
	passed(watcher, watcher)
	until(lambda: len(watcher.call("who", f"open_doc:ToDo/{name}")) == 2, "two sockets")
	assert viewers(watcher, name) == sorted([user.name, user_of(watcher)])
	assert pair.first.valkey.client.exists(f"frappe_realtime:{APP_SITE}:session:{known['pid']}")
	new.close()


def test_a_polling_client_whose_requests_reach_both(pair: Pair) -> None:
	"""Single processes on one host: as docs/scaling.md says of load balancers."""
	polling = PollingSession(pair.first, pair.first.headers())
	for bench in (pair.second, pair.first, pair.second):
		answer = request(bench, "POST", polling.path, {**bench.headers(), "Content-Type": "text/plain"}, "3")
		assert (answer.status, answer.text) == (200, "ok")
