"""Authentication: which credential counts, and what the answers of the web process mean."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from frappe_realtime.contract.http import ALLOWED_ADDRESSES, ONLINE_HOOKS
from frappe_realtime.errors import WebUnavailable
from realtime.access.authentication import Authenticator, Session, cookie, credential_of
from realtime.access.failed_logins import BURST_SECONDS, FailedLoginLimit, KnownCredentials, LoginAttempt
from realtime.socketio.errors import ConnectPostponed, ConnectRefused
from realtime.web.frappe_client import Credential, FrappeResponse
from tests.unit.access.fakes import (
	SITE,
	Call,
	FakeApps,
	FakeHost,
	FakeSessionCache,
	FakeWeb,
	FakeWorker,
	config,
	ok,
)
from tests.unit.virtual_time import in_virtual_time, turns

ANN = Credential(sid="ann")
INFO = {"user": "ann@example.com", "user_type": "System User", "installed_apps": ["frappe"]}


def authenticator(
	web: FakeWeb,
	apps: FakeApps | None = None,
	workers: FakeWorker | None = None,
	known: KnownCredentials | None = None,
) -> Authenticator:
	cache: Any = FakeSessionCache()
	limit = FailedLoginLimit(config(), known or KnownCredentials(10), cache, lambda key, source: None)
	fakes: Any = (web, apps or FakeApps(), limit, workers)
	return Authenticator(config(), *fakes)


# -- credentials


@pytest.mark.parametrize(
	("headers", "auth", "credential"),
	[
		({"authorization": " Basic x "}, {"token": "a:b"}, Credential(authorization="Basic x")),
		({"authorization": "token k:s", "cookie": "sid=1"}, {}, Credential(authorization="token k:s")),
		({"cookie": "sid=1"}, {"token": " k:s "}, Credential(authorization="token k:s")),
		({}, {"token": "abc"}, Credential(authorization="Bearer abc")),
		({}, {"token": "Bearer abc"}, Credential(authorization="Bearer abc")),
		({"cookie": "a=b; sid=1; c=d"}, {}, Credential(sid="1")),
		({"cookie": "sid=1"}, {"token": "  "}, Credential(sid="1")),
		({"cookie": "sid=1"}, {"token": 7}, Credential(sid="1")),
		({"authorization": "  ", "cookie": "sid=1"}, {}, Credential(sid="1")),
	],
)
def test_the_credential(headers: dict[str, str], auth: dict[str, Any], credential: Credential) -> None:
	assert credential_of(headers, auth) == credential


@pytest.mark.parametrize("headers", [{}, {"cookie": "sid="}, {"cookie": "asid=1; sidx=2"}])
def test_no_credential_is_refused(headers: dict[str, str]) -> None:
	with pytest.raises(ConnectRefused, match="No authentication method used"):
		credential_of(headers, {})


@pytest.mark.parametrize("token", ["a\r\nX: y", "ü", "a\x00b"])
def test_a_token_that_no_header_can_carry_is_refused(token: str) -> None:
	with pytest.raises(ConnectRefused, match=r"auth\.token"):
		credential_of({"cookie": "sid=1"}, {"token": token})


def test_cookies() -> None:
	assert cookie('a=1; sid="x y"; sid=z', "sid") == "x y"
	assert cookie("sid=a=b", "sid") == "a=b"
	assert cookie("", "sid") == ""


def test_a_session_id_is_hashed_as_frappe_stores_it() -> None:
	assert Credential(sid="a%2Fb").sid_hash == Credential(sid="a/b").sid_hash
	assert len(Credential(sid="a").sid_hash) == 64
	assert Credential(authorization="token a:b").sid_hash == ""
	assert Credential(sid="a").headers == {"Cookie": "sid=a"}
	assert Credential(authorization="token a:b").headers == {"Authorization": "token a:b"}


# -- answers of the web process


@in_virtual_time
async def test_a_session() -> None:
	web = FakeWeb(lambda call: ok({**INFO, "full_name": "Ann"}))
	found = await authenticator(web).authenticate(SITE, ANN)
	assert found == Session(SITE, ANN, "ann@example.com", "System User", "Ann", ("frappe",), True)
	[call] = web.calls
	assert (call.site, call.path, call.credential) == (SITE, "/api/method/frappe.realtime.get_user_info", ANN)


@in_virtual_time
async def test_a_session_with_the_least_that_frappe_returns() -> None:
	apps = FakeApps()
	found = await authenticator(FakeWeb(lambda call: ok({"user": "b"})), apps).authenticate(SITE, ANN)
	assert found == Session(SITE, ANN, "b", "Website User", "b", None, False)
	assert apps.asked == [(SITE, "b")]
	assert not found.has_app


@in_virtual_time
async def test_the_apps_of_v15_are_asked_for_separately() -> None:
	web = FakeWeb(lambda call: ok({"user": "b", "user_type": "System User"}))
	found = await authenticator(web, FakeApps(("frappe", "frappe_realtime"))).authenticate(SITE, ANN)
	assert found.installed_apps == ("frappe", "frappe_realtime")
	assert found.has_app
	assert not found.user_info_has_apps


@in_virtual_time
async def test_the_apps_that_frappe_returns_are_not_asked_for() -> None:
	apps = FakeApps()
	web = FakeWeb(lambda call: ok({**INFO, "installed_apps": []}))
	found = await authenticator(web, apps).authenticate(SITE, ANN)
	assert (found.installed_apps, found.user_info_has_apps, apps.asked) == ((), True, [])


@pytest.mark.parametrize(
	("response", "message"),
	[
		(FrappeResponse(404, None), "Invalid namespace"),
		(
			FrappeResponse(403, {"exc_type": "PermissionError"}),
			"Unauthorized: the web process answered HTTP 403",
		),
		(FrappeResponse(200, None), "Unauthorized: the web process answered HTTP 200"),
		(FrappeResponse(200, {"message": {"user": None}}), "Unauthorized"),
		(FrappeResponse(200, {"message": {"user": 7}}), "Unauthorized"),
		(FrappeResponse(200, {"message": "text"}), "Unauthorized"),
		(FrappeResponse(500, {"message": INFO}), "HTTP 500"),
	],
)
def test_what_is_refused(response: FrappeResponse, message: str) -> None:
	@in_virtual_time
	async def test() -> None:
		with pytest.raises(ConnectRefused, match=message):
			await authenticator(FakeWeb(lambda call: response)).authenticate(SITE, ANN)

	test()


@in_virtual_time
async def test_an_empty_answer_renews_the_shared_secret_once() -> None:
	web = FakeWeb(lambda call: ok(INFO if call.renewed else {}))
	found = await authenticator(web).authenticate(SITE, ANN)
	assert found.user == "ann@example.com"
	assert len(web.calls) == 2


@in_virtual_time
async def test_a_shared_secret_that_is_not_accepted() -> None:
	web = FakeWeb(lambda call: ok({}))
	with pytest.raises(ConnectRefused, match="does not accept the shared secret") as refused:
		await authenticator(web).authenticate(SITE, ANN)
	assert "redis_queue" in refused.value.reason
	assert len(web.calls) == 2


@in_virtual_time
async def test_no_answer_postpones() -> None:
	def unavailable(call: Call) -> FrappeResponse:
		raise WebUnavailable("no answer")

	with pytest.raises(ConnectPostponed):
		await authenticator(FakeWeb(unavailable)).authenticate(SITE, ANN)


# -- the cache


@in_virtual_time
async def test_a_session_is_cached_for_its_site_and_credential() -> None:
	web = FakeWeb(lambda call: ok(INFO))
	subject = authenticator(web)
	assert subject.cached(SITE, ANN) is None
	found = await subject.authenticate(SITE, ANN)
	assert await subject.authenticate(SITE, ANN) is found
	assert subject.cached(SITE, ANN) is found
	assert subject.cached("two.test", ANN) is None
	assert subject.cached(SITE, Credential(sid="bob")) is None
	await asyncio.sleep(config().realtime_cache_seconds + 0.1)
	assert subject.cached(SITE, ANN) is None


@in_virtual_time
async def test_an_answer_from_before_a_change_counts_for_a_guest_only() -> None:
	for user, calls in (("Guest", 1), ("ann@example.com", 2)):
		web = FakeWeb()
		subject = authenticator(web)
		task = asyncio.ensure_future(subject.authenticate(SITE, ANN))
		await turns()
		subject.sessions.invalidate(lambda key, value: True)
		web.pending[0].set_result(ok({**INFO, "user": user}))
		await turns()
		assert len(web.calls) == calls
		web.pending[-1].done() or web.pending[-1].set_result(ok({**INFO, "user": user}))
		assert (await task).user == user


@in_virtual_time
async def test_sessions_without_apps_are_dropped_when_the_apps_are_known() -> None:
	apps = FakeApps()
	users = {"1": {"user": "a"}, "2": INFO}
	subject = authenticator(FakeWeb(lambda call: ok(users[call.credential.sid])), apps)
	for site in (SITE, "two.test"):
		for sid in users:
			await subject.authenticate(site, Credential(sid=sid))
	apps.learned.send(SITE)
	kept = [
		(site, sid)
		for site in (SITE, "two.test")
		for sid in users
		if subject.cached(site, Credential(sid=sid)) is not None
	]
	assert kept == [(SITE, "2"), ("two.test", "1"), ("two.test", "2")]


# -- several workers


class Pair:
	"""Two workers, of which the first one asks for both.

	Args:
		answer: The answers of the web process.
		apps: What each of them finds out about the apps of a site with v15.
	"""

	def __init__(self, answer: Callable[[Call], FrappeResponse], *apps: FakeApps) -> None:
		host = FakeHost()
		self.webs = [FakeWeb(answer), FakeWeb(answer)]
		self.known = [KnownCredentials(10), KnownCredentials(10)]
		self.both = [
			authenticator(web, one, host.worker(), known)
			for web, one, known in zip(self.webs, apps or (None, None), self.known, strict=True)
		]

	@property
	def calls(self) -> list[int]:
		return [len(web.calls) for web in self.webs]


RESTRICTED = {**INFO, "full_name": "Ann", ALLOWED_ADDRESSES: ["192.0.2."], ONLINE_HOOKS: True}


@pytest.mark.parametrize("info", [INFO, RESTRICTED, {**INFO, "user": "Guest", "installed_apps": []}])
@pytest.mark.parametrize("credential", [ANN, Credential(authorization="token k:s")])
def test_a_session_from_another_worker_is_the_same(info: dict[str, Any], credential: Credential) -> None:
	@in_virtual_time
	async def test() -> None:
		pair = Pair(lambda call: ok(info))
		second, first = [
			await pair.both[number].authenticate(SITE, credential, LoginAttempt("192.0.2.1"))
			for number in (1, 0)
		]
		assert second == first
		assert pair.calls == [1, 0]
		assert [credential in known for known in pair.known] == [info["user"] != "Guest"] * 2

	test()


@in_virtual_time
async def test_a_refusal_from_another_worker_is_the_same() -> None:
	pair = Pair(lambda call: FrappeResponse(403, None))
	for known in pair.known:
		known.add(ANN)
	caught = []
	for one in pair.both[::-1]:
		with pytest.raises(ConnectRefused) as refused:
			await one.authenticate(SITE, ANN)
		caught.append(refused.value)
	assert [error.message for error in caught] == ["Unauthorized: the web process answered HTTP 403"] * 2
	assert caught[0].data == caught[1].data
	assert caught[0].counted_as == caught[1].counted_as == "Unauthorized"
	assert [ANN in known for known in pair.known] == [False, False]
	assert pair.calls == [2, 0]


@in_virtual_time
async def test_no_answer_at_another_worker_postpones() -> None:
	def unavailable(call: Call) -> FrappeResponse:
		raise WebUnavailable("no answer")

	pair = Pair(unavailable)
	with pytest.raises(ConnectPostponed):
		await pair.both[1].authenticate(SITE, ANN)
	assert pair.calls == [1, 0]


@in_virtual_time
async def test_the_address_of_the_client_pays_at_the_worker_that_asks() -> None:
	burst = round(config().realtime_failed_logins_per_second * BURST_SECONDS)
	pair = Pair(lambda call: FrappeResponse(403, None))

	async def fail(address: str) -> float:
		"""Return the seconds that a failed login has waited for a token of its address."""
		started = asyncio.get_running_loop().time()
		with pytest.raises(ConnectRefused):
			await pair.both[1].authenticate(SITE, ANN, LoginAttempt(address))
		return asyncio.get_running_loop().time() - started

	assert {await fail("192.0.2.1") for _ in range(burst)} == {0.0}
	assert await fail("192.0.2.1") > 0.0
	assert await fail("192.0.2.2") == 0.0
	assert pair.calls == [burst + 2, 0]


@in_virtual_time
async def test_each_worker_finds_out_the_apps_of_v15() -> None:
	"""Its handlers run for the apps that it knows itself."""
	pair = Pair(lambda call: ok({"user": "b"}), FakeApps(None), FakeApps(("frappe",)))
	second, first = [await pair.both[number].authenticate(SITE, ANN) for number in (1, 0)]
	assert (first.installed_apps, second.installed_apps) == (None, ("frappe",))
	assert pair.calls == [1, 0]
