"""The client of the web process: retries, outages, maintenance, and how many requests they cost."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import pytest

from frappe_realtime.errors import WebUnavailable
from realtime.web import frappe_client as module
from realtime.web.frappe_client import Credential, FrappeClient, FrappeResponse, WebFailed, is_forbidden
from realtime.web.http_client import HTTPError, HTTPResponse
from tests.unit.access.fakes import config
from tests.unit.virtual_time import in_virtual_time, turns

ONE, TWO = "one.test", "two.test"
PATH = "/api/method/x"
PING = "/api/method/ping"
MAINTENANCE = HTTPResponse(503, (), b'{"exc_type": "SessionStopped"}')
ANN = Credential(sid="ann")


class FakeHTTP:
	"""The HTTP client: answers each request with `answer(site, target)`."""

	answer: Callable[[str, str], HTTPResponse | Exception] = staticmethod(
		lambda site, target: HTTPResponse(200, (), b'{"message": 1}')
	)

	seconds = 0.01
	"""How long it waits before it answers."""

	def __init__(self, url: str, timeout: float) -> None:
		self.requests: list[tuple[str, str]] = []
		self.headers: list[dict[str, str]] = []

	async def request(
		self, method: str, target: str, headers: dict[str, str], body: bytes = b"", timeout: float = 10
	) -> HTTPResponse:
		self.requests.append((headers["Host"], target))
		self.headers.append(headers)
		await asyncio.sleep(self.seconds)
		answer = self.answer(headers["Host"], target)
		if isinstance(answer, Exception):
			raise answer
		return answer

	def close(self) -> None: ...


class Setting:
	def __init__(self, monkeypatch: pytest.MonkeyPatch, patience: float = 120, connections: int = 16) -> None:
		monkeypatch.setattr(module, "HTTPClient", FakeHTTP)
		self.renewed: list[bool] = []
		self.client = FrappeClient(
			config(realtime_web_patience=patience, realtime_web_connections=connections), self._secret
		)
		self.http: Any = self.client._client

	async def _secret(self, renew: bool) -> str:
		self.renewed.append(renew)
		return "secret"

	def answer(self, answer: Callable[[str, str], Any]) -> None:
		self.http.answer = answer

	def count(self, target: str, site: str = ONE) -> int:
		return self.http.requests.count((site, target))

	def call(self, site: str = ONE, **options: Any) -> asyncio.Future[FrappeResponse]:
		return asyncio.ensure_future(self.client.call(site, PATH, ANN, **options))


def status(number: int) -> HTTPResponse:
	return HTTPResponse(number, (), b"<h1>")


@in_virtual_time
async def test_a_request_carries_site_secret_and_credential() -> None:
	with pytest.MonkeyPatch.context() as monkeypatch:
		it = Setting(monkeypatch)
		response = await it.call()
		assert (response.status, response.message) == (200, 1)
		[headers] = it.http.headers
		assert headers["Host"] == headers["X-Frappe-Site-Name"] == ONE
		assert headers["X-Frappe-Socket-Secret"] == "secret"
		assert headers["Cookie"] == "sid=ann"
		assert it.renewed == [False]
		assert it.client.requests == 1


@pytest.mark.parametrize(
	("statuses", "rejected", "renewed"),
	[
		([403, 200], is_forbidden, [False, True]),
		([403, 403, 200], is_forbidden, [False, True]),
		([401, 200], is_forbidden, [False]),
		([403, 200], None, [False]),
		([500, 403, 500, 200], is_forbidden, [False, False, True, True]),
	],
)
def test_a_secret_that_was_not_accepted_is_read_anew_once(
	monkeypatch: pytest.MonkeyPatch,
	statuses: list[int],
	rejected: Callable[[FrappeResponse], bool] | None,
	renewed: list[bool],
) -> None:
	@in_virtual_time
	async def test() -> None:
		it = Setting(monkeypatch)
		answers = iter(statuses)
		it.answer(lambda site, target: status(next(answers)))
		response = await it.call(secret_rejected=rejected)
		assert response.status == statuses[len(renewed) - 1]
		assert it.renewed == renewed

	test()


FAILURES = [
	status(500),
	status(429),
	asyncio.TimeoutError(),
	HTTPError("nonsense"),
	ConnectionResetError("closed"),
]


@pytest.mark.parametrize("failure", FAILURES, ids=repr)
def test_a_failing_request_is_repeated_as_often_as_is_asked_for(
	monkeypatch: pytest.MonkeyPatch, failure: Any
) -> None:
	@in_virtual_time
	async def test() -> None:
		for failures in (1, 2):
			it = Setting(monkeypatch)
			it.answer(lambda site, target: failure)
			with pytest.raises(WebFailed, match=PATH):
				await it.call(max_failures=failures)
			assert it.count(PATH) == failures
			assert it.count(PING) == 0
			assert not it.client.unavailable

	test()


@pytest.mark.parametrize("failure", FAILURES, ids=repr)
def test_a_connect_is_repeated_with_growing_pauses(monkeypatch: pytest.MonkeyPatch, failure: Any) -> None:
	@in_virtual_time
	async def test() -> None:
		it = Setting(monkeypatch, patience=60)
		it.answer(lambda site, target: failure)
		with pytest.raises(WebUnavailable):
			await it.call()
		assert 10 <= it.count(PATH) <= 25

	test()


@pytest.mark.parametrize(
	("failure", "alone", "repeated"),
	[(status(502), 2, 2), (status(503), 2, 2), (status(504), 2, 2), (status(502), 1, 2), (status(500), 1, 1)],
)
def test_a_request_that_begins_an_outage(
	monkeypatch: pytest.MonkeyPatch, failure: Any, alone: int, repeated: int
) -> None:
	"""The web process answers others: the request is repeated after the probe, and then fails."""

	@in_virtual_time
	async def test() -> None:
		it = Setting(monkeypatch)
		it.answer(lambda site, target: failure if target == PATH else status(200))
		with pytest.raises(WebFailed):
			await it.call(max_failures=alone)
		assert it.count(PATH) == repeated

	test()


@in_virtual_time
async def test_an_outage_is_over_when_anything_answers() -> None:
	with pytest.MonkeyPatch.context() as monkeypatch:
		it = Setting(monkeypatch)
		it.answer(lambda site, target: ConnectionRefusedError("refused"))
		began: list[tuple[str, str]] = []
		it.client.outage_began.connect(lambda site, reason: began.append((site, reason)))
		calls = [it.call(site, max_failures=1) for site in (ONE, TWO) for _ in range(20)]
		await asyncio.sleep(30)
		assert began == [("", "refused")]
		assert it.client.outage("three.test") == it.client.any_outage() == "refused"
		assert it.client.unavailable
		assert it.client.is_unavailable(ONE)
		assert it.client.is_unavailable("three.test")
		assert 1 <= it.client.requests <= 40
		assert 1 <= len(it.http.requests) - it.client.requests <= 15, "one probe for all"
		it.answer(lambda site, target: status(404) if target == PING else HTTPResponse(200, (), b"{}"))
		assert [response.status for response in await asyncio.gather(*calls)] == [200] * 40
		assert not it.client.unavailable


@in_virtual_time
async def test_maintenance_of_one_site_is_one_probe_and_no_other_s_outage() -> None:
	with pytest.MonkeyPatch.context() as monkeypatch:
		it = Setting(monkeypatch)
		it.answer(lambda site, target: MAINTENANCE if site == ONE else HTTPResponse(200, (), b"{}"))
		calls = [it.call(max_failures=1) for _ in range(5)]
		await asyncio.sleep(30)
		assert 1 < len(it.http.requests) <= 5 + 15
		assert it.client.is_unavailable(ONE)
		assert not it.client.is_unavailable(TWO)
		assert (it.client.outage(ONE), it.client.outage(TWO)) == ("maintenance mode", "")
		assert (await it.call(TWO)).status == 200
		it.answer(lambda site, target: HTTPResponse(200, (), b"{}"))
		assert [response.status for response in await asyncio.gather(*calls)] == [200] * 5
		assert not it.client.unavailable


@in_virtual_time
async def test_a_404_does_not_say_that_a_site_is_served_again() -> None:
	with pytest.MonkeyPatch.context() as monkeypatch:
		it = Setting(monkeypatch)
		it.answer(lambda site, target: status(404) if target == PING else MAINTENANCE)
		it.call()
		await asyncio.sleep(30)
		assert it.count(PATH) == 1
		assert it.client.is_unavailable(ONE)


@in_virtual_time
async def test_an_alternating_state_is_not_probed_faster() -> None:
	"""The probe is answered, the request is not: as behind a proxy that answers the ping itself."""
	with pytest.MonkeyPatch.context() as monkeypatch:
		it = Setting(monkeypatch, patience=60)
		it.answer(lambda site, target: MAINTENANCE if target == PATH else status(200))
		for _ in range(5):
			it.call()
		await asyncio.sleep(30)
		assert 1 < it.count(PING) <= 15


def test_one_line_for_each_change_of_state(
	monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
	caplog.set_level(logging.INFO, "realtime.web")

	@in_virtual_time
	async def test() -> None:
		it = Setting(monkeypatch)
		it.answer(lambda site, target: MAINTENANCE)
		calls = [it.call() for _ in range(5)]
		await asyncio.sleep(30)
		it.answer(lambda site, target: HTTPResponse(200, (), b"{}"))
		await asyncio.gather(*calls)

	test()
	assert [record.getMessage() for record in caplog.records] == [
		"the site one.test is in maintenance mode (HTTP 503); its clients wait",
		"the web process at http://127.0.0.1:8000 serves one.test again",
	]


@pytest.mark.parametrize(
	("response", "maintenance"),
	[
		(MAINTENANCE, True),
		(HTTPResponse(503, (), b"<h1>Updating</h1> This site is under Maintenance."), True),
		(HTTPResponse(503, (), b"<h1>503</h1>"), False),
		(HTTPResponse(502, (), b"maintenance"), False),
	],
)
def test_what_is_said_as_maintenance(
	monkeypatch: pytest.MonkeyPatch,
	caplog: pytest.LogCaptureFixture,
	response: HTTPResponse,
	maintenance: bool,
) -> None:
	@in_virtual_time
	async def test() -> None:
		it = Setting(monkeypatch)
		it.answer(lambda site, target: response)
		it.call()
		await turns()
		await asyncio.sleep(1)

	test()
	assert ("is in maintenance mode" in caplog.text) is maintenance


@in_virtual_time
async def test_the_time_of_a_call_is_bounded() -> None:
	with pytest.MonkeyPatch.context() as monkeypatch:
		it = Setting(monkeypatch, patience=10)
		it.answer(lambda site, target: ConnectionRefusedError("refused"))
		began = asyncio.get_running_loop().time()
		with pytest.raises(WebUnavailable):
			await it.call(max_failures=1)
		assert asyncio.get_running_loop().time() - began == pytest.approx(10, abs=1)


@pytest.mark.parametrize("patience", [0, 10])
def test_who_waits_for_a_connection_waits_no_longer_than_for_an_answer(
	monkeypatch: pytest.MonkeyPatch, patience: float
) -> None:
	@in_virtual_time
	async def test() -> None:
		it = Setting(monkeypatch, patience, connections=1)
		it.http.seconds = 60.0
		first = it.call()
		await turns()
		loop = asyncio.get_running_loop()
		began = loop.time()
		waiting: list[asyncio.Future[Any]] = [it.call(max_failures=1)]
		waiting.append(asyncio.ensure_future(it.client.request(ONE, "/handler", {})))
		for answer in waiting:
			with pytest.raises(WebUnavailable, match="became free") as raised:
				await answer
			assert not isinstance(raised.value, WebFailed), "the web process was not asked"
		assert loop.time() - began == pytest.approx(patience)
		assert (await first).status == 200
		assert it.client.requests == 1
		assert (await it.call()).status == 200, "the connection is free again"

	test()


@in_virtual_time
async def test_who_gives_up_waiting_for_a_connection_takes_none() -> None:
	with pytest.MonkeyPatch.context() as monkeypatch:
		it = Setting(monkeypatch, connections=1)
		it.http.seconds = 60.0
		first, second, third = it.call(), it.call(), it.call()
		await turns()
		second.cancel()
		assert [response.status for response in await asyncio.gather(first, third)] == [200, 200]
		assert it.client.requests == 2


@in_virtual_time
async def test_closing_ends_calls_that_wait() -> None:
	with pytest.MonkeyPatch.context() as monkeypatch:
		it = Setting(monkeypatch)
		it.answer(lambda site, target: ConnectionRefusedError("refused"))
		call = it.call()
		await asyncio.sleep(1)
		await it.client.close()
		with pytest.raises(WebUnavailable, match="stopping"):
			await call


@in_virtual_time
async def test_whether_it_answers_at_all() -> None:
	with pytest.MonkeyPatch.context() as monkeypatch:
		it = Setting(monkeypatch)
		for answer, answers in ((status(200), True), (status(404), True), (status(503), False)):
			it.answer(lambda site, target, answer=answer: answer)  # type: ignore[misc]
			assert await it.client.ping("") is answers
		it.answer(lambda site, target: ConnectionRefusedError("refused"))
		assert not await it.client.ping(ONE)
		assert it.client.requests == 0
