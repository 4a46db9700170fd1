"""Which handlers run, in which order, and what their exceptions do."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from frappe_realtime.handlers.registry import Registry, Signature
from frappe_realtime.testing import NoAnswer
from realtime.handlers.executor import HandlerLimits
from tests.unit.handlers.conftest import MakeSite

HEAD = "import asyncio\nfrom frappe.realtime import Socket, realtime\n\n"


def test_the_decorator_returns_the_function() -> None:
	registry = Registry()

	def handler(socket: object) -> str:
		return "called"

	assert registry.on("x")(handler) is handler
	assert handler(None) == "called"


def test_frappe_context_on_an_async_function_is_refused_at_import() -> None:
	with pytest.raises(TypeError, match="frappe_context=True needs a plain def"):

		@Registry().on("x", frappe_context=True)
		async def handler(socket: object) -> None: ...


def test_the_decorator_without_an_event_is_refused_at_import() -> None:
	registry: Any = Registry()
	with pytest.raises(TypeError, match=r"takes the name of an event, as in @realtime.on"):

		@registry.on
		async def handler(socket: object) -> None: ...


def test_callable_objects_with_an_async_call() -> None:
	class Handler:
		async def __call__(self, socket: object) -> None: ...

	registry = Registry()
	with registry.collecting() as handlers:
		registry.on("x")(Handler())
	assert handlers[0].is_async
	assert handlers[0].signature == Signature(0, 0, False)


@pytest.mark.parametrize(
	("source", "signature"),
	[
		("lambda a, b=1: 0", Signature(1, 2, False)),
		("lambda *a: 0", Signature(0, None, False)),
		("lambda a, ack: 0", Signature(1, 1, True)),
		("lambda a, *, ack=None: 0", Signature(1, 1, True)),
		("print", Signature(0, None, False)),
	],
)
def test_signatures(source: str, signature: Signature) -> None:
	assert Signature.of(eval(source)) == signature


def test_too_many_arguments_are_left_out_and_too_few_run_nothing(
	make_site: MakeSite, caplog: pytest.LogCaptureFixture
) -> None:
	client = make_site(HEAD + "@realtime.on('go')\nasync def go(socket, a, b=2):\n\treturn [a, b]\n").connect(
		"ann"
	)
	assert client.call("go", 1) == [1, 2]
	assert client.call("go", 1, 3, 4) == [1, 3]
	with pytest.raises(NoAnswer):
		client.call("go")
	assert "go did not run: 'go' came with 0 arguments, it needs 1" in caplog.text


@pytest.mark.parametrize("kind", ["async def", "def"])
def test_guests(make_site: MakeSite, kind: str) -> None:
	site = make_site(
		f"{HEAD}@realtime.on('closed')\n{kind} closed(socket):\n\treturn 1\n"
		f"@realtime.on('open', allow_guest=True)\n{kind} opened(socket):\n\treturn socket.user\n"
	)
	guest = site.connect()
	assert guest.call("open") == "Guest"
	with pytest.raises(NoAnswer):
		guest.call("closed")


def test_apps_run_in_the_order_of_installation_and_once_each(make_site: MakeSite) -> None:
	text = (
		HEAD
		+ "@realtime.on('go')\nasync def go(socket):\n\tawait socket.emit('ran', '{app}')\n\treturn '{app}'\n"
	)
	client = make_site(
		**{f"order_{app}": text.replace("{app}", app) for app in ("zulu", "alpha", "mike")}
	).connect("ann@example.com")
	assert client.call("go") == "zulu"
	assert client.received("ran") == [("zulu",), ("alpha",), ("mike",)]


def test_handlers_of_one_event_in_one_app_run_in_order(make_site: MakeSite) -> None:
	site = make_site(
		HEAD
		+ "@realtime.on('go')\nasync def one(socket):\n\tawait asyncio.sleep(0.01)\n\tawait socket.emit('ran', 1)\n"
		+ "@realtime.on('go')\ndef two(socket):\n\tsocket.emit('ran', 2)\n"
	)
	client = site.connect("ann@example.com")
	client.emit("go")
	assert client.received("ran") == [(1,), (2,)]


def test_one_function_for_several_events(make_site: MakeSite) -> None:
	site = make_site(HEAD + "@realtime.on('a')\n@realtime.on('b')\nasync def both(socket):\n\treturn 1\n")
	client = site.connect("ann@example.com")
	assert (client.call("a"), client.call("b")) == (1, 1)


def test_connect_and_disconnect(make_site: MakeSite) -> None:
	site = make_site(
		HEAD
		+ "@realtime.on('connect')\nasync def come(socket):\n\tawait socket.nsp.emit('came', socket.user)\n"
		+ "@realtime.on('disconnect')\ndef gone(socket):\n\tsocket.to('website').emit('went', [socket.user, sorted(socket.rooms), socket.connected])\n"
	)
	ann = site.connect("ann@example.com")
	bob = site.connect("bob@example.com")
	bob.disconnect()
	site.connect()
	assert ann.events == [
		("came", ("ann@example.com",)),
		("came", ("bob@example.com",)),
		("went", (["bob@example.com", [], False],)),
	]


@pytest.mark.parametrize("kind", ["async def", "def"])
@pytest.mark.parametrize("error", ["ValueError('no')", "SystemExit(1)", "asyncio.CancelledError()"])
def test_an_exception_ends_only_its_own_handler(make_site: MakeSite, kind: str, error: str) -> None:
	site = make_site(
		f"{HEAD}@realtime.on('go')\n{kind} failing(socket):\n\traise {error}\n"
		"@realtime.on('go')\nasync def next_one(socket):\n\tawait socket.emit('second')\n"
		"@realtime.on('after')\nasync def after(socket):\n\treturn True\n"
	)
	client = site.connect("ann@example.com")
	with pytest.raises((ValueError, SystemExit, asyncio.CancelledError)):
		client.emit("go")
	assert client.received("second") == [()]
	assert client.call("after") is True


def test_failures_are_logged_with_app_event_user_and_site(
	make_site: MakeSite, caplog: pytest.LogCaptureFixture
) -> None:
	site = make_site(failing=HEAD + "@realtime.on('go')\nasync def go(socket):\n\t1 / 0\n")
	with pytest.raises(ZeroDivisionError):
		site.connect("ann@example.com").emit("go")
	assert "failing: a handler of 'go' failed (user ann@example.com of test.localhost)" in caplog.text


def test_an_exception_of_a_set_up_function_affects_no_other_app(make_site: MakeSite) -> None:
	site = make_site(
		bad="def bad_handlers(socket):\n\traise ValueError('not today')\n",
		good=HEAD + "@realtime.on('go')\nasync def go(socket):\n\treturn 1\n",
	)
	with pytest.raises(ValueError, match="not today"):
		site.connect("ann@example.com")
	assert site.clients[-1].call("go") == 1


def test_events_wait_for_an_async_set_up_function(make_site: MakeSite) -> None:
	site = make_site(
		HEAD
		+ "async def app_handlers(socket):\n\tsocket.mark = await socket.frappe_request('/mark')\n"
		+ "\tsocket.on('go', lambda: socket.mark.status)\n"
	)
	assert site.connect("ann@example.com").call("go") == 404


def test_a_full_queue_drops_events(make_site: MakeSite, caplog: pytest.LogCaptureFixture) -> None:
	site = make_site(
		HEAD
		+ "@realtime.on('go')\nasync def go(socket, n):\n\tif n == 0:\n\t\tfor _ in range(5):\n\t\t\tawait asyncio.sleep(0)\n\tawait socket.emit('ran', n)\n"
	)
	site.handlers.executor.limits = HandlerLimits(queue=2)
	client = site.connect("ann@example.com")

	async def burst() -> None:
		events = [client._packets.encode_event(client._namespace, ["go", number]) for number in range(5)]
		await asyncio.gather(*map(client._send, events))

	site._run(burst())
	assert len(client.received("ran")) < 5
	assert site.handlers.executor.counters.dropped.total() == 5 - len(client.received("ran"))
	assert "events wait already (realtime_handler_queue)" in caplog.text


ASYNC_HANDLER = "@realtime.on('go')\nasync def go(socket, *arguments):\n"


def test_cancelling_the_task_of_an_earlier_handler_cancels_no_other_handler(make_site: MakeSite) -> None:
	site = make_site(
		HEAD
		+ "kept = []\n"
		+ ASYNC_HANDLER
		+ "\tkept.append(asyncio.current_task())\n"
		+ "@realtime.on('wait')\nasync def wait(socket):\n"
		+ "\tasyncio.get_running_loop().call_soon(kept.pop().cancel)\n\tawait asyncio.sleep(0.01)\n\treturn 'not cancelled'\n"
	)
	client = site.connect("ann@example.com")
	client.emit("go")
	assert client.call("wait") == "not cancelled"


@pytest.mark.parametrize("then", ["return 'ended'", "await asyncio.sleep(0)\n\treturn 'not reached'"])
def test_a_handler_that_cancels_itself(make_site: MakeSite, then: str) -> None:
	site = make_site(
		HEAD
		+ ASYNC_HANDLER
		+ f"\tasyncio.current_task().cancel()\n\t{then}\n"
		+ "@realtime.on('wait')\nasync def wait(socket):\n\tawait asyncio.sleep(0.01)\n\treturn True\n"
	)
	client = site.connect("ann@example.com")
	if then.startswith("return"):
		assert client.call("go") == "ended"
	else:
		with pytest.raises(asyncio.CancelledError):
			client.emit("go")
	for _ in range(2):
		assert client.call("wait") is True


def test_an_object_with_an_async_call_runs_in_a_task_and_in_the_context_of_the_app(
	make_site: MakeSite,
) -> None:
	site = make_site(
		HEAD
		+ "seen = []\n"
		+ "class Handler:\n\tdef __init__(self, function):\n\t\tself.function = function\n"
		+ "\tasync def __call__(self, socket):\n\t\tsocket.on('later', lambda: 'called')\n"
		+ "\t\tseen.append(asyncio.current_task() is not None)\n\t\treturn await self.function(socket)\n"
		+ "async def answer(socket):\n\treturn 'answered'\n"
		+ "realtime.on('go')(Handler(answer))\nrealtime.on('connect')(Handler(answer))\n"
		+ "@realtime.on('seen')\nasync def get_seen(socket):\n\treturn seen\n"
	)
	client = site.connect("ann@example.com")
	assert client.call("go") == "answered"
	assert client.call("later") == "called"
	assert client.call("seen") == [True, True]


@pytest.mark.parametrize("event", ["decorated", "listener"])
def test_a_plain_function_that_returns_a_coroutine_is_refused(make_site: MakeSite, event: str) -> None:
	"""Otherwise it would do nothing, and nothing would say so."""
	site = make_site(
		HEAD
		+ "async def work(socket):\n\treturn 1\n"
		+ "@realtime.on('connect')\nasync def connected(socket):\n\tsocket.on('listener', lambda: work(socket))\n"
		+ "@realtime.on('decorated')\ndef decorated(socket):\n\treturn work(socket)\n"
	)
	with pytest.raises(
		TypeError, match="has returned a coroutine, which nobody awaits: make it an async def"
	):
		site.connect("ann@example.com").emit(event)


def test_a_plain_set_up_function_that_returns_a_coroutine_is_refused(make_site: MakeSite) -> None:
	site = make_site(
		"async def _work(socket):\n\tsocket.on('go', lambda: 1)\ndef set_up(socket):\n\treturn _work(socket)\n"
	)
	with pytest.raises(TypeError, match="set_up is a plain function and has returned a coroutine"):
		site.connect("ann@example.com")


def test_an_answer_that_cannot_be_encoded_is_not_logged(
	make_site: MakeSite, caplog: pytest.LogCaptureFixture
) -> None:
	site = make_site(HEAD + ASYNC_HANDLER + "\treturn {'secret': 'of a user', 'more': object()}\n")
	client = site.connect("ann@example.com")
	with pytest.raises(TypeError, match="not JSON serializable"):
		client.call("go")
	assert "a handler of 'go' failed" in caplog.text
	assert "of a user" not in caplog.text


def test_each_event_has_its_own_context_variables(make_site: MakeSite) -> None:
	site = make_site(
		HEAD
		+ "from contextvars import ContextVar\nv = ContextVar('v', default=0)\n"
		+ "@realtime.on('go')\ndef go(socket):\n\told = v.get()\n\tv.set(1)\n\treturn old\n"
		+ "@realtime.on('a')\nasync def a(socket):\n\told = v.get()\n\tv.set(1)\n\treturn old\n"
	)
	client = site.connect("ann@example.com")
	assert [client.call("go"), client.call("go"), client.call("a"), client.call("a")] == [0, 0, 0, 0]


def test_data_in_context_variables_are_not_shared_between_runs(make_site: MakeSite) -> None:
	# As in `frappe.local`: one dict in a context variable, changed in place.
	site = make_site(
		HEAD
		+ "from contextvars import ContextVar\nlocal = ContextVar('local')\nlocal.set({'user': 'of the import'})\n"
		+ "def take(user):\n\tif local.get(None) is None:\n\t\tlocal.set({})\n"
		+ "\told = local.get().get('user')\n\tlocal.get()['user'] = user\n\treturn old or 'none'\n"
		+ "@realtime.on('plain')\ndef plain(socket):\n\treturn take(socket.user)\n"
		+ "@realtime.on('async')\nasync def asynchronous(socket):\n\tawait asyncio.sleep(0)\n\treturn take(socket.user)\n"
	)
	ann, bob = site.connect("ann@example.com"), site.connect("bob@example.com")
	for client in (ann, bob, ann):
		assert (client.call("plain"), client.call("async")) == ("none", "none")
