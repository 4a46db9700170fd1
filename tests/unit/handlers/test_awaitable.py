"""A forgotten `await` never grants access."""

from __future__ import annotations

import asyncio
import warnings

import pytest

from frappe_realtime.handlers.awaitable import must_be_awaited
from frappe_realtime.testing import NoAnswer
from tests.unit.handlers.conftest import MakeSite

HEAD = "import asyncio\nfrom frappe.realtime import Socket, realtime\n\n"

METHODS = ["has_permission('Note', '1')", "frappe_request('/api/method/x')", "call('confirm')"]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("test", ["if not {0}:\n\t\treturn 'refused'", "if {0}:\n\t\tpass", "bool({0})"])
def test_a_forgotten_await_raises(make_site: MakeSite, method: str, test: str) -> None:
	site = make_site(
		HEAD
		+ "@realtime.on('go')\nasync def go(socket):\n\t"
		+ test.format(f"socket.{method}")
		+ "\n\treturn 'granted'\n"
	)
	site.forbid("ann@example.com", "Note")
	with warnings.catch_warnings():
		warnings.simplefilter("error")
		with pytest.raises(TypeError, match=rf"{method.partition('(')[0]}.* without `await`"):
			site.connect("ann@example.com").call("go")


def test_a_forgotten_await_in_a_plain_set_up_function_raises(make_site: MakeSite) -> None:
	"""Such a function runs on the event loop, where `SyncSocket` returns the same awaitable."""
	site = make_site(
		"def app_handlers(socket):\n\tif not socket.has_permission('Note', '1'):\n\t\treturn\n\tsocket.join('notes')\n"
	)
	with pytest.raises(TypeError, match=r"has_permission.* without `await`"):
		site.connect("ann@example.com")
	assert "notes" not in site.clients[-1].rooms


@pytest.mark.parametrize(
	"expression",
	[
		"await {0}",
		"(await asyncio.gather({0}, {0}))[1]",
		"await asyncio.create_task({0})",
		"await asyncio.ensure_future({0})",
		"await asyncio.wait_for({0}, 5)",
		"await asyncio.shield({0})",
		"(await asyncio.wait({{asyncio.ensure_future({0})}}))[0].pop().result()",
	],
)
@pytest.mark.parametrize("permitted", [True, False])
def test_it_can_be_awaited_in_every_way(make_site: MakeSite, expression: str, permitted: bool) -> None:
	text = expression.format("socket.has_permission('Note', '1')")
	site = make_site(HEAD + f"@realtime.on('go')\nasync def go(socket):\n\treturn {text}\n")
	if not permitted:
		site.forbid("ann@example.com", "Note", "1")
	assert site.connect("ann@example.com").call("go") is permitted


@pytest.mark.parametrize("method", METHODS)
def test_plain_handlers_get_the_value(make_site: MakeSite, method: str) -> None:
	site = make_site(HEAD + f"@realtime.on('go')\ndef go(socket):\n\treturn bool(socket.{method})\n")
	client = site.connect("ann@example.com")
	client.answer("confirm", True)
	try:
		assert client.call("go") is True
	except NoAnswer:
		pytest.fail("the handler raised")


def test_middleware_may_return_it(make_site: MakeSite) -> None:
	site = make_site(
		HEAD
		+ "@realtime.on('connect')\nasync def connected(socket):\n"
		+ "\tsocket.use(lambda event, arguments: socket.has_permission('Note', '1'))\n"
		+ "@realtime.on('go')\nasync def go(socket):\n\treturn 'reached'\n"
	)
	site.forbid("ann@example.com", "Note", "1")
	with pytest.raises(NoAnswer):
		site.connect("ann@example.com").call("go")
	assert site.connect("bob@example.com").call("go") == "reached"


def test_exceptions_and_cancellation_reach_the_coroutine() -> None:
	seen: list[str] = []

	@must_be_awaited
	async def work(fail: bool) -> int:
		try:
			await asyncio.sleep(0 if fail else 10)
		except asyncio.CancelledError:
			seen.append("cancelled")
			raise
		raise ValueError("no")

	async def main() -> None:
		with pytest.raises(ValueError, match="no"):
			await work(True)
		task = asyncio.create_task(work(False))
		await asyncio.sleep(0)
		task.cancel()
		with pytest.raises(asyncio.CancelledError):
			await task
		assert "work" in repr(work(True))

	with warnings.catch_warnings():
		warnings.simplefilter("ignore", RuntimeWarning)
		asyncio.run(main())
	assert seen == ["cancelled"]
