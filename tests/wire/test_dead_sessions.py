"""A cookie that is no session any more: its browser is a Guest, and the web process is asked about it once."""

from __future__ import annotations

import pytest

from tests.wire.bench import Bench
from tests.wire.conditions import until
from tests.wire.conftest import Connect, MakeBench, StartConnecting
from tests.wire.test_access import ASKED_WHO, hears, log_out, tell

DEAD = 40
"""Browsers with such a cookie; more than the workers that revalidate sockets."""


@pytest.fixture
def bench(make_bench: MakeBench) -> Bench:
	"""A bench whose app announces the end of a session at each question about a cookie that is none."""
	bench = make_bench()
	bench.web.announces_dead_sessions = True
	return bench


def questions(bench: Bench, sid: str) -> int:
	"""How often the web process was asked whose session `sid` is."""
	return sum(
		ASKED_WHO in request.path and request.headers.get("Cookie") == f"sid={sid}"
		for request in list(bench.web.requests)
	)


def test_the_web_process_is_asked_once_about_a_dead_session(bench: Bench, connect: Connect) -> None:
	browser = connect(bench, headers={"Cookie": "sid=dead"})
	assert hears(bench, browser, "user:Guest")
	assert browser.disconnects == 0
	# The announcements of what was asked are read before the session of somebody else ends.
	other = connect(bench, bench.user())
	log_out(bench, other)
	other.wait_for_disconnect()
	assert 1 <= questions(bench, "dead") <= 2


def test_dead_sessions_do_not_hold_up_revocation(bench: Bench, connect: Connect) -> None:
	victim = connect(bench, bench.user())
	disabled = bench.user()
	keeper = connect(bench, disabled)
	for number in range(DEAD):
		connect(bench, headers={"Cookie": f"sid=dead-{number}"})
	log_out(bench, victim)
	victim.wait_for_disconnect()
	bench.site().disable(disabled.name)
	tell(bench, "site")
	keeper.wait_for_disconnect()
	asked = [questions(bench, f"dead-{number}") for number in range(DEAD)]
	assert 1 <= min(asked) <= max(asked) <= 3, asked


def test_a_session_that_ends_while_its_sockets_are_asked_about(bench: Bench, connect: Connect) -> None:
	"""Log out on one device, come back on the other: the second device becomes a Guest, and is asked about no more."""
	user = bench.user()
	device = connect(bench, user)
	sid = device.headers["Cookie"].removeprefix("sid=")
	del bench.site().sessions[sid]
	# The next question about a permission is answered for a Guest, and announces the end of the session.
	device.emit("doc_subscribe", "ToDo", bench.document())
	device.wait_for_disconnect()
	device.connect()
	assert hears(bench, device, "user:Guest")
	assert not hears(bench, device, f"user:{user.name}")
	assert 1 <= questions(bench, sid) <= 4


def test_nobody_is_asked_about_after_its_client_has_left(
	make_bench: MakeBench, start_connecting: StartConnecting
) -> None:
	bench = make_bench()
	bench.web.fail(status=503)
	client, _ = start_connecting(bench, headers={"Cookie": "sid=waiting"})
	until(lambda: questions(bench, "waiting"), "the first question")
	client.close()
	until(lambda: bench.sidecar.health()[1]["connections"] == 0, "the connection is gone")
	asked = questions(bench, "waiting")
	bench.web.heal()
	other, connecting = start_connecting(bench, bench.user())
	connecting.result(60)
	assert hears(bench, other, "website")
	assert questions(bench, "waiting") == asked
