"""The users who are online."""

from __future__ import annotations

import asyncio

from frappe_realtime.contract.users import GUEST, WEBSITE_USER
from realtime.presence.members import Place
from tests.unit.presence.joining import code, interval, join, online
from tests.unit.presence.processes import SITE, Process, connect
from tests.unit.virtual_time import in_virtual_time


@in_virtual_time
async def test_a_user_is_online_with_the_first_socket_and_until_the_last_one_is_gone() -> None:
	it = Process()
	one, two = it.socket(), it.socket()
	it.socket(GUEST, WEBSITE_USER)
	assert online(it) == [["ann@example.com"]]
	it.disconnect(one)
	it.disconnect(two, "client namespace disconnect")
	assert online(it) == [[]]


@in_virtual_time
async def test_a_user_whose_connection_is_lost_is_online_for_the_grace() -> None:
	it = Process()
	it.disconnect(it.socket())
	await asyncio.sleep(4)
	assert online(it) == [["ann@example.com"]]
	it.socket()
	await asyncio.sleep(4)
	assert online(it) == [["ann@example.com"]]
	it.disconnect(next(iter(it.namespaces[SITE].sockets.values())))
	await asyncio.sleep(6)
	assert online(it) == [[]]
	assert it.table.get(Place(SITE, "online"), "ann@example.com") is None


@in_virtual_time
async def test_each_user_has_a_grace_of_its_own() -> None:
	it = Process()
	ann, bob, eve = it.socket(), it.socket("bob@example.com"), it.socket("eve@example.com")
	it.disconnect(ann)
	await asyncio.sleep(2)
	it.disconnect(bob)
	await asyncio.sleep(1)
	it.disconnect(eve)
	it.socket()
	await asyncio.sleep(3)
	assert online(it) == [["ann@example.com", "bob@example.com", "eve@example.com"]]
	await asyncio.sleep(1.5)
	assert online(it) == [["ann@example.com", "eve@example.com"]]
	await asyncio.sleep(1)
	assert online(it) == [["ann@example.com"]]


@in_virtual_time
async def test_users_are_online_on_all_processes() -> None:
	one, two = Process(), Process()
	connect(one, two)
	here, there = one.socket(), two.socket()
	two.socket("bob@example.com")
	await interval()
	assert online(one, two) == [["ann@example.com", "bob@example.com"]] * 2
	one.disconnect(here, "client namespace disconnect")
	await interval()
	assert online(one, two) == [["ann@example.com", "bob@example.com"]] * 2, "ann has a socket there"
	two.disconnect(there, "client namespace disconnect")
	await interval()
	assert online(one, two) == [["bob@example.com"]] * 2
	assert (one.table.places(), one.table.local_count) == (0, 0), "it is not counted as a place"


@in_virtual_time
async def test_no_client_sees_who_is_online() -> None:
	it = Process()
	assert code(join(it, it.socket(), "online")) == "bad_request"


@in_virtual_time
async def test_the_newest_session_of_a_site_says_whether_its_apps_are_told() -> None:
	it = Process()
	session = it.socket().session
	assert it.online.hooks == {SITE[1:]: False}
	it.online.on_session(session._replace(online_hooks=True))
	assert it.online.hooks == {SITE[1:]: True}
	it.socket("bob@example.com")
	assert it.online.hooks == {SITE[1:]: False}


@in_virtual_time
async def test_sockets_of_others_in_the_room_of_a_user_do_not_count() -> None:
	"""A handler may let them join it."""
	it = Process()
	ann, bob = it.socket(), it.socket("bob@example.com")
	bob.join("user:ann@example.com")
	it.disconnect(ann, "client namespace disconnect")
	assert online(it) == [["bob@example.com"]]
	it.socket()
	assert online(it) == [["ann@example.com", "bob@example.com"]]
