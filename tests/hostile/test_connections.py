"""Connections that never log in: they end after a while, and cannot take the place of others."""

from __future__ import annotations

from tests.wire.bench import Bench
from tests.wire.conditions import until
from tests.wire.conftest import Connect, MakeBench
from tests.wire.raw import WebSocketSession

TIMEOUT = 5
"""Seconds: enough for a test to log in what it has connected."""


def test_the_namespace_without_users_is_no_login(make_bench: MakeBench) -> None:
	bench = make_bench(common={"realtime_connect_timeout": TIMEOUT})
	member = WebSocketSession(bench, bench.headers()).join("/").join()
	# It connects later, so that the timeout of the member is over when this one has ended.
	assert WebSocketSession(bench, bench.headers()).join("/").ends()
	assert member.fence()
	# After the namespace of the site has been left, `/` does not keep the connection.
	member.send("41/app.test,")
	assert member.ends()


def test_the_oldest_unknown_connection_gives_way(make_bench: MakeBench, connect: Connect) -> None:
	bench = make_bench(common={"realtime_unknown_connections": 3})
	user = connect(bench, bench.user())
	silent = [WebSocketSession(bench, bench.headers()) for _ in range(2)]
	silent.append(WebSocketSession(bench, bench.headers()).join("/"))
	newcomers = [connect(bench, bench.user()) for _ in range(2)]
	assert silent[0].ends()
	for one in (user, *newcomers):
		one.fence()
	assert not is_closed(silent[1])
	flood = [WebSocketSession(bench, bench.headers()) for _ in range(20)]
	newcomer = connect(bench, bench.user())
	assert newcomer.connected
	assert reached(bench) >= 18
	for raw in (*silent, *flood):
		raw.close()


def test_a_refusal_after_the_timeout_does_not_keep_the_connection(make_bench: MakeBench) -> None:
	bench = make_bench(common={"realtime_connect_timeout": TIMEOUT, "realtime_web_timeout": 60})
	bench.web.fail("get_user_info", delay=2.5 * TIMEOUT)
	raw = WebSocketSession(bench, bench.headers(authorization="token wrong:wrong"))
	raw.send("40/app.test,")
	assert str(raw.receive()).startswith("44/app.test,")
	assert raw.ends()


def is_closed(raw: WebSocketSession) -> bool:
	"""Return True if the connection has ended; joins `/`, so that one that is open answers."""
	try:
		raw.join("/")
	except Exception:
		return True
	return False


def reached(bench: Bench) -> float:
	"""Return how often the bound of unknown connections was reached."""
	name = 'frappe_realtime_limit_reached_total{limit="realtime_unknown_connections"} '

	def lines() -> list[str]:
		return [line for line in bench.sidecar.get("/metrics")[1].splitlines() if line.startswith(name)]

	until(lambda: bool(lines()), "the metric")
	return float(lines()[0].removeprefix(name))
