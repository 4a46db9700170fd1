"""Presence and rewinds of a handler's socket, in an `async def` and in a plain `def`."""

from __future__ import annotations

import pytest

from frappe_realtime.contract.presence import PRESENCE, PRESENCE_SYNC
from frappe_realtime.errors import PresenceRefused, RewindRefused
from tests.unit.handlers.conftest import MakeSite
from tests.unit.handlers.sockets import HEAD, both, pair


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
	with pytest.raises(TypeError, match=r"^presence\(…\)"):
		site.connect("ann@example.com").emit("go")


def test_changes_of_many_places_have_arrived_when_emit_returns(make_site: MakeSite) -> None:
	site = make_site(
		f"{HEAD}@realtime.on('go')\nasync def go(socket):\n"
		"\tfor number in range(6):\n\t\tsocket.presence('Task', number).join()\n"
	)
	ann, bob = pair(site)
	ann.emit("go")
	bob.emit("go")
	assert {message["place"] for (message,) in ann.received(PRESENCE)} == {f"doc:Task/{n}" for n in range(6)}


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


@pytest.mark.parametrize("room", [5, None, ["project:1"], {"a": 1}])
@pytest.mark.parametrize("text", both(REWIND, arguments="room, rewind"))
def test_rewind_of_a_room_that_is_no_string(make_site: MakeSite, text: str, room: object) -> None:
	"""A client may have sent it."""
	client = make_site(text).connect("ann@example.com")
	with pytest.raises(TypeError, match="a room is a string"):
		client.emit("go", room, 5)


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
