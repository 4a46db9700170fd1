"""Who comes and goes is reported once, by one sidecar, whatever fails."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest

from frappe_realtime.errors import WebUnavailable
from realtime.bus.store import StoreUnavailable
from realtime.presence.online_reporter import HOLD_SECONDS, OnlineReporter
from realtime.web.frappe_client import FrappeResponse
from tests.unit.virtual_time import in_virtual_time

SITE = "one.test"


class Store:
	"""Sets and one key of a Redis, which is unavailable if `away`."""

	def __init__(self) -> None:
		self.sets: dict[str, set[str]] = {}
		self.holder = ""
		self.held_until = 0.0
		self.away = False
		self.fails_at = ""
		"""The key of a set that cannot be changed."""

	def check(self) -> None:
		if self.away:
			raise StoreUnavailable

	async def members(self, key: str) -> set[str]:
		self.check()
		return set(self.sets.get(key, ()))

	async def change_members(self, key: str, add: list[str], remove: list[str] = []) -> None:  # noqa: B006
		self.check()
		if key == self.fails_at:
			raise StoreUnavailable
		self.sets[key] = (self.sets.get(key, set()) | set(add)) - set(remove)

	async def hold(self, key: str, value: str, seconds: int) -> bool:
		self.check()
		now = asyncio.get_running_loop().time()
		if now >= self.held_until:
			self.holder = ""
		self.holder = self.holder or value
		if self.holder != value:
			return False
		self.held_until = now + seconds
		return True


class Web:
	"""Notes the reports; fails if `away`, and refuses an old secret once if `secret_changed`."""

	def __init__(self) -> None:
		self.reports: list[tuple[list[str], list[str]]] = []
		self.sites: list[str] = []
		"""The site of each report."""
		self.away = self.secret_changed = False
		self.status = 200
		self.meanwhile: Callable[[], Awaitable[None]] | None = None
		"""What happens before it answers."""

	def is_unavailable(self, site: str) -> bool:
		return False

	async def call(self, site: str, path: str, credential: Any, **more: Any) -> Any:
		assert path == "/api/method/frappe.realtime.users_changed"
		if self.away:
			raise WebUnavailable("away")
		if self.meanwhile is not None:
			await self.meanwhile()
		response = FrappeResponse(self.status, None)
		if self.secret_changed and not more["secret_rejected"](FrappeResponse(403, None)):
			response = FrappeResponse(403, None)
		if response.status == 200:
			self.reports.append((more["json"]["online"], more["json"]["offline"]))
			self.sites.append(site)
		return response


class Online:
	"""The users of each site."""

	def __init__(self) -> None:
		self.hooks = {SITE: True, "other.test": False}
		self.present: set[str] = set()

	def users(self, namespace: str) -> set[str]:
		assert namespace != "/other.test"
		return self.present


class Setting:
	def __init__(self) -> None:
		self.store, self.web, self.online = Store(), Web(), Online()
		self.dropped: set[str] = set()
		self.ready = True
		self.first, self.second = self.make("first"), self.make("second")

	def make(self, id: str, clients: Online | None = None) -> OnlineReporter:
		store: Any = self.store
		web: Any = self.web
		online: Any = clients or self.online
		sites: Any = SimpleNamespace(exists=lambda site: site not in self.dropped)
		return OnlineReporter(id, store, web, online, sites, lambda: self.ready)

	async def report(self, *users: str) -> list[tuple[list[str], list[str]]]:
		"""Let both sidecars report while these users are online; return what they have reported."""
		self.online.present = set(users)
		before = len(self.web.reports)
		for one in (self.first, self.second):
			await one.report()
		return self.web.reports[before:]


@in_virtual_time
async def test_each_change_is_reported_once() -> None:
	it = Setting()
	assert await it.report() == []
	assert await it.report("ann", "bob") == [(["ann", "bob"], [])]
	assert await it.report("ann", "bob") == []
	assert await it.report("bob", "eve") == [(["eve"], ["ann"])]
	assert it.store.sets[f"frappe_realtime:{SITE}:online"] == {"bob", "eve"}


@in_virtual_time
async def test_another_sidecar_goes_on_where_the_first_has_ended() -> None:
	it = Setting()
	await it.report("ann", "bob")
	it.first, it.store.holder = it.make("third"), ""
	it.second, it.first = it.first, it.second
	assert await it.report("bob", "eve") == [(["eve"], ["ann"])]


@in_virtual_time
async def test_what_happens_while_no_sidecar_runs_is_reported_afterwards() -> None:
	it = Setting()
	await it.report("ann")
	it.first, it.store.holder = it.make("third"), ""
	it.online.hooks = {}
	assert await it.report() == [([], ["ann"])], "although nobody of the site has connected"


@in_virtual_time
async def test_a_sidecar_that_does_not_know_all_clients_yet_reports_nobody_as_gone() -> None:
	it = Setting()
	await it.report("ann")
	it.ready = False
	assert await it.report() == []
	it.ready = True
	assert await it.report("ann") == []


@in_virtual_time
async def test_the_web_process_does_not_take_a_report() -> None:
	it = Setting()
	it.web.away = True
	assert await it.report("ann") == []
	it.web.away, it.web.status = False, 500
	assert await it.report("ann") == []
	it.web.status, it.web.secret_changed = 200, True
	assert await it.report("ann") == [(["ann"], [])]


@in_virtual_time
async def test_a_sidecar_ends_before_it_has_kept_what_it_has_reported() -> None:
	"""What is true afterwards is reported, also about the user who has gone meanwhile, and then nothing twice."""
	it = Setting()
	await it.report("old")
	it.store.fails_at = f"frappe_realtime:{SITE}:online"
	it.online.present = {"ann", "bob"}
	with pytest.raises(StoreUnavailable):
		await it.first.report()
	assert it.web.reports[1:] == [(["ann", "bob"], ["old"])]
	it.first, it.store.holder, it.store.fails_at = it.make("third"), "", ""
	assert await it.report("ann") == [(["ann"], ["bob", "old"])]
	assert await it.report("ann") == []
	assert it.store.sets[f"frappe_realtime:{SITE}:online"] == {"ann"}
	assert it.store.sets[f"frappe_realtime:{SITE}:online_unconfirmed"] == set()


@in_virtual_time
async def test_a_report_whose_response_is_lost() -> None:
	it = Setting()
	it.web.away = True
	assert await it.report("ann") == []
	it.web.away = False
	assert await it.report() == [([], ["ann"])], "it may have been accepted"
	assert await it.report() == []


@in_virtual_time
async def test_redis_is_away_for_a_while() -> None:
	it = Setting()
	await it.report("ann")
	it.store.away = True
	reporter: Any = it.first
	reporter.start()
	it.online.present = set()
	await asyncio.sleep(3)
	assert len(it.web.reports) == 1
	it.store.away = False
	await asyncio.sleep(2)
	assert it.web.reports[1:] == [([], ["ann"])]
	reporter.stop()


@in_virtual_time
async def test_a_report_is_bounded() -> None:
	it = Setting()
	users = [f"user-{number:04}" for number in range(1200)]
	sizes = [len(online) for _ in range(4) for online, _ in await it.report(*users)]
	assert sizes == [500, 500, 200]


@in_virtual_time
async def test_a_site_without_hooks_is_not_bothered() -> None:
	it = Setting()
	it.online.hooks = {SITE: False}
	assert await it.report("ann") == []
	assert it.store.sets == {}


@in_virtual_time
async def test_all_clients_of_a_site_are_connected_to_a_sidecar_that_does_not_report() -> None:
	it = Setting()
	there = Online()
	it.second, there.hooks = it.make("second", there), {"two.test": True}
	assert await it.report() == [], "the first one reports from now on"
	there.hooks = {"two.test": True, "three.test": True}
	await it.report("ann")
	await it.report("ann")
	assert sorted(it.web.sites) == [SITE, "three.test", "two.test"]
	assert it.first.reported == 3


@in_virtual_time
async def test_redis_has_lost_everything() -> None:
	it = Setting()
	it.second = it.make("second", Online())
	await it.report("ann")
	it.store.sets.clear()
	it.first.on_subscribed()
	assert await it.report("ann", "bob") == [(["ann", "bob"], [])], "who was reported is lost too"
	assert it.store.sets[f"frappe_realtime:{SITE}:online"] == {"ann", "bob"}


@in_virtual_time
async def test_sites_that_are_written_while_redis_restarts_are_written_again() -> None:
	it = Setting()
	write = it.store.change_members

	async def lose(key: str, add: list[str], remove: list[str] = []) -> None:  # noqa: B006
		it.store.change_members = write  # type: ignore[method-assign]
		it.first.on_subscribed()

	it.store.change_members = lose  # type: ignore[method-assign]
	it.online.present = {"ann"}
	await it.first.report()
	await it.first.report()
	assert it.web.reports == [(["ann"], [])]


@in_virtual_time
async def test_an_app_is_removed_from_a_site_and_installed_again() -> None:
	it = Setting()
	await it.report("ann")
	it.store.sets.clear()
	assert await it.report("bob") == [], "the clients are connected still"
	it.online.hooks = {SITE: False}
	assert await it.report("bob") == []
	it.online.hooks = {SITE: True}
	assert await it.report("bob", "eve") == [(["bob", "eve"], [])]


@in_virtual_time
async def test_an_app_is_installed_again_before_a_client_connects() -> None:
	it = Setting()
	await it.report("ann")
	it.store.sets.clear()
	assert await it.report("ann", "bob") == []
	it.online.hooks[SITE] = True  # the session of bob
	assert await it.report("ann", "bob") == [(["ann", "bob"], [])]


@in_virtual_time
async def test_a_site_without_the_app_is_not_written_again_when_redis_returns() -> None:
	"""Although no client has connected since the app was removed."""
	it = Setting()
	await it.report("ann")
	it.store.sets.clear()
	await it.report("ann")
	for reporter in (it.first, it.second):
		reporter.on_subscribed()
	assert await it.report("ann") == []
	assert it.store.sets == {}


@in_virtual_time
async def test_a_site_that_was_dropped_is_not_reported_any_more() -> None:
	"""No hook runs when a site is dropped, and the web process knows it no more."""
	it = Setting()
	it.online.hooks["two.test"] = True
	await it.report("ann")
	it.web.sites.clear()
	it.dropped.add("two.test")
	await it.report()
	await it.report("ann")
	assert it.web.sites == [SITE, SITE]
	assert it.store.sets["frappe_realtime:online_sites"] == {SITE}


@in_virtual_time
async def test_a_web_process_that_is_slow_for_many_sites_gets_each_report_once() -> None:
	it = Setting()
	it.online.hooks = {f"{number}.test": True for number in range(8)}
	it.online.present = {"ann"}
	it.web.meanwhile = partial(asyncio.sleep, 9)
	for reporter in (it.first, it.second):
		reporter.start()
	await asyncio.sleep(100)
	assert it.web.sites == sorted(it.online.hooks)
	for reporter in (it.first, it.second):
		reporter.stop()


@in_virtual_time
async def test_a_report_is_confirmed_only_by_the_sidecar_that_reports_still() -> None:
	"""The other one reports it again: it cannot know whether it was accepted."""
	it = Setting()

	async def lose() -> None:
		it.web.meanwhile = None
		await asyncio.sleep(5)
		it.store.holder = "second"

	it.web.meanwhile = lose
	it.online.hooks["two.test"] = True
	it.online.present = {"ann"}
	await it.first.report()
	assert it.web.sites == [SITE], "it stops then"
	assert it.store.sets[f"frappe_realtime:{SITE}:online_unconfirmed"] == {"ann"}
	assert it.store.sets.get(f"frappe_realtime:{SITE}:online") is None
	assert it.first.reported == 0
	assert await it.report("ann") == [(["ann"], []), (["ann"], [])]
	assert it.web.sites == [SITE, SITE, "two.test"]
	assert it.store.sets[f"frappe_realtime:{SITE}:online_unconfirmed"] == set()


@in_virtual_time
async def test_a_process_that_did_not_run_for_a_while_confirms_nothing() -> None:
	"""It may hold the key again, although others have held it meanwhile."""
	it = Setting()
	loop: Any = asyncio.get_running_loop()

	async def stop() -> None:
		it.web.meanwhile = None
		loop._virtual.now += 3 * HOLD_SECONDS

	it.web.meanwhile = stop
	it.online.present = {"ann"}
	await it.first.report()
	assert it.store.sets.get(f"frappe_realtime:{SITE}:online") is None
	assert await it.report("ann") == [(["ann"], [])]
	assert it.store.sets[f"frappe_realtime:{SITE}:online"] == {"ann"}


@in_virtual_time
async def test_what_another_sidecar_has_reported_between_two_terms_is_known() -> None:
	it = Setting()
	it.online.present = {"ann"}
	await it.first.report()
	await asyncio.sleep(HOLD_SECONDS)
	it.online.present = set()
	await it.second.report()
	await asyncio.sleep(HOLD_SECONDS)
	it.online.present = {"ann"}
	await it.first.report()
	assert it.web.reports == [(["ann"], []), ([], ["ann"]), (["ann"], [])]
