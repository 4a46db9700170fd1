"""Acknowledgements, listeners and middleware of a handler's socket."""

from __future__ import annotations

import pytest

from frappe_realtime.testing import NoAnswer
from tests.unit.handlers.conftest import MakeSite
from tests.unit.handlers.sockets import HEAD, both, pair

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
	("event", "reason"),
	[
		("unknown", r": No app on test\.localhost handles the event \"unknown\"\."),
		("quiet", r": The handler of \"quiet\" in the app shop has returned nothing\."),
		("needs", r": The handler of \"needs\" in the app shop needs more than 0 arguments\."),
		("stopped", r": The app shop does not allow \"stopped\" for this user\."),
		("later", " so far$"),
	],
)
def test_an_event_without_an_answer_says_why(make_site: MakeSite, event: str, reason: str) -> None:
	site = make_site(
		shop=HEAD
		+ "@realtime.on('connect')\nasync def connected(socket):\n"
		+ "\tsocket.use(lambda event, arguments: event != 'stopped')\n"
		+ "@realtime.on('quiet')\nasync def quiet(socket):\n\tpass\n"
		+ "@realtime.on('needs')\nasync def needs(socket, value):\n\tpass\n"
		+ "@realtime.on('stopped')\nasync def stopped(socket):\n\treturn 1\n"
		+ "@realtime.on('later')\ndef later(socket, ack):\n\tsocket.set('ack', ack)\n"
	)
	with pytest.raises(NoAnswer, match=f"^no handler answered '{event}'{reason}"):
		site.connect("ann@example.com").call(event)


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


def test_plain_listeners_of_an_async_set_up_function_use_its_socket_in_a_thread(make_site: MakeSite) -> None:
	site = make_site(
		"""
async def app_handlers(socket):
	await socket.join("chat")
	if not await socket.has_permission("Note", "1"):
		return
	async def waits():
		await socket.presence(room="chat").leave()
		return await socket.has_permission("Note", "1")
	def blocks():
		# Its timer is set on the event loop.
		socket.presence(room="chat").join({"typing": True}, ttl=5)
		return socket.has_permission("Note", "1")
	socket.on("waits", waits)
	socket.on("blocks", blocks)
"""
	)
	ann = site.connect("ann@example.com")
	assert ann.call("blocks") is True
	assert "presence:room:chat" in ann.rooms
	assert ann.call("waits") is True
	assert "presence:room:chat" not in ann.rooms


def test_the_socket_of_an_async_set_up_function_has_attributes_and_weak_references(
	make_site: MakeSite,
) -> None:
	"""As the `Socket` of an async handler has."""
	site = make_site(
		"""
import weakref

opened = weakref.WeakSet()

async def app_handlers(socket):
	opened.add(socket)
	socket.mood = "good"
	async def look():
		return [socket in opened, len(opened), hasattr(socket, "mood")]
	async def forget():
		del socket.mood
	socket.on("look", look)
	socket.on("forget", forget)
"""
	)
	ann, _ = pair(site)
	assert ann.call("look") == [True, 2, True]
	ann.emit("forget")
	assert ann.call("look") == [True, 2, False]


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


def test_middleware_stops_no_handler_of_a_disconnect(make_site: MakeSite) -> None:
	site = make_site(
		HEAD
		+ "@realtime.on('connect')\nasync def connected(socket):\n\tsocket.use(lambda event, arguments: False)\n"
		+ "@realtime.on('disconnect')\nasync def gone(socket):\n\tsocket.nsp.emit('gone')\n"
	)
	ann, bob = pair(site)
	ann.disconnect()
	assert bob.received("gone") == [()]


def test_on_raises_outside_handlers(make_site: MakeSite) -> None:
	client = make_site(HEAD + "@realtime.on('go')\nasync def go(socket):\n\tpass\n").connect(
		"ann@example.com"
	)
	with pytest.raises(RuntimeError, match=r"socket\.on is for the handlers of an app"):
		client.socket.on("x", lambda: None)


@pytest.mark.parametrize("call", ["on('later', None)", "once('later', 1)", "use(None)"])
def test_what_is_no_function_is_refused_at_once(make_site: MakeSite, call: str) -> None:
	client = make_site(f"{HEAD}@realtime.on('go')\nasync def go(socket):\n\tsocket.{call}\n").connect(
		"ann@example.com"
	)
	with pytest.raises(TypeError, match="takes a function, and was given"):
		client.emit("go")
	client.emit("later")
