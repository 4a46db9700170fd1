"""Periodic checks of sessions: how often, for whom, and how they are spread."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from realtime.access.authentication import Session
from realtime.access.revalidation import APP_INTERVAL_FACTOR
from tests.unit.access.fakes import SITE, session
from tests.unit.access.revalidations import ANN, Setting
from tests.unit.virtual_time import in_virtual_time


@pytest.fixture
def no_spread(monkeypatch: pytest.MonkeyPatch) -> None:
	def first(low: float, high: float) -> float:
		return high

	monkeypatch.setattr("random.uniform", first)


def connect(it: Setting, *users: Session) -> list[Any]:
	sockets = [it.socket(user) for user in users]
	for socket in sockets:
		it.revalidator.on_connect(socket)
	return sockets


@pytest.mark.usefixtures("no_spread")
@pytest.mark.parametrize(("apps", "factor"), [(("frappe",), 1), (("frappe_realtime",), APP_INTERVAL_FACTOR)])
def test_each_session_is_checked_periodically(apps: tuple[str, ...], factor: int) -> None:
	@in_virtual_time
	async def test() -> None:
		it = Setting(seconds=30)
		user = session("ann", apps=apps)
		it.authenticator.answers["ann"] = user
		connect(it, user, user)
		await asyncio.sleep(29 * factor)
		assert it.authenticator.asked == []
		await asyncio.sleep(3 * factor)
		assert it.authenticator.asked == ["ann"]
		await asyncio.sleep(31 * factor)
		assert it.authenticator.asked == ["ann"] * 2

	test()


@pytest.mark.usefixtures("no_spread")
@in_virtual_time
async def test_the_checks_end_with_the_last_socket_and_begin_again() -> None:
	it = Setting(seconds=30)
	[socket] = connect(it, session("ann", apps=()))
	it.namespaces[f"/{SITE}"].sockets.clear()
	socket.leave("user:ann")
	await asyncio.sleep(100)
	assert it.authenticator.asked == []
	connect(it, session("ann", apps=()))
	await asyncio.sleep(32)
	assert it.authenticator.asked == ["ann"]


@pytest.mark.usefixtures("no_spread")
@in_virtual_time
async def test_a_credential_that_has_become_another_user_s_is_checked_still() -> None:
	"""As that of a user who was renamed."""
	it = Setting(seconds=30)
	[socket] = connect(it, session("ann", sid="token", apps=()))
	it.namespaces[f"/{SITE}"].sockets.clear()
	socket.leave("user:ann")
	renamed = session("anna", sid="token", apps=())
	it.authenticator.answers["token"] = renamed
	connect(it, renamed)
	await asyncio.sleep(32)
	assert it.authenticator.asked == ["token"]
	await asyncio.sleep(31)
	assert it.authenticator.asked == ["token"] * 2


@pytest.mark.usefixtures("no_spread")
@in_virtual_time
async def test_after_the_app_was_uninstalled_a_session_is_checked_as_often_as_without_it() -> None:
	it = Setting(seconds=30)
	[socket] = connect(it, ANN)
	it.authenticator.answers["ann"] = session("ann", apps=("frappe",))
	it.revalidator.check_sessions([socket.session])
	await asyncio.sleep(1)
	assert it.authenticator.asked == ["ann"]
	for count in (2, 3):
		await asyncio.sleep(31)
		assert it.authenticator.asked == ["ann"] * count
	await asyncio.sleep(30 * APP_INTERVAL_FACTOR)
	assert len(it.authenticator.asked) <= 3 + APP_INTERVAL_FACTOR, (
		"the check for which it was scheduled before is left out"
	)


@pytest.mark.usefixtures("no_spread")
@in_virtual_time
async def test_all_guests_of_a_site_share_one_check() -> None:
	it = Setting(seconds=30)
	guests = [session("Guest", sid=sid, apps=()) for sid in ("Guest", "dead 1", "dead 2")]
	for socket in connect(it, *guests):
		socket.join("doc:ToDo/1")
	await asyncio.sleep(32)
	assert len(it.permissions.asked) == 1


@in_virtual_time
async def test_no_periodic_checks_if_they_are_switched_off() -> None:
	it = Setting(seconds=0)
	connect(it, ANN)
	await asyncio.sleep(100_000)
	assert it.authenticator.asked == []


def test_the_first_checks_are_spread(monkeypatch: pytest.MonkeyPatch) -> None:
	bounds: list[tuple[float, float]] = []

	def uniform(low: float, high: float) -> float:
		bounds.append((low, high))
		return low

	monkeypatch.setattr("random.uniform", uniform)

	@in_virtual_time
	async def test() -> None:
		it = Setting(seconds=30)
		connect(it, session("ann", apps=()))
		await asyncio.sleep(14)
		assert it.authenticator.asked == []
		await asyncio.sleep(3)
		assert it.authenticator.asked == ["ann"]
		assert bounds == [(0.5, 1)]

	test()
