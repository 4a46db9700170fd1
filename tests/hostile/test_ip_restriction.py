"""A user's IP restriction (`restrict_ip`) on sites with the app: the sidecar applies it to each connection."""

from __future__ import annotations

import pytest

from realtime.demo.model import User
from tests.wire.bench import Bench
from tests.wire.clients import Refused
from tests.wire.conditions import until
from tests.wire.conftest import Connect, MakeBench
from tests.wire.test_access import follow, hears, tell

OFFICE, ELSEWHERE = "203.0.113.", "198.51.100.1"


def restricted(bench: Bench, *addresses: str) -> tuple[User, dict[str, str]]:
	"""Return a user who may connect from some addresses, and the headers of a session."""
	user = bench.user()
	user.restrict_ip = addresses or (OFFICE,)
	return user, {"Cookie": f"sid={bench.site().login(user.name)}"}


def behind_proxy(address: str, **more: str) -> dict[str, str]:
	"""Return the headers of a proxy that names the client's address."""
	return {"X-Forwarded-For": address, **{name.replace("_", "-"): value for name, value in more.items()}}


def test_one_session_from_two_addresses(every_bench: Bench, connect: Connect) -> None:
	bench = every_bench
	user, session = restricted(bench)
	for _ in range(2):
		client = connect(bench, headers={**session, **behind_proxy(f"{OFFICE}5")})
		follow(bench, client, bench.document())
		with pytest.raises(Refused, match="IP address"):
			connect(bench, headers={**session, **behind_proxy(ELSEWHERE)})
	assert hears(bench, client, f"user:{user.name}")


def test_an_api_key_from_two_addresses(bench: Bench, connect: Connect) -> None:
	user, _ = restricted(bench)
	key = bench.site().authorization(user.name)
	connect(bench, authorization=key, headers=behind_proxy(f"{OFFICE}5"))
	with pytest.raises(Refused, match="IP address"):
		connect(bench, authorization=key, headers=behind_proxy(ELSEWHERE))


def test_a_restriction_that_comes_closes_the_sockets_elsewhere(bench: Bench, connect: Connect) -> None:
	user = bench.user()
	session = {"Cookie": f"sid={bench.site().login(user.name)}"}
	here = connect(bench, headers={**session, **behind_proxy(f"{OFFICE}5")})
	elsewhere = connect(bench, headers={**session, **behind_proxy(ELSEWHERE)})
	user.restrict_ip = (OFFICE,)
	tell(bench, "user", user=user.name)
	elsewhere.wait_for_disconnect()
	assert hears(bench, here, f"user:{user.name}")
	assert here.disconnects == 0


@pytest.mark.parametrize(
	("headers", "allowed"),
	[
		(behind_proxy("10.1.2.3"), True),
		(behind_proxy("10.9.9.9"), False),
		(behind_proxy("10.1.2.3, 10.9.9.9"), False),
		(behind_proxy("10.1.2.3", X_Real_IP="10.9.9.9"), False),
		(behind_proxy("10.9.9.9, 127.0.0.1", X_Real_IP="10.1.2.3"), True),
		(behind_proxy("10.1.2.3, 198.51.100.1"), False),
		({"X-Frappe-Site-Name": "app.test"}, False),
		({}, True),
	],
	ids=str,
)
def test_addresses_of_a_private_network(
	bench: Bench, connect: Connect, headers: dict[str, str], allowed: bool
) -> None:
	"""These are trusted as proxies by default; what a client writes itself stands before what the nearest proxy adds."""
	_, session = restricted(bench, "10.1.", "127.0.0.1")
	if allowed:
		connect(bench, headers={**session, **headers})
	else:
		with pytest.raises(Refused, match="IP address"):
			connect(bench, headers={**session, **headers})


def test_a_secret_that_changes(make_bench: MakeBench, connect: Connect) -> None:
	"""The secret proves to the endpoints that the sidecar has checked the address."""
	bench = make_bench()
	user, session = restricted(bench)
	client = connect(bench, headers={**session, **behind_proxy(f"{OFFICE}5")})
	first = follow(bench, client, bench.document())
	bench.valkey.client.set("socketio_auth_secret", "another")
	second = follow(bench, client, bench.document())
	tell(bench, "user", user=user.name)
	until(lambda: bench.web.counts["frappe.realtime.get_user_info"] > 1, "the user is asked for again")
	assert hears(bench, client, first)
	assert hears(bench, client, second)
	connect(bench, headers={**session, **behind_proxy(f"{OFFICE}6")})
