"""Clients that invent credentials: the web process is asked at a rate, and users of the same address still get in."""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from concurrent.futures import Future

import pytest

from tests.wire.bench import APP_SITE, STOCK_SITE, Bench
from tests.wire.conditions import PATIENCE, free_port, until
from tests.wire.conftest import LONG, Connect, MakeBench
from tests.wire.raw import WebSocketSession
from tests.wire.test_access import ASKED_WHO
from tests.wire.test_limits import reached

KEY = "realtime_failed_logins_per_second"
UNKNOWN_KEY = "realtime_unknown_failed_logins_per_second"
BURST = 30
LEAST_BURST = 3
"""Questions at once with the lowest rate, 0.1; each further one takes ten seconds."""
ADDRESSES = {KEY: {"X-Forwarded-For": "198.51.100.7"}, UNKNOWN_KEY: {}}


def questions(bench: Bench) -> int:
	"""How often the web process was asked about an invented credential."""
	return sum(
		ASKED_WHO in request.path
		and (
			"invented" in request.headers.get("Cookie", "")
			or "invented" in request.headers.get("Authorization", "")
		)
		for request in list(bench.web.requests)
	)


def cache_session(bench: Bench, headers: dict[str, str], site: str = APP_SITE) -> None:
	"""Put the session of a client into redis_cache, as Frappe does when a user logs in."""
	sid = headers["Cookie"].partition("sid=")[2].partition(";")[0]
	bench.valkey.client.hset(f"_{site}|session", sid, "pickled")


class Attack:
	"""A client that connects with one invented session id after another, and does not wait long for the answer.

	Args:
		bench: The bench.
		address: The headers that name its address.
	"""

	def __init__(self, bench: Bench, address: dict[str, str]) -> None:
		self._bench = bench
		self._address = address
		self._stopped = threading.Event()
		self._thread = threading.Thread(target=self._run)
		self.connections = 0

	def _run(self) -> None:
		for number in itertools.count():
			if self._stopped.is_set():
				return
			headers = {**self._bench.headers(), **self._address, "Cookie": f"sid=invented-{number}"}
			with contextlib.suppress(Exception):
				raw = WebSocketSession(self._bench, headers)
				raw.send(f"40/{APP_SITE},")
				self.connections += 1
				self._stopped.wait(0.02)
				raw.close()

	def __enter__(self) -> Attack:
		self._thread.start()
		return self

	def __exit__(self, *error: object) -> None:
		self._stopped.set()
		self._thread.join()


@pytest.mark.parametrize("key", [KEY, UNKNOWN_KEY])
def test_invented_sessions_are_asked_about_at_the_rate(
	make_bench: MakeBench, connect: Connect, key: str
) -> None:
	bench = make_bench(common={key: 1})
	began = time.monotonic()
	known, newcomer, address = bench.user(), bench.user(), ADDRESSES[key]
	with Attack(bench, address) as attack:
		# Its session was valid before, so that it does not wait behind the attacker's.
		headers = {**bench.headers(known), **address}
		login = WebSocketSession(bench, headers).join()
		# One that has left before its turn is not asked about.
		until(
			lambda: attack.connections >= 2 * BURST and questions(bench) >= BURST - 1, "the questions", LONG
		)
		asked, seconds = questions(bench), time.monotonic() - began
		login.close()
		assert WebSocketSession(bench, headers).join().fence()
		other = {KEY: {"X-Forwarded-For": "198.51.100.8"}, UNKNOWN_KEY: {"X-Forwarded-For": "198.51.100.7"}}[
			key
		]
		assert connect(bench, newcomer, headers=other).connected
	assert asked <= BURST + seconds + 1


@pytest.mark.parametrize("key", [KEY, UNKNOWN_KEY])
def test_a_new_login_that_frappe_has_cached_does_not_wait(make_bench: MakeBench, key: str) -> None:
	bench = make_bench(common={key: 0.1, "realtime_web_connections": 1})
	address = ADDRESSES[key]
	with Attack(bench, address) as attack:
		# Not more of the attack: what waits below must give up before the rate allows the next question.
		until(lambda: questions(bench) >= LEAST_BURST, "the burst is used up", LONG)
		headers = {**bench.headers(bench.user()), **address}
		cache_session(bench, headers)
		assert WebSocketSession(bench, headers).join().fence()
		# A session of another site is none of this one.
		other = {**bench.headers(bench.user()), **address}
		cache_session(bench, other, STOCK_SITE)
		waits = WebSocketSession(bench, other)
		waits.send(f"40/{APP_SITE},")
		assert waits.ends()
		until(lambda: attack.connections >= BURST, "the attack", LONG)
	assert 1 <= questions(bench) < BURST
	assert "(redis_cache)" not in bench.sidecar.log


def test_without_redis_cache_new_logins_wait(make_bench: MakeBench) -> None:
	bench = make_bench(
		common={KEY: 0.1, "realtime_web_connections": 1, "redis_cache": f"redis://127.0.0.1:{free_port()}"}
	)
	headers = {**bench.headers(), **ADDRESSES[KEY]}
	for number in range(3):
		WebSocketSession(bench, {**headers, "Cookie": f"sid=invented-{number}"}).join()
	waits = WebSocketSession(bench, {**bench.headers(bench.user()), **ADDRESSES[KEY]})
	waits.send(f"40/{APP_SITE},")
	assert waits.ends()
	assert f"Redis at {bench.config['redis_cache']} (redis_cache)" in bench.sidecar.log


def test_a_new_user_gets_in_during_the_attack(make_bench: MakeBench) -> None:
	bench = make_bench(common={KEY: 2, "realtime_web_connections": 4})
	address = ADDRESSES[KEY]
	with Attack(bench, address) as attack:
		until(lambda: attack.connections >= 3 * BURST, "the attack", LONG)
		headers = {**bench.headers(bench.user()), **address}
		end = time.monotonic() + LONG
		while True:
			assert time.monotonic() < end, "the user was kept out"
			with contextlib.suppress(Exception):
				WebSocketSession(bench, headers).join().close()
				break


def test_a_question_that_waits_too_long_ends_the_connection(make_bench: MakeBench) -> None:
	"""The client connects again by itself, other than after CONNECT_ERROR."""
	bench = make_bench(common={KEY: 0.1, "realtime_web_connections": 1})
	headers = {**bench.headers(), **ADDRESSES[KEY]}
	for number in range(3):
		WebSocketSession(bench, {**headers, "Cookie": f"sid=invented-{number}"}).join()
	raw = WebSocketSession(bench, {**headers, "Cookie": "sid=invented-more"})
	raw.send(f"40/{APP_SITE},")
	assert raw.ends()
	assert reached(bench, KEY) == 1
	assert questions(bench) == 3
	assert f"the limit {KEY} (0.1) was reached from 198.51.100.7" in bench.sidecar.log


def test_tokens_that_one_connection_tries(make_bench: MakeBench) -> None:
	bench = make_bench(common={KEY: 0.1, "realtime_web_connections": 1})
	headers = {key: value for key, value in bench.headers().items() if key != "Cookie"}
	raw = WebSocketSession(bench, {**headers, **ADDRESSES[KEY]})
	for number in range(3):
		raw.send(f'40/{APP_SITE},{{"token":"invented:{number}"}}')
		assert str(raw.receive()).startswith(f"44/{APP_SITE},")
	raw.send(f'40/{APP_SITE},{{"token":"invented:3"}}')
	assert raw.ends()
	assert questions(bench) == 3


@pytest.mark.parametrize("key", [KEY, UNKNOWN_KEY])
def test_a_storm_of_users_is_not_limited(make_bench: MakeBench, key: str) -> None:
	"""Many more than the burst, all of one address, none of whom was there before."""
	bench = make_bench(common={key: 0.1, "realtime_web_connections": 4})
	address: dict[str, str | None] = {**ADDRESSES[key]}
	clients = [bench.client(bench.user(), headers=address) for _ in range(60)]
	waiting: list[Future[None]] = [client.start_connecting() for client in clients]
	for one in waiting:
		one.result(PATIENCE)
	assert reached(bench, key) == 0
	for client in clients:
		client.close()
