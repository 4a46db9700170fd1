"""The methods and properties of a handler's socket, in an `async def` and in a plain `def`."""

from __future__ import annotations

import pytest

from frappe_realtime.contract import PRESENCE, PRESENCE_SYNC
from frappe_realtime.errors import PresenceRefused, RewindRefused
from frappe_realtime.testing import Client, NoAnswer, Site
from tests.unit.handlers.conftest import MakeSite

HEAD = """
import asyncio
from frappe.realtime import Socket, SyncSocket, realtime

"""


def both(body: str, event: str = "go", arguments: str = "") -> list[object]:
	"""Return two parameters: the same handler as an `async def` and as a plain `def`, without the `AWAIT`s."""
	parameters = f"socket, {arguments}".rstrip(", ")
	plain = body.replace("AWAIT ", "")
	return [
		pytest.param(
			f"{HEAD}@realtime.on('{event}')\nasync def handler({parameters}):\n{body.replace('AWAIT', 'await')}",
			id="async",
		),
		pytest.param(f"{HEAD}@realtime.on('{event}')\ndef handler({parameters}):\n{plain}", id="plain"),
	]


def pair(site: Site) -> tuple[Client, Client]:
	return site.connect("ann@example.com"), site.connect("bob@example.com")


@pytest.mark.parametrize(
	"text",
	both(
		"\treturn [socket.sid == socket.id, socket.namespace, socket.site, socket.user, socket.user_type,"
		" socket.full_name, socket.installed_apps[0], socket.connected, socket.authorization_header, socket.nsp.name]"
	),
)
def test_identity(make_site: MakeSite, text: str) -> None:
	client = make_site(text).connect("ann@example.com")
	assert client.call("go") == [
		True,
		"/test.localhost",
		"test.localhost",
		"ann@example.com",
		"System User",
		"ann@example.com",
		"frappe",
		True,
		None,
		"/test.localhost",
	]


@pytest.mark.parametrize(
	"text",
	both(
		"\tAWAIT socket.emit('none')\n\tAWAIT socket.emit('one', {'a': b'x'})\n\tAWAIT socket.emit('two', (1, None))"
	),
)
def test_emit_to_this_client(make_site: MakeSite, text: str) -> None:
	ann, bob = pair(make_site(text))
	ann.emit("go")
	assert ann.events == [("none", ()), ("one", ({"a": b"x"},)), ("two", (1, None))]
	assert bob.events == []


@pytest.mark.parametrize(
	"text",
	both("\tAWAIT socket.emit('hi', 1, room='website')\n\tAWAIT socket.emit('all', 2, ['all', 'website'])"),
)
def test_emit_to_a_room(make_site: MakeSite, text: str) -> None:
	ann, bob = pair(make_site(text))
	ann.emit("go")
	assert ann.events == bob.events == [("hi", (1,)), ("all", (2,))]


@pytest.mark.parametrize("text", both("\tAWAIT socket.to('website').to('all').emit('hi', 1)"))
def test_emit_to_other_sockets_in_a_room(make_site: MakeSite, text: str) -> None:
	ann, bob = pair(make_site(text))
	ann.emit("go")
	assert (ann.events, bob.events) == ([], [("hi", (1,))])


@pytest.mark.parametrize("text", both("\tAWAIT socket.broadcast.emit('hi', 1)"))
def test_broadcast(make_site: MakeSite, text: str) -> None:
	ann, bob = pair(make_site(text))
	ann.emit("go")
	assert (ann.events, bob.events) == ([], [("hi", (1,))])


@pytest.mark.parametrize(
	"text", both("\tAWAIT socket.nsp.to('website').emit('room')\n\tAWAIT socket.nsp.emit('every')")
)
def test_namespace_emit(make_site: MakeSite, text: str) -> None:
	ann, bob = pair(make_site(text))
	ann.emit("go")
	assert ann.events == bob.events == [("room", ()), ("every", ())]


@pytest.mark.parametrize(
	"text",
	both(
		"\tAWAIT socket.join(['a', 'b'])\n\tAWAIT socket.join('c')\n\tAWAIT socket.leave('b')\n"
		"\treturn [sorted(socket.rooms - {socket.sid}), socket.sid in socket.rooms, socket.participants('a') == [socket.sid],"
		" len(socket.nsp.rooms.get('a')), socket.nsp.rooms.get('b'), 'website' in socket.nsp.rooms]"
	),
)
def test_rooms(make_site: MakeSite, text: str) -> None:
	client = make_site(text).connect("ann@example.com")
	assert client.call("go") == [
		["a", "all", "c", "user:ann@example.com", "website"],
		True,
		True,
		1,
		None,
		True,
	]


@pytest.mark.parametrize(
	"text",
	both(
		"\tothers = socket.nsp.sockets\n\tfor sid, other in others.items():\n"
		"\t\tif sid != socket.sid:\n\t\t\tother.nickname = 'Bobby'\n\t\t\tAWAIT other.emit('you', other.user)\n"
		"\treturn [len(others), socket.user_of(sid), socket.user_of('nobody')]"
	),
)
def test_other_sockets(make_site: MakeSite, text: str) -> None:
	ann, bob = pair(make_site(text))
	assert ann.call("go") == [2, "bob@example.com", None]
	assert bob.events == [("you", ("bob@example.com",))]
	assert bob.socket.nickname == "Bobby"  # type: ignore[attr-defined]


def test_custom_attributes(make_site: MakeSite) -> None:
	site = make_site(
		HEAD
		+ "@realtime.on('a')\nasync def a(socket):\n\tsocket.mood = 'good'\n"
		+ "@realtime.on('b')\ndef b(socket):\n\told = socket.mood\n\tsocket.mood = 'bad'\n\treturn old\n"
		+ "@realtime.on('c')\nasync def c(socket):\n\treturn socket.mood\n"
	)
	client = site.connect("ann@example.com")
	client.emit("a")
	assert (client.call("b"), client.call("c")) == ("good", "bad")


@pytest.mark.parametrize(
	"text",
	both(
		"\tbefore = socket.get('n', 0)\n\tAWAIT socket.set('n', before + 1)\n\treturn [before, socket.get('x'), socket.get('n')]"
	),
)
def test_state(make_site: MakeSite, text: str) -> None:
	ann, bob = pair(make_site(text))
	assert ann.call("go") == [0, None, 1]
	assert ann.call("go") == [1, None, 2]
	assert bob.call("go") == [0, None, 1]


@pytest.mark.parametrize("text", both("\treturn AWAIT socket.call('ask', (1, 2), timeout=5)"))
def test_call_the_client(make_site: MakeSite, text: str) -> None:
	client = make_site(text).connect("ann@example.com")
	client.answer("ask", lambda a, b: {"sum": a + b})
	assert client.call("go") == {"sum": 3}


@pytest.mark.parametrize("text", both("\tAWAIT socket.call('ask', timeout=0.01)"))
def test_call_times_out(make_site: MakeSite, text: str) -> None:
	client = make_site(text).connect("ann@example.com")
	with pytest.raises(TimeoutError, match="did not answer 'ask' within"):
		client.emit("go")


def test_call_of_a_client_that_disconnects(make_site: MakeSite) -> None:
	site = make_site(
		HEAD
		+ "seen = []\n@realtime.on('go')\nasync def go(socket):\n\ttry:\n\t\tawait asyncio.gather(socket.call('ask'), socket.disconnect())\n"
		+ "\texcept ConnectionError as error:\n\t\tawait socket.nsp.emit('gone', str(error).partition(' has disconnected')[2])\n"
	)
	ann, bob = pair(site)
	ann.emit("go")
	assert bob.received("gone") == [(" without answering 'ask'",)]


@pytest.mark.parametrize("text", both("\tAWAIT socket.disconnect()\n\treturn socket.connected"))
def test_disconnect(make_site: MakeSite, text: str) -> None:
	site = make_site(text)
	client = site.connect("ann@example.com")
	client.call("go")
	assert not client.connected
	assert site.connect("bob@example.com").socket.participants("website") != [client.socket.sid]


def test_emit_after_the_disconnect_sends_nothing(make_site: MakeSite) -> None:
	site = make_site(
		HEAD + "@realtime.on('disconnect')\nasync def bye(socket):\n\tawait socket.emit('late')\n"
	)
	client = site.connect("ann@example.com")
	client.disconnect()
	assert client.events == []


@pytest.mark.parametrize(
	"text",
	both(
		"\tshake = socket.handshake\n\treturn [shake.query['device'], shake.headers['x-app'], shake.auth, shake.address]"
	),
)
def test_handshake(make_site: MakeSite, text: str) -> None:
	client = make_site(text).connect(
		"ann@example.com", query={"device": "7"}, headers={"X-App": "yes"}, auth={"token": "t"}
	)
	assert client.call("go") == ["7", "yes", {"token": "t"}, "127.0.0.1"]


@pytest.mark.parametrize(
	"text",
	both(
		"\tr = AWAIT socket.frappe_request('/api/method/x', {'a': 1}, method='POST', body={'b': 2}, headers={'X': 'y'})\n"
		"\tm = AWAIT socket.frappe_request('/missing')\n"
		"\treturn [r.ok, r.status, r.json(), r.message, r.headers['content-type'], m.ok, m.status, m.text()]"
	),
)
def test_frappe_request(make_site: MakeSite, text: str) -> None:
	site = make_site(text)
	site.answer("/api/method/x", lambda a, b: a + b)
	client = site.connect("ann@example.com")
	assert client.call("go") == [True, 200, {"message": 3}, 3, "application/json", False, 404, "{}"]
	assert site.requests[0] == ("POST", "/api/method/x", {"a": 1}, {"b": 2})


@pytest.mark.parametrize(
	"text",
	both(
		"\treturn [AWAIT socket.has_permission('Note', name, ptype), AWAIT socket.has_permission('Note')]",
		arguments="name, ptype='read'",
	),
)
def test_has_permission(make_site: MakeSite, text: str) -> None:
	site = make_site(text)
	site.forbid("ann@example.com", "Note", "1", "write")
	client = site.connect("ann@example.com")
	assert client.call("go", 1) == [True, True]
	assert client.call("go", 1, "write") == [False, True]


@pytest.mark.parametrize(
	"text",
	both(
		"\tplace = socket.presence('Task', 1)\n"
		"\tAWAIT place.join({'a': 1}, ttl=60)\n"
		"\tAWAIT place.set(state)\n"
		"\treturn [place.place, [[one.user, one.state] for one in place.members()], place.count()]",
		arguments="state",
	),
)
def test_presence(make_site: MakeSite, text: str) -> None:
	ann, bob = pair(make_site(text))
	assert ann.call("go", {"b": 2}) == ["doc:Task/1", [["ann@example.com", {"a": 1, "b": 2}]], 1]
	assert "presence:doc:Task/1" in ann.rooms
	members = bob.call("go", {"a": None})[1]
	assert sorted(members) == [["ann@example.com", {"a": 1, "b": 2}], ["bob@example.com", {}]]
	[(sync,)] = bob.received(PRESENCE_SYNC)
	assert sync["me"]["user"] == "bob@example.com"
	joins = [member for args in ann.received(PRESENCE) for member in args[0].get("joins", ())]
	assert joins[-1]["id"] == sync["me"]["id"]
	bob.disconnect()
	assert ann.call("go", {})[2] == 1
	assert ann.received(PRESENCE)[-1][0]["leaves"] == [sync["me"]["id"]]


@pytest.mark.parametrize(
	"text", both("\tAWAIT socket.presence(room='chat').join()\n\tAWAIT socket.presence(room='chat').leave()")
)
def test_presence_ends(make_site: MakeSite, text: str) -> None:
	ann = make_site(text).connect("ann@example.com")
	ann.emit("go")
	assert "presence:room:chat" not in ann.rooms


@pytest.mark.parametrize(
	("state", "place", "code"),
	[
		("{'a': 'x' * 3000}", "'Task', '1'", "limit"),
		("{'a': object()}", "'Task', '1'", "bad_request"),
		("['a']", "'Task', '1'", "bad_request"),
		("{}", "room='all'", "bad_request"),
	],
)
@pytest.mark.parametrize("method", ["join", "set"])
def test_presence_is_refused(make_site: MakeSite, method: str, state: str, place: str, code: str) -> None:
	site = make_site(
		f"{HEAD}@realtime.on('go')\nasync def go(socket):\n"
		f"\tif {place!r}.startswith(\"'T\"): socket.presence('Task', '1').join()\n"
		f"\tawait socket.presence({place}).{method}({state})"
	)
	with pytest.raises(PresenceRefused) as refused:
		site.connect("ann@example.com").emit("go")
	assert refused.value.code == code


@pytest.mark.parametrize("arguments", ["'Task', room='x'", "name='1'"])
def test_presence_of_no_place(make_site: MakeSite, arguments: str) -> None:
	site = make_site(f"{HEAD}@realtime.on('go')\nasync def go(socket):\n\tsocket.presence({arguments})")
	with pytest.raises(TypeError):
		site.connect("ann@example.com").emit("go")


def test_presence_of_a_state_that_the_handler_changes_later(make_site: MakeSite) -> None:
	site = make_site(
		f"{HEAD}@realtime.on('go')\nasync def go(socket):\n\tstate = {{'list': [1]}}\n"
		"\tplace = socket.presence()\n\tplace.join(state)\n\tstate['list'].append(2)\n"
		"\treturn [one.state for one in place.members()]"
	)
	assert site.connect("ann@example.com").call("go") == [{"list": [1]}]


REWIND = "\tcount = AWAIT socket.rewind(room, rewind)\n\treturn [count, room in socket.rooms]"


@pytest.mark.parametrize(
	("rewind", "numbers"), [(2, [2, "newest"]), (10, [1, 2, "newest"]), ("latest", ["newest"])]
)
@pytest.mark.parametrize("text", both(REWIND, arguments="room, rewind"))
def test_rewind(make_site: MakeSite, text: str, rewind: object, numbers: list[object]) -> None:
	site = make_site(text)
	ann, bob = pair(site)
	for number in (1, 2):
		site.publish("step", number, "project:1")
	site.publish("step", "replaced", "project:1", history="latest")
	site.publish("step", "newest", "project:1", history="latest")
	site.publish("step", "gone", "project:1", history="none")
	site.publish("step", "elsewhere", "project:2")
	assert ann.call("go", "project:1", rewind) == [len(numbers), True]
	site.publish("step", 3, "project:1")
	assert [args[0] for args in ann.received("step")] == [*numbers, 3]
	assert not bob.received("step")


@pytest.mark.parametrize(
	("room", "rewind", "code"),
	[
		("project:1", 0, "bad_request"),
		("project:1", "all", "bad_request"),
		("doc:Task/1", 5, "not_permitted"),
		("open_doc:Task/1", 5, "not_permitted"),
		("presence:doc:Task/1", 5, "not_permitted"),
		("doctype:Task", 5, "not_permitted"),
		("task_progress:1", 5, "not_permitted"),
		("all", 5, "not_permitted"),
		("user:bob@example.com", 5, "not_permitted"),
	],
)
@pytest.mark.parametrize("text", both(REWIND, arguments="room, rewind"))
def test_rewind_is_refused(make_site: MakeSite, text: str, room: str, rewind: object, code: str) -> None:
	site = make_site(text)
	site.publish("secret", 1, room)
	ann = site.connect("ann@example.com", "Website User")
	with pytest.raises(RewindRefused) as refused:
		ann.emit("go", room, rewind)
	assert refused.value.code == code
	assert room not in ann.rooms
	assert not ann.received("secret")


@pytest.mark.parametrize(
	"room", ["doc:Task/1", "doctype:Task", "task_progress:1", "all", "website", "user:ann@example.com"]
)
@pytest.mark.parametrize("text", both(REWIND, arguments="room, rewind"))
def test_rewind_of_rooms_that_the_user_may_be_in(make_site: MakeSite, text: str, room: str) -> None:
	site = make_site(text)
	site.publish("value", 1, room)
	ann = site.connect("ann@example.com")
	assert ann.call("go", room, 5) == [1, True]
	assert ann.received("value") == [(1,)]


def test_guests_are_not_sent_what_other_guests_were_sent(make_site: MakeSite) -> None:
	site = make_site(
		f"{HEAD}@realtime.on('go', allow_guest=True)\nasync def go(socket):\n\tawait socket.rewind('user:Guest', 5)"
	)
	site.publish("secret", 1, "user:Guest")
	guest = site.connect()
	with pytest.raises(RewindRefused):
		guest.emit("go")
	assert not guest.received("secret")


@pytest.mark.parametrize("name", ["connect", "disconnect", "connect_error"])
@pytest.mark.parametrize("text", both("\tAWAIT socket.emit(name)", arguments="name"))
def test_reserved_events(make_site: MakeSite, text: str, name: str) -> None:
	client = make_site(text).connect("ann@example.com")
	with pytest.raises(ValueError, match="an event of Socket"):
		client.emit("go", name)


@pytest.mark.parametrize("text", both("\tAWAIT socket.emit('x', object())"))
def test_data_that_cannot_be_serialised(make_site: MakeSite, text: str) -> None:
	client = make_site(text).connect("ann@example.com")
	with pytest.raises(TypeError):
		client.emit("go")


def test_await_is_optional_for_completed_work(make_site: MakeSite) -> None:
	site = make_site(
		HEAD
		+ "@realtime.on('go')\nasync def go(socket):\n\tsocket.join('r')\n\tsocket.emit('x', room='r')\n\tawait socket.leave('r')\n"
	)
	client = site.connect("ann@example.com")
	client.emit("go")
	assert client.events == [("x", ())]
	assert "r" not in client.rooms


# -- acknowledgements


@pytest.mark.parametrize(
	("returned", "answer"),
	[("1", 1), ("(1, 2)", (1, 2)), ("()", None), ("(None,)", None), ("False", False), ("b'x'", b"x")],
)
def test_the_return_value_is_the_acknowledgement(make_site: MakeSite, returned: str, answer: object) -> None:
	site = make_site(f"{HEAD}@realtime.on('go')\nasync def go(socket):\n\treturn {returned}\n")
	assert site.connect("ann@example.com").call("go") == answer


def test_none_sends_no_acknowledgement(make_site: MakeSite) -> None:
	site = make_site(HEAD + "@realtime.on('go')\nasync def go(socket):\n\treturn None\n")
	with pytest.raises(NoAnswer, match="no handler answered 'go'"):
		site.connect("ann@example.com").call("go")


@pytest.mark.parametrize(
	"text", both("\tack(1, 2)\n\tack('too late')\n\treturn 'later still'", arguments="ack")
)
def test_ack_as_a_parameter(make_site: MakeSite, text: str) -> None:
	client = make_site(text).connect("ann@example.com")
	assert client.call("go") == (1, 2)
	client.emit("go")


# -- listeners


def test_on_once_off_and_nested(make_site: MakeSite) -> None:
	site = make_site(
		"""
async def app_handlers(socket):
	async def first(*arguments):
		await socket.emit("first", arguments)
	def second(a=None):
		socket.emit("second", a)
	socket.on("x", first)
	socket.on("x", second)
	socket.once("x", lambda: socket.on("added", lambda: socket.emit("added")))
	socket.on("stop", lambda: socket.off("x", second))
	socket.on("clear", lambda: socket.off())
"""
	)
	client = site.connect("ann@example.com")
	client.emit("added")
	client.emit("x", 1, 2)
	client.emit("added")
	client.emit("stop")
	client.emit("x", 3)
	client.emit("clear")
	client.emit("x", 4)
	assert client.events == [("first", (1, 2)), ("second", (1,)), ("added", ()), ("first", (3,))]


def test_async_and_plain_listeners_of_a_plain_set_up_function(make_site: MakeSite) -> None:
	site = make_site(
		"""
import threading

def app_handlers(socket):
	socket.join("from set-up")
	async def waits():
		await socket.emit("loop", threading.current_thread() is threading.main_thread())
		return await socket.has_permission("Note", "1")
	def blocks():
		socket.emit("thread", threading.current_thread() is threading.main_thread())
		return socket.has_permission("Note", "1")
	socket.on("waits", waits)
	socket.on("blocks", blocks)
	socket.on("disconnect", lambda reason: socket.nsp.emit("left", reason))
"""
	)
	ann, bob = pair(site)
	assert "from set-up" in ann.rooms
	assert (ann.call("waits"), ann.call("blocks")) == (True, True)
	assert ann.events == [("loop", (True,)), ("thread", (False,))]
	ann.disconnect()
	assert bob.received("left") == [("client namespace disconnect",)]


def test_middleware(make_site: MakeSite) -> None:
	site = make_site(
		HEAD
		+ """
@realtime.on("connect")
async def connected(socket):
	async def upper(event, arguments):
		if event == "secret":
			return False
		if event == "broken":
			raise PermissionError(event)
		arguments[0] = arguments[0].upper()
	socket.use(upper)

@realtime.on("say")
async def say(socket, text):
	return text

@realtime.on("secret")
@realtime.on("broken")
async def never(socket):
	return "reached"
"""
	)
	client = site.connect("ann@example.com")
	assert client.call("say", "hi") == "HI"
	with pytest.raises(NoAnswer):
		client.call("secret")
	with pytest.raises(PermissionError):
		client.call("broken")


def test_on_raises_outside_handlers(make_site: MakeSite) -> None:
	client = make_site(HEAD + "@realtime.on('go')\nasync def go(socket):\n\tpass\n").connect(
		"ann@example.com"
	)
	with pytest.raises(RuntimeError, match=r"socket\.on is for the handlers of an app"):
		client.socket.on("x", lambda: None)
