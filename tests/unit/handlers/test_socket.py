"""The methods and properties of a handler's socket, in an `async def` and in a plain `def`."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from frappe_realtime.handlers.namespace import Namespace
from frappe_realtime.handlers.sync_socket import SyncNamespace
from tests.unit.handlers.conftest import MakeSite
from tests.unit.handlers.sockets import HEAD, both, pair


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


@pytest.mark.parametrize(
	"text",
	both(
		"\tAWAIT socket.emit('hi', room=[])\n\tAWAIT socket.to([]).emit('hi')\n"
		"\tAWAIT socket.broadcast.to([]).emit('hi')\n\tAWAIT socket.nsp.to([]).emit('hi')"
	),
)
def test_an_empty_list_of_rooms_is_nobody(make_site: MakeSite, text: str) -> None:
	"""In Socket.IO it is everybody, and what was meant for nobody would reach Guests."""
	ann, bob = pair(make_site(text))
	ann.emit("go")
	assert ann.events == bob.events == []


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


def test_a_thread_does_not_wait_until_an_event_for_the_site_is_sent() -> None:
	posted: list[Any] = []
	runtime: Any = SimpleNamespace(prepare_emit=lambda *emitted: emitted, post=posted.append)
	server_namespace = SimpleNamespace(name="/one")
	socket: Any = SimpleNamespace(namespace="/one", nsp=Namespace(runtime, server_namespace))
	nsp = SyncNamespace(runtime, socket)
	nsp.emit("every", 1)
	nsp.to("room").emit("one", 2)
	assert posted == [
		(server_namespace, None, "every", (1,), None),
		(server_namespace, ("room",), "one", (2,), None),
	]


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


@pytest.mark.parametrize("rooms", [["a", 1], [None], [2.5], 7])
@pytest.mark.parametrize(
	"text",
	both(
		"\ttry:\n\t\tAWAIT socket.join(rooms)\n\texcept TypeError as error:\n"
		"\t\treturn [str(error)[:18], sorted(socket.rooms - {socket.sid})]",
		arguments="rooms",
	),
)
def test_rooms_that_are_no_strings_are_not_joined(make_site: MakeSite, text: str, rooms: object) -> None:
	"""A client may have sent them. The end of a socket in such a room would fail."""
	ann, bob = pair(make_site(text))
	assert ann.call("go", rooms) == ["a room is a string", ["all", "user:ann@example.com", "website"]]
	ann.disconnect()
	assert list(bob.socket.nsp.sockets) == [bob.socket.sid]


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


@pytest.mark.parametrize(
	"text",
	both(
		"\tsockets, rooms = socket.nsp.sockets, socket.nsp.rooms\n"
		"\tAWAIT socket.join('late')\n"
		"\treturn [sockets.get('gone'), 'gone' in sockets, socket.sid in sockets, len(sockets), rooms.get('gone'),"
		" len(rooms['late'])]"
	),
)
def test_sockets_and_rooms_are_live_views(make_site: MakeSite, text: str) -> None:
	site = make_site(text)
	site.connect("bob@example.com")
	assert site.connect("ann@example.com").call("go") == [None, False, True, 2, None, 1]


@pytest.mark.parametrize("text", both("\treturn [other is socket for other in socket.nsp.sockets.values()]"))
def test_the_own_socket_is_known_among_those_of_the_namespace(make_site: MakeSite, text: str) -> None:
	ann, _ = pair(make_site(text))
	assert ann.call("go") == [True, False]


def test_sockets_and_rooms_that_go_while_a_handler_looks_at_them_are_skipped(make_site: MakeSite) -> None:
	site = make_site(
		f"{HEAD}@realtime.on('sockets')\nasync def sockets(socket):\n\tseen = []\n"
		"\tfor sid, other in socket.nsp.sockets.items():\n\t\tseen.append(other.user)\n"
		"\t\tfor one in list(socket.nsp.sockets.values()):\n\t\t\tif one is not socket:\n\t\t\t\tone.disconnect()\n"
		"\treturn seen\n"
		"@realtime.on('rooms')\nasync def rooms(socket):\n\tseen = []\n\tsocket.join(['a', 'b'])\n"
		"\tfor room, ids in socket.nsp.rooms.items():\n\t\tseen.append(room)\n\t\tsocket.leave(['a', 'b'])\n"
		"\treturn sorted(seen)\n"
	)
	ann, bob = pair(site)
	assert ann.call("sockets") == ["ann@example.com"]
	assert not bob.connected
	assert ann.call("rooms") == ["all", "user:ann@example.com", "website"]


def test_a_handler_whose_client_has_gone_reaches_those_that_come_later(make_site: MakeSite) -> None:
	"""Also if it was the only client of the site: the namespace has ended meanwhile."""
	site = make_site(
		f"{HEAD}kept = []\n"
		"@realtime.on('keep')\nasync def keep(socket):\n\tkept.append((socket, socket.nsp))\n"
		"@realtime.on('enter')\nasync def enter(socket):\n\tgone, nsp = kept[0]\n\tsocket.join('room')\n"
		"\tgone.emit('socket', room='room')\n\tgone.to('room').emit('to')\n\tgone.broadcast.emit('broadcast')\n"
		"\tgone.nsp.emit('namespace')\n\tnsp.to('room').emit('kept')\n"
		"\treturn [gone.connected, gone.participants('room') == [socket.sid], gone.user_of(socket.sid),"
		" list(nsp.sockets) == [socket.sid], 'room' in nsp.rooms, nsp.sockets[socket.sid] is socket]\n"
	)
	ann = site.connect("ann@example.com")
	ann.emit("keep")
	ann.disconnect()
	bob = site.connect("bob@example.com")
	assert bob.call("enter") == [False, True, "bob@example.com", True, True, True]
	assert [event for event, _ in bob.events] == ["socket", "to", "broadcast", "namespace", "kept"]


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


@pytest.mark.parametrize("text", both("\tAWAIT socket.disconnect(True)\n\tAWAIT socket.emit('late')"))
def test_disconnect_with_the_connection(make_site: MakeSite, text: str) -> None:
	client = make_site(text).connect("ann@example.com")
	client.emit("go")
	assert not client.connected
	assert client.events == []


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
	("arguments", "error"),
	[
		("'api/method/x'", ValueError),
		("'/api/method/x', {'a': object()}", TypeError),
		("'/api/method/x', method='POST', body={'b': {1, 2}}", TypeError),
	],
)
def test_a_request_that_the_sidecar_would_refuse(
	make_site: MakeSite, arguments: str, error: type[Exception]
) -> None:
	site = make_site(
		f"{HEAD}@realtime.on('go')\nasync def go(socket):\n\tawait socket.frappe_request({arguments})\n"
	)
	site.answer("/api/method/x", "answer")
	with pytest.raises(error):
		site.connect("ann@example.com").emit("go")
	assert site.requests == []


def test_an_argument_of_a_request_that_is_none_is_left_out(make_site: MakeSite) -> None:
	site = make_site(
		f"{HEAD}@realtime.on('go')\nasync def go(socket):\n"
		"\treturn (await socket.frappe_request('/api/method/x', {'a': None, 'b': 1})).message\n"
	)
	site.answer("/api/method/x", lambda a="default", b=0: [a, b])
	assert site.connect("ann@example.com").call("go") == ["default", 1]


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
	assert client.call("go", "x" * 601) == [False, True]


@pytest.mark.parametrize("doctype", [5, True, ["Note"], {"a": 1}, None])
@pytest.mark.parametrize(
	"text", both("\treturn AWAIT socket.has_permission(doctype, '1')", arguments="doctype")
)
def test_nobody_has_a_permission_on_what_is_no_doctype(
	make_site: MakeSite, text: str, doctype: object
) -> None:
	"""A client may have sent it."""
	assert make_site(text).connect("ann@example.com").call("go", doctype) is False


@pytest.mark.parametrize("name", ["connect", "disconnect", "connect_error"])
@pytest.mark.parametrize("text", both("\tAWAIT socket.emit(name)", arguments="name"))
def test_reserved_events(make_site: MakeSite, text: str, name: str) -> None:
	client = make_site(text).connect("ann@example.com")
	with pytest.raises(ValueError, match="an event of Socket"):
		client.emit("go", name)


@pytest.mark.parametrize("name", [None, {"a": 1}, True])
@pytest.mark.parametrize("target", ["socket", "socket.nsp", "socket.to('website')"])
def test_a_name_that_is_no_string_cannot_be_emitted(make_site: MakeSite, target: str, name: object) -> None:
	"""A client may have sent it. Clients that get such an event close their connections."""
	text = f"{HEAD}@realtime.on('go')\nasync def go(socket, name):\n\t{target}.emit(name, 1)\n"
	ann, bob = pair(make_site(text))
	with pytest.raises(TypeError, match="the name of an event is a string"):
		ann.emit("go", name)
	assert ann.events == bob.events == []


@pytest.mark.parametrize("text", both("\tAWAIT socket.emit('x', object())"))
def test_data_that_cannot_be_serialised(make_site: MakeSite, text: str) -> None:
	client = make_site(text).connect("ann@example.com")
	with pytest.raises(TypeError, match="not JSON serializable"):
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
