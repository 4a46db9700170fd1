"""A cookie that is no session, on a real site with the app: the web process is asked about it once."""

from __future__ import annotations

import secrets
import time

import pytest

from tests.bench.conftest import ConnectNode
from tests.bench.installation import Bench
from tests.bench.test_access import hears, log_out

CLIENTS = 10


@pytest.fixture
def logged_web(bench: Bench) -> Bench:
	"""The bench, with a web process of the tests, which logs its requests."""
	if not bench.web.is_ours:
		pytest.skip("the web process ran before the tests")
	return bench


def count_requests(bench: Bench) -> int:
	"""Return the number of questions about a user that the web process has answered."""
	return bench.web.log.count("/api/method/frappe.realtime.get_user_info")


def test_unknown_session_ids(logged_web: Bench, connect_node: ConnectNode) -> None:
	bench, before = logged_web, count_requests(logged_web)
	clients = [
		connect_node(bench.site, Cookie=f"sid={secrets.token_hex(28)}; user_id=x") for _ in range(CLIENTS)
	]
	time.sleep(3)
	assert all(hears(bench, client, "user:Guest") for client in clients)
	assert before < count_requests(bench) <= before + 2 * CLIENTS


def test_a_session_that_has_ended(logged_web: Bench, connect_node: ConnectNode) -> None:
	bench, reader = logged_web, logged_web.person("reader")
	sid = bench.log_in(reader)
	csrf_token = bench.inside("csrf_token", sid=sid)
	log_out(bench, reader, sid, csrf_token)
	before = count_requests(bench)
	client = connect_node(bench.site, Cookie=f"sid={sid}")
	time.sleep(3)
	assert hears(bench, client, "user:Guest")
	assert before < count_requests(bench) <= before + 2
