"""All come back at once: nobody is refused, and the web process is asked no more than it has to be."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from websockets.asyncio.client import ClientConnection, connect

from tests.wire.bench import APP_SITE, Bench
from tests.wire.conditions import until
from tests.wire.conftest import LONG
from tests.wire.raw import HANDSHAKE
from tests.wire.workers import workers

SESSIONS, TABS = 60, 3
SLOTS = 8
ASKED_WHO = "frappe.realtime.get_user_info"

MakeBench = Callable[..., Bench]


class Tab:
	"""A browser's tab, as bare as it can be."""

	def __init__(self, bench: Bench, headers: dict[str, str]) -> None:
		self._url = f"ws://127.0.0.1:{bench.sidecar.port}{HANDSHAKE}websocket"
		self._headers = {key: value for key, value in headers.items() if key != "Host"}
		self._connection: ClientConnection

	async def knock(self) -> None:
		"""Connect, and ask for the namespace."""
		self._connection = await connect(
			self._url,
			additional_headers=self._headers,
			compression=None,
			proxy=None,
			ping_interval=None,
			open_timeout=LONG,
		)
		await self._connection.send(f"40/{APP_SITE},")

	async def answer(self) -> str:
		"""What the sidecar says to that."""
		await self._connection.recv()
		return str(await self._connection.recv())

	async def close(self) -> None:
		await self._connection.close()


async def knock(tabs: list[Tab]) -> None:
	await asyncio.gather(*[tab.knock() for tab in tabs])


async def answers(tabs: list[Tab]) -> list[str]:
	return list(await asyncio.gather(*[tab.answer() for tab in tabs]))


@pytest.mark.parametrize("app", [True, False], ids=["with the app", "without"])
@pytest.mark.parametrize("count", [1, 4], ids=["one process", "four workers"])
def test_a_storm(make_bench: MakeBench, count: int, app: bool) -> None:
	"""The web process answers only when all have connected, so that each question has the tabs of a user at several workers."""
	bench = make_bench(
		common={
			"socketio_workers": count,
			"realtime_web_connections": SLOTS,
			# A tab that comes late must not find that the answer has expired.
			"realtime_cache_seconds": 3600,
			# A question that waits until all have connected must not be repeated.
			"realtime_web_timeout": 600,
		}
	)
	if count > 1:
		workers(bench, count)
	bench.site().installed_apps[:] = ["frappe", "frappe_realtime"] if app else ["frappe"]
	tabs = []
	for _ in range(SESSIONS):
		headers = bench.headers(bench.user())
		tabs += [Tab(bench, headers) for _ in range(TABS)]
	bench.web.fail(ASKED_WHO, hang=True)
	bench.background.run(knock(tabs), LONG)
	until(lambda: bench.sidecar.health()[1]["connections"] == len(tabs), "all connections")
	until(lambda: bench.web.counts[ASKED_WHO] >= SLOTS, "the first questions")
	assert bench.web.counts[ASKED_WHO] == SLOTS
	bench.web.heal()
	said = bench.background.run(answers(tabs), LONG)
	assert [answer for answer in said if not answer.startswith(f'40/{APP_SITE},{{"sid"')] == []
	assert bench.web.counts[ASKED_WHO] == SESSIONS
	for tab in tabs:
		bench.background.run(tab.close())
