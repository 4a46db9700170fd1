"""A user's IP restriction on a real site with the app: the sidecar applies it to each connection."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.bench.conftest import ConnectNode
from tests.bench.installation import Bench, Person
from tests.bench.test_access import hears
from tests.wire.conditions import until

OFFICE, ELSEWHERE = "203.0.113.5", "198.51.100.1"


@pytest.fixture
def reader(bench: Bench) -> Iterator[Person]:
	"""A user who may use the site from the office, and from this machine for the tests' login."""
	person = bench.person("reader")
	bench.inside("restrict_addresses", user=person.name, addresses=["203.0.113.", "127.0.0.1"])
	yield person
	bench.inside("restrict_addresses", user=person.name, addresses=[])


def test_a_session_is_refused_elsewhere(bench: Bench, connect_node: ConnectNode, reader: Person) -> None:
	cookie = f"sid={bench.log_in(reader)}"
	name = bench.insert(bench.person("manager"), "Note", title=f"Public {bench.event()}", public=1)
	client = connect_node(reader, Cookie=cookie, X_Forwarded_For=OFFICE)
	bench.join(client, f"doc:Note/{name}", bench.site, "doc_subscribe", "Note", name)
	elsewhere = connect_node(reader, Cookie=cookie, X_Forwarded_For=ELSEWHERE, wait=False)
	until(lambda: elsewhere.refusal, "the session is refused elsewhere")
	assert "IP address" in str(elsewhere.refusal)
	again = connect_node(reader, credential=f"token {reader.token}", X_Forwarded_For=OFFICE)
	assert hears(bench, again, f"user:{reader.name}")


def test_a_restriction_that_comes(bench: Bench, connect_node: ConnectNode, reader: Person) -> None:
	bench.inside("restrict_addresses", user=reader.name, addresses=[])
	cookie = f"sid={bench.log_in(reader)}"
	here = connect_node(reader, Cookie=cookie, X_Forwarded_For=OFFICE)
	elsewhere = connect_node(reader, Cookie=cookie, X_Forwarded_For=ELSEWHERE)
	bench.inside("restrict_addresses", user=reader.name, addresses=["203.0.113."])
	until(lambda: elsewhere.refusal, "the client elsewhere is closed, and not let in again")
	assert hears(bench, here, f"user:{reader.name}")
