"""Access that ends: sessions, users, permissions and documents that go while sockets are in rooms."""

from __future__ import annotations

import json
from hashlib import sha256
from typing import Any

import pytest

from realtime.demo.model import WEBSITE_USER, User
from tests.wire.bench import APP_SITE, STOCK_SITE, AnyClient, Bench
from tests.wire.clients import POLLING, WEBSOCKET, Client, Refused
from tests.wire.conditions import until
from tests.wire.conftest import Connect, ConnectNode, MakeBench

ASKED_WHO = "frappe.realtime.get_user_info"


def tell(bench: Bench, kind: str, site: str = APP_SITE, **what: str) -> None:
	"""Say what the app says when access has changed."""
	message = json.dumps({"site": site, "kind": kind, **what})
	assert bench.valkey.client.publish("frappe_realtime:access", message) == 1


def sid(client: Client) -> str:
	"""Return the session id that a client connects with."""
	return client.headers["Cookie"].removeprefix("sid=")


def log_out(bench: Bench, client: Client) -> None:
	"""End a client's session, and say so."""
	del bench.site().sessions[sid(client)]
	tell(bench, "session", sid_hash=sha256(sid(client).encode()).hexdigest())


def hears(bench: Bench, client: AnyClient, room: str, *others: AnyClient, site: str = APP_SITE) -> bool:
	"""Tell whether an event for a room reaches a client."""
	event = f"probe {bench.document()}"
	bench.publish(event, {}, room, site)
	bench.settle(client, *others, site=site)
	return bool(client.all(event))


def follow(bench: Bench, client: AnyClient, name: str, site: str = APP_SITE) -> str:
	"""Let a client follow a document; return the room."""
	bench.join(client, f"doc:ToDo/{name}", "doc_subscribe", "ToDo", name, site=site)
	return f"doc:ToDo/{name}"


def leaves(bench: Bench, client: AnyClient, room: str, site: str = APP_SITE) -> None:
	"""Wait until a client is out of a room, and see that it is connected all the same."""
	until(lambda: not hears(bench, client, room, site=site), f"{client} leaves {room}")


@pytest.mark.parametrize("transports", [WEBSOCKET, POLLING], ids="+".join)
def test_a_logout_ends_the_session_s_sockets(
	bench: Bench, connect: Connect, transports: tuple[str, ...]
) -> None:
	user = bench.user()
	tabs = [connect(bench, user, transports=transports)]
	tabs.append(connect(bench, headers={"Cookie": tabs[0].headers["Cookie"]}, transports=transports))
	elsewhere, other = connect(bench, user), connect(bench, bench.user())
	log_out(bench, tabs[0])
	for tab in tabs:
		tab.wait_for_disconnect()
	assert hears(bench, elsewhere, f"user:{user.name}", other)
	assert other.disconnects == elsewhere.disconnects == 0


def test_a_tab_comes_back_as_a_guest(bench: Bench, connect_node: ConnectNode, node_version: str) -> None:
	"""The client reconnects by itself, and gets what a Guest gets."""
	user = bench.user()
	session = bench.site().login(user.name)
	tab = connect_node(bench, node_version, headers={"Cookie": f"sid={session}"})
	room = follow(bench, tab, bench.document())
	del bench.site().sessions[session]
	tell(bench, "session", sid_hash=sha256(session.encode()).hexdigest())
	tab.connect(2)
	for wanted in (f"user:{user.name}", "all", room):
		assert not hears(bench, tab, wanted), wanted
	assert hears(bench, tab, "user:Guest")
	assert not tab.state().get("recovered")


def test_a_disabled_user(bench: Bench, connect: Connect) -> None:
	user = bench.user()
	header = bench.site().authorization(user.name)
	tab, app, other = connect(bench, user), connect(bench, authorization=header), connect(bench, bench.user())
	before = other.id
	bench.site().disable(user.name)
	tell(bench, "user", user=user.name)
	tab.wait_for_disconnect()
	app.wait_for_disconnect()
	with pytest.raises(Refused, match="Unauthorized"):
		app.connect()
	assert other.id == before


def test_a_revoked_token(bench: Bench, connect: Connect) -> None:
	user = bench.user()
	revoked, kept = (bench.site().authorization(user.name, "Bearer") for _ in range(2))
	first, second = connect(bench, authorization=revoked), connect(bench, authorization=kept)
	bench.site().revoke(revoked)
	tell(bench, "user", user=user.name)
	first.wait_for_disconnect()
	assert hears(bench, second, f"user:{user.name}")


def test_a_user_who_is_no_system_user_any_more(bench: Bench, connect_node: ConnectNode) -> None:
	user = bench.user()
	tab = connect_node(bench, "socket.io-client-4", user)
	assert hears(bench, tab, "all")
	user.user_type = WEBSITE_USER
	tell(bench, "user", user=user.name)
	tab.connect(2)
	assert not hears(bench, tab, "all")
	assert hears(bench, tab, f"user:{user.name}")


def test_permissions_that_go(every_bench: Bench, connect: Connect) -> None:
	"""A role, a user permission, a share: the rooms that they gave are left, the others are kept."""
	bench = every_bench
	user, other = bench.user(), bench.user()
	gone, kept = bench.document(), bench.document()
	mine, others = connect(bench, user), connect(bench, other)
	lost, stays = follow(bench, mine, gone), follow(bench, mine, kept)
	follow(bench, others, gone)
	bench.site().forbid(user.name, "ToDo", gone)
	asked = bench.web.counts[ASKED_WHO]
	tell(bench, "user", user=user.name)
	leaves(bench, mine, lost)
	assert hears(bench, mine, stays)
	assert hears(bench, others, lost)
	assert mine.disconnects == others.disconnects == 0
	assert bench.web.counts[ASKED_WHO] == asked + 1, "nobody else is asked about"


def test_many_rooms_are_asked_about_at_once(bench: Bench, connect: Connect) -> None:
	user = bench.user()
	client = connect(bench, user)
	rooms = [follow(bench, client, bench.document()) for _ in range(30)]
	asked = bench.web.counts["frappe.realtime.has_permissions"]
	bench.site().forbid(user.name, "ToDo")
	tell(bench, "user", user=user.name)
	for room in rooms:
		leaves(bench, client, room)
	assert bench.web.counts["frappe.realtime.has_permissions"] == asked + 1


def test_the_rules_of_a_doctype_that_change(bench: Bench, connect: Connect) -> None:
	user, other = bench.user(), bench.user()
	mine, others = connect(bench, user), connect(bench, other)
	room = follow(bench, mine, bench.document())
	bench.join(mine, "doctype:ToDo", "doctype_subscribe", "ToDo")
	bench.join(others, "doctype:ToDo", "doctype_subscribe", "ToDo")
	bench.join(mine, "doctype:Note", "doctype_subscribe", "Note")
	bench.site().forbid(user.name, "ToDo")
	tell(bench, "doctype", doctype="ToDo")
	leaves(bench, mine, room)
	leaves(bench, mine, "doctype:ToDo")
	assert hears(bench, others, "doctype:ToDo")
	assert hears(bench, mine, "doctype:Note")


@pytest.mark.parametrize("kind", ["doc", "renamed"])
def test_a_document_that_goes(bench: Bench, connect: Connect, kind: str) -> None:
	name = bench.document()
	clients = [connect(bench, bench.user()), connect(bench, "Administrator")]
	for client in clients:
		follow(bench, client, name)
		bench.join(client, f"open_doc:ToDo/{name}", "doc_open", "ToDo", name)
	what = {"name": name} if kind == "doc" else {"old": name, "new": "another"}
	tell(bench, kind, doctype="ToDo", **what)
	for client in clients:
		leaves(bench, client, f"doc:ToDo/{name}")
		leaves(bench, client, f"open_doc:ToDo/{name}")


def test_a_role_that_is_disabled(bench: Bench, connect: Connect) -> None:
	user, gone = bench.user(), bench.user()
	client, ending = connect(bench, user), connect(bench, gone)
	room, kept = follow(bench, client, bench.document()), follow(bench, client, bench.document())
	bench.site().forbid(user.name, "ToDo", room.partition("/")[2])
	bench.site().disable(gone.name)
	tell(bench, "site")
	ending.wait_for_disconnect()
	leaves(bench, client, room)
	assert hears(bench, client, kept)


def test_who_may_not_read_is_no_viewer_any_more(bench: Bench, connect: Connect) -> None:
	ann, ben = bench.user(), bench.user()
	name = bench.document()
	stays, leaving = connect(bench, ann), connect(bench, ben)
	for client in (stays, leaving):
		bench.join(client, f"open_doc:ToDo/{name}", "doc_open", "ToDo", name)
	until(lambda: stays.all("doc_viewers"), "the two viewers")
	bench.site().forbid(ben.name, "ToDo", name)
	tell(bench, "user", user=ben.name)
	until(lambda: stays.all("doc_viewers")[-1][0]["users"] == [ann.name], "one viewer")


def test_answers_from_before_do_not_count(bench: Bench, connect: Connect) -> None:
	user, name = bench.user(), bench.document()
	client = connect(bench, user)
	room = follow(bench, client, name)
	client.emit("doc_unsubscribe", "ToDo", name)
	bench.site().forbid(user.name, "ToDo", name)
	tell(bench, "user", user=user.name)
	bench.settle(client)
	client.emit("doc_subscribe", "ToDo", name)
	client.fence()
	until(
		lambda: (
			[request.user for request in list(bench.web.requests) if ["ToDo", name] in request.questions()]
			== [user.name] * 2
		),
		"the second question",
	)
	assert not hears(bench, client, room)


def test_an_answer_that_a_change_overtakes(make_bench: MakeBench, connect: Connect) -> None:
	"""The web process said yes, and before that arrives, the permission goes."""
	bench = make_bench()
	user, name = bench.user(), bench.document()
	client = connect(bench, user)
	bench.web.fail("has_permissions", hang=True, body=b'{"message": [true]}')
	client.emit("doc_subscribe", "ToDo", name)
	until(lambda: bench.web.counts["frappe.realtime.has_permissions"] == 1, "the question")
	bench.site().forbid(user.name, "ToDo", name)
	tell(bench, "user", user=user.name)
	bench.settle(client)
	bench.web.heal()
	until(lambda: bench.web.counts["frappe.realtime.has_permissions"] == 2, "the same question again")
	client.fence()
	assert not hears(bench, client, f"doc:ToDo/{name}")


def test_a_session_that_ends_while_it_connects(make_bench: MakeBench) -> None:
	bench = make_bench()
	user = bench.user()
	client = bench.client(user)
	info: dict[str, Any] = {"user": user.name, "user_type": "System User", "installed_apps": ["frappe"]}
	bench.web.fail("get_user_info", hang=True, body=json.dumps({"message": info}).encode())
	waiting = client.start_connecting()
	until(lambda: bench.web.counts[ASKED_WHO] == 1, "the question")
	log_out(bench, client)
	fence = bench.client(namespace="/").connect()
	fence.close()
	bench.web.heal()
	waiting.result(30)
	assert not hears(bench, client, f"user:{user.name}")
	assert hears(bench, client, "user:Guest")
	client.close()


def test_changes_while_the_web_process_is_away(make_bench: MakeBench, connect: Connect) -> None:
	"""What needs no question happens at once; nobody else is thrown out, and nobody is let in."""
	bench = make_bench()
	user, loser = bench.user(), bench.user()
	leaving, staying, disabled = connect(bench, user), connect(bench, user), connect(bench, loser)
	room = follow(bench, staying, bench.document())
	bench.stop_web()
	log_out(bench, leaving)
	leaving.wait_for_disconnect()
	bench.site().forbid(user.name, "ToDo")
	bench.site().disable(loser.name)
	tell(bench, "user", user=user.name)
	tell(bench, "user", user=loser.name)
	newcomer = bench.client(bench.user())
	waiting = newcomer.start_connecting(90)
	assert hears(bench, staying, room, disabled)
	assert not newcomer.connected
	bench.start_web()
	waiting.result(90)
	disabled.wait_for_disconnect()
	leaves(bench, staying, room)
	newcomer.close()


def test_the_question_is_put_again_until_it_is_answered(make_bench: MakeBench, connect: Connect) -> None:
	bench = make_bench(common={"realtime_web_patience": 0.3})
	user, loser = bench.user(), bench.user()
	client, disabled = connect(bench, user), connect(bench, loser)
	room = follow(bench, client, bench.document())
	bench.web.fail(status=500)
	bench.site().forbid(user.name, "ToDo")
	bench.site().disable(loser.name)
	for one in (user, loser):
		tell(bench, "user", user=one.name)
	asked = bench.web.counts[ASKED_WHO]
	until(lambda: bench.web.counts[ASKED_WHO] > asked + 6, "attempts, each with its patience")
	assert hears(bench, client, room, disabled)
	bench.web.heal()
	disabled.wait_for_disconnect()
	leaves(bench, client, room)


def test_what_was_said_while_redis_was_away(make_bench: MakeBench, connect: Connect) -> None:
	bench = make_bench()
	user, gone = bench.user(), bench.user()
	client, ending = connect(bench, user), connect(bench, gone)
	room = follow(bench, client, bench.document())
	bench.valkey.stop()
	bench.site().forbid(user.name, "ToDo")
	bench.site().logout(gone.name)
	bench.valkey.start()
	bench.wait_until_subscribed()
	ending.wait_for_disconnect()
	leaves(bench, client, room)


@pytest.mark.parametrize(
	"payload", ["", "{", "[]", '"x"', "null", '{"kind": "user"}', '{"kind": "user", "site": 1}', "\x00"]
)
def test_what_is_no_message_of_the_app(bench: Bench, connect: Connect, payload: str) -> None:
	client = connect(bench, bench.user())
	bench.valkey.client.publish("frappe_realtime:access", payload)
	tell(bench, "a kind of a later version")
	bench.settle(client)
	assert client.connected


@pytest.fixture(scope="module")
def rechecked_bench(make_shared_bench: MakeBench) -> Bench:
	"""A bench that asks about each session once a second."""
	return make_shared_bench(common={"realtime_recheck_seconds": 1, "realtime_cache_seconds": 0.2})


class TestWithoutTheApp:
	"""Nobody tells; each session has its turn."""

	@pytest.fixture
	def bench(self, rechecked_bench: Bench) -> Bench:
		return rechecked_bench

	@staticmethod
	def login(bench: Bench, connect: Connect, user: User) -> Client:
		return connect(bench, user, STOCK_SITE)

	def test_sessions_that_end(self, bench: Bench, connect: Connect) -> None:
		user = bench.user(STOCK_SITE)
		header = bench.site(STOCK_SITE).authorization(user.name)
		tab, app = self.login(bench, connect, user), connect(bench, site=STOCK_SITE, authorization=header)
		other = self.login(bench, connect, bench.user(STOCK_SITE))
		bench.site(STOCK_SITE).logout(user.name)
		tab.wait_for_disconnect()
		assert app.connected
		bench.site(STOCK_SITE).revoke(header)
		app.wait_for_disconnect()
		assert other.disconnects == 0

	def test_permissions_that_go(self, bench: Bench, connect: Connect) -> None:
		user = bench.user(STOCK_SITE)
		client = self.login(bench, connect, user)
		lost = follow(bench, client, bench.document(), STOCK_SITE)
		kept = follow(bench, client, bench.document(), STOCK_SITE)
		bench.site(STOCK_SITE).forbid(user.name, "ToDo", lost.partition("/")[2])
		leaves(bench, client, lost, STOCK_SITE)
		assert hears(bench, client, kept, site=STOCK_SITE)

	def test_an_ended_session_does_not_speak_for_its_user(
		self, make_bench: MakeBench, connect: Connect
	) -> None:
		"""Frappe answers for a Guest then, and that is no answer about the user."""
		bench = make_bench(common={"realtime_recheck_seconds": 0})
		user, name = bench.user(STOCK_SITE), bench.document()
		ended, lives = self.login(bench, connect, user), self.login(bench, connect, user)
		del bench.site(STOCK_SITE).sessions[sid(ended)]
		ended.emit("doc_subscribe", "ToDo", name)
		bench.wait_until_asked("ToDo", name)
		follow(bench, lives, name, STOCK_SITE)
		ended.wait_for_disconnect()
