"""Which site a request is for: foreign origins, and what an outsider can learn about other sites."""

from __future__ import annotations

import json

import pytest

from tests.wire.bench import APP_SITE, STOCK_SITE, Bench
from tests.wire.clients import Refused
from tests.wire.conftest import Connect, MakeBench
from tests.wire.raw import WebSocketSession

PORTAL = "https://portal.example"


def test_an_allowed_origin_without_a_proxy(make_bench: MakeBench, connect: Connect) -> None:
	"""The Host names the site; the Origin is only compared with what is allowed."""
	bench = make_bench(common={"realtime_allowed_origins": [PORTAL], "default_site": None})
	for site in (APP_SITE, STOCK_SITE):
		user = bench.user(site)
		assert connect(bench, user, site, headers={"Origin": PORTAL}).connected
		for origin in (f"{PORTAL}.evil.test", "https://evil.test", "null"):
			with pytest.raises(Refused, match="Invalid origin"):
				connect(bench, user, site, headers={"Origin": origin})
	# Another site of the bench is another tenant.
	with pytest.raises(Refused, match="Invalid origin"):
		connect(bench, bench.user(), headers={"Origin": f"http://{STOCK_SITE}"})


def test_other_sites_cannot_be_told_from_none(bench: Bench) -> None:
	answers = []
	for namespace in (STOCK_SITE, "nosite.test"):
		raw = WebSocketSession(bench, bench.headers())
		raw.send(f"40/{namespace},")
		answers.append(str(raw.receive()).replace(namespace, "…"))
		raw.close()
	assert answers[0] == answers[1]
	assert json.loads(answers[0].partition(",")[2])["message"] == "Invalid namespace"
