"""Who a connection is: cookies, Authorization headers, and the token that comes with CONNECT."""

from __future__ import annotations

from urllib.parse import quote

import pytest

from realtime.demo.model import GUEST, User
from tests.wire.bench import APP_SITE, SITES, STOCK_SITE, Bench
from tests.wire.clients import POLLING, WEBSOCKET, Client, Refused
from tests.wire.conftest import Connect, ConnectNode, MakeBench
from tests.wire.javascript import MakeJavaScriptBench, make_javascript_bench

__all__ = ["make_javascript_bench"]

SCHEMES = ("token", "Basic", "Bearer", "Hmac-Of-An-App")

WHO = """
socket.on("who", async (answer) => {
	const response = await socket.frappe_request("/api/method/frappe.realtime.get_user_info");
	answer((await response.json()).message.user ?? "nobody");
});
"""


def is_user(bench: Bench, client: Client, user: User | str, site: str = APP_SITE) -> bool:
	"""Tell whether what is sent to a user reaches a client."""
	name = user if isinstance(user, str) else user.name
	bench.publish("for you", name, f"user:{name}", site)
	bench.settle(client, site=site)
	return [args[0] for args in client.all("for you")] == [name]


@pytest.mark.parametrize("site", SITES)
def test_a_session(every_bench: Bench, connect: Connect, site: str) -> None:
	user = every_bench.user(site)
	for transports in (WEBSOCKET, POLLING):
		assert is_user(every_bench, connect(every_bench, user, site, transports=transports), user, site)


def test_a_session_among_other_cookies(bench: Bench, connect: Connect) -> None:
	user = bench.user()
	sid = bench.site().login(user.name)
	for cookie in (
		f"full_name=Ann%20B; sid={sid}; user_id=ann%40example.com; system_user=yes; lang=de",
		f'_ga="a b"; x={{"sid":"Guest"}}; sid={sid}',
		f"notsid=1;sid={sid}",
	):
		assert is_user(bench, connect(bench, headers={"Cookie": cookie}), user)


def test_a_session_id_with_signs_in_it(bench: Bench, connect: Connect) -> None:
	user = bench.user()
	sid = 'a b;"c=d,%é'
	bench.site().sessions[sid] = user.name
	assert is_user(bench, connect(bench, headers={"Cookie": f"sid={quote(sid)}"}), user)


@pytest.mark.parametrize("site", SITES)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_an_authorization_header(every_bench: Bench, connect: Connect, scheme: str, site: str) -> None:
	bench, user = every_bench, every_bench.user(site)
	header = bench.site(site).authorization(user.name, scheme)
	assert is_user(bench, connect(bench, site=site, authorization=header), user, site)
	sent = bench.web.requests[-1].headers
	assert sent["Authorization"] == header
	assert "Cookie" not in sent


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_token_that_comes_with_connect(bench: Bench, connect: Connect, scheme: str) -> None:
	"""For browsers, which cannot set headers on a WebSocket."""
	user = bench.user()
	token = bench.site().authorization(user.name, scheme)
	for cookie in (None, "sid=Guest"):
		client = connect(bench, headers={"Cookie": cookie}, auth={"token": token})
		assert is_user(bench, client, user)


@pytest.mark.parametrize("cookie", ["sid=Guest", "sid=expired", "sid=", "other=1"])
def test_a_stale_cookie_beside_a_token(every_bench: Bench, connect: Connect, cookie: str) -> None:
	user = every_bench.user()
	header = every_bench.site().authorization(user.name)
	client = connect(every_bench, authorization=header, headers={"Cookie": cookie})
	assert is_user(every_bench, client, user)


def test_a_token_wins_over_a_session(bench: Bench, connect: Connect) -> None:
	ann, ben = bench.user(), bench.user()
	header = bench.site().authorization(ben.name)
	cookie = f"sid={bench.site().login(ann.name)}"
	assert is_user(bench, connect(bench, authorization=header, headers={"Cookie": cookie}), ben)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_wrong_token_is_refused(every_bench: Bench, connect: Connect, scheme: str) -> None:
	value = "YTpi" if scheme == "Basic" else "wrong:wrong"
	with pytest.raises(Refused, match="Unauthorized"):
		connect(every_bench, authorization=f"{scheme} {value}")


def test_a_disabled_user_is_refused(bench: Bench, connect: Connect) -> None:
	user = bench.user()
	header = bench.site().authorization(user.name)
	bench.site().disable(user.name)
	with pytest.raises(Refused, match="Unauthorized"):
		connect(bench, authorization=header)


@pytest.mark.parametrize("cookie", [None, "sid=", "other=1", "notsid=1"])
def test_without_credentials_nobody_gets_in(every_bench: Bench, connect: Connect, cookie: str | None) -> None:
	with pytest.raises(Refused, match="authentication"):
		connect(every_bench, headers={"Cookie": cookie})


@pytest.mark.parametrize("cookie", ["sid=Guest", "sid=no-such-session"])
def test_an_unknown_session_is_a_guest(every_bench: Bench, connect: Connect, cookie: str) -> None:
	for site in SITES:
		client = connect(every_bench, site=site, headers={"Cookie": cookie})
		assert is_user(every_bench, client, GUEST, site)


def test_an_ip_restriction_is_not_applied_without_the_app(every_bench: Bench, connect: Connect) -> None:
	"""The sidecar calls only methods that Frappe exempts from the restriction."""
	user = every_bench.user(STOCK_SITE)
	user.restrict_ip = ("203.0.113.",)
	client = connect(every_bench, user, STOCK_SITE)
	assert is_user(every_bench, client, user, STOCK_SITE)
	name = every_bench.document()
	every_bench.join(client, f"doc:ToDo/{name}", "doc_subscribe", "ToDo", name, site=STOCK_SITE)


@pytest.mark.parametrize(("version", "secret"), [(16, True), (17, True), (16, False), (15, False)])
def test_the_first_client_of_an_empty_redis(
	make_bench: MakeBench, connect: Connect, version: int, secret: bool
) -> None:
	bench = make_bench(version=version, secret=secret)
	user = bench.user()
	assert is_user(bench, connect(bench, user), user)
	assert bench.valkey.client.get("socketio_auth_secret")


def test_a_secret_that_changes(make_bench: MakeBench, connect: Connect) -> None:
	bench = make_bench(version=17)
	connect(bench, bench.user())
	bench.valkey.client.set("socketio_auth_secret", "another")
	user = bench.user()
	assert is_user(bench, connect(bench, user), user)


def test_a_secret_that_is_lost(make_bench: MakeBench, connect: Connect) -> None:
	"""FLUSHALL, or a Redis without persistence that restarts."""
	bench = make_bench(version=17)
	connect(bench, bench.user())
	bench.valkey.client.flushall()
	user = bench.user()
	assert is_user(bench, connect(bench, user), user)


def test_handlers_in_javascript_send_a_secret_that_has_changed(
	make_javascript_bench: MakeJavaScriptBench, connect: Connect
) -> None:
	"""Once the sidecar has read it, for whatever client."""
	bench = make_javascript_bench({"version": 17}, who=WHO)
	user = bench.user()
	client = connect(bench, user)
	assert client.call("who") == user.name
	bench.valkey.client.set("socketio_auth_secret", "another")
	assert client.call("who") == "nobody"
	connect(bench, bench.user())
	assert client.call("who") == user.name


def test_the_secret_goes_with_each_request(make_bench: MakeBench, connect: Connect) -> None:
	bench = make_bench(version=17)
	client = connect(bench, bench.user())
	bench.join(client, "doc:ToDo/1", "doc_subscribe", "ToDo", "1")
	secret = bench.valkey.client.get("socketio_auth_secret")
	assert {request.headers.get("X-Frappe-Socket-Secret") for request in bench.web.requests} == {secret}


def test_requests_name_the_site_and_accept_json(every_bench: Bench, connect: Connect) -> None:
	for site in SITES:
		connect(every_bench, every_bench.user(site), site)
		request = every_bench.web.requests[-1]
		assert request.headers["Host"].partition(":")[0] == site
		assert request.headers["X-Frappe-Site-Name"] == site
		assert request.headers["Accept"] == "application/json"


def test_tabs_of_one_session_ask_once(make_bench: MakeBench) -> None:
	"""A whole browser comes back after a restart."""
	# All of them come while the answer is cached, however slow the machine is.
	bench = make_bench(common={"realtime_cache_seconds": 60})
	user = bench.user()
	cookie: dict[str, str | None] = {"Cookie": f"sid={bench.site().login(user.name)}"}
	tabs = [bench.client(headers=cookie) for _ in range(30)]
	waiting = [tab.start_connecting() for tab in tabs]
	for one in waiting:
		one.result(60)
	assert bench.web.counts["frappe.realtime.get_user_info"] == 1
	for tab in tabs:
		tab.close()


def test_each_session_is_asked_for_itself(bench: Bench, connect: Connect) -> None:
	ann, ben = bench.user(), bench.user()
	first, second, guest = connect(bench, ann), connect(bench, ben), connect(bench)
	assert is_user(bench, first, ann)
	assert is_user(bench, second, ben)
	assert is_user(bench, guest, GUEST)


def test_the_clients_of_the_field(bench: Bench, connect_node: ConnectNode, node_version: str) -> None:
	"""Raven's app: an Authorization header and a stale cookie. Node's command lines: origin and Authorization."""
	user = bench.user()
	header = bench.site().authorization(user.name, "Bearer")
	for headers in ({"Cookie": "sid=Guest"}, {"Cookie": None}):
		client = connect_node(bench, node_version, authorization=header, headers=headers)
		bench.publish("for you", 1, f"user:{user.name}")
		assert client.next("for you")[0] == 1
