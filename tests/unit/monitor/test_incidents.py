"""Incidents: their sentences, their bounds, and that they contain nothing secret."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from frappe_realtime.contract.users import GUEST
from realtime.access.limit_source import Source
from realtime.monitor.incidents import MAX_INCIDENTS, MAX_TEXT, Incidents
from realtime.signals import Signal
from realtime.socketio.errors import ConnectRefused
from tests.unit.access.fakes import SITE, config

ANN = Source(SITE, "ann", "192.0.2.1", "a socket")


def fake(**attributes: Any) -> Any:
	"""Return an object with these attributes."""
	return SimpleNamespace(**attributes)


class Setting:
	"""Incidents, and the signals that they come from."""

	def __init__(self) -> None:
		self.limits = fake(refused=Signal(), limit_reached=Signal())
		self.executor = fake(handler_failed=Signal(), event_dropped=Signal())
		self.javascript_failed: Signal[[str, Source]] = Signal()
		self.web = fake(outage_began=Signal())
		self.subscriber = fake(lost=Signal(), endpoint="Redis at redis://127.0.0.1 (redis_queue)")
		sites = fake(exists=lambda name: name in (SITE, "two.test"))
		self.incidents = Incidents(
			config(), sites, self.limits, self.executor, self.javascript_failed, self.web, self.subscriber
		)

	def of(self, site: str | None = SITE) -> list[tuple[str, str, str]]:
		"""Return kind, code and message of the incidents of a site."""
		return [(kind, code, message) for _, kind, code, message, *_ in self.incidents.of(site, 100)]


def queue() -> Any:
	"""Return a queue of the app `chat` for a socket of ann."""
	session = SimpleNamespace(site=SITE, user="ann")
	connection = SimpleNamespace(request=SimpleNamespace(remote=""))
	server_socket = SimpleNamespace(session=session, connection=connection, id="a socket")
	return SimpleNamespace(
		app=SimpleNamespace(name="chat"), socket=SimpleNamespace(_server_socket=server_socket)
	)


@pytest.mark.parametrize(
	("refused", "code", "message"),
	[
		(
			ConnectRefused("Invalid namespace", "site_unknown"),
			"site_unknown",
			"A client was refused: Invalid namespace.",
		),
		(
			ConnectRefused("Unauthorized: no", "login_rejected", "why"),
			"login_rejected",
			"A client was refused: Unauthorized: no (why).",
		),
		(
			ConnectRefused("No authentication method used. Use cookie.", "no_credential"),
			"no_credential",
			"A client was refused: No authentication method used. Use cookie.",
		),
	],
)
def test_a_refusal_has_a_code_and_a_sentence(refused: ConnectRefused, code: str, message: str) -> None:
	it = Setting()
	it.limits.refused.send(f"/{SITE}", refused, Source(address="192.0.2.1"))
	assert it.of() == [("refused", code, message)]


def test_a_refusal_belongs_to_the_site_of_its_namespace_if_there_is_one() -> None:
	it = Setting()
	it.limits.refused.send("/two.test", ConnectRefused("no"), Source())
	it.limits.refused.send("/invented", ConnectRefused("no"), Source())
	assert it.of() == []
	assert len(it.of("two.test")) == 1
	assert len(it.of(None)) == 2


def test_what_a_client_chooses_is_shortened_and_printable() -> None:
	it = Setting()
	it.limits.refused.send(f"/{SITE}", ConnectRefused("no", "code", "\x1b[31m" + "x" * 9999), Source())
	((_, _, message),) = it.of()
	assert len(message) < MAX_TEXT + 50
	assert message.isprintable()


def test_a_limit_is_explained_by_its_key() -> None:
	it = Setting()
	it.limits.limit_reached.send("realtime_events_per_second", ANN)
	it.executor.event_dropped.send(queue(), "say", "realtime_handler_queue")
	(dropped, reached) = it.of()
	assert reached[:2] == ("limit", "realtime_events_per_second")
	assert reached[2].startswith("The limit realtime_events_per_second was reached. It is 200.0: events that")
	assert dropped[1] == "realtime_handler_queue"
	assert dropped[2].endswith("An event for the app chat was dropped.")


def test_a_refusal_by_a_limit_is_one_incident() -> None:
	it = Setting()
	refused = ConnectRefused("Too many", "too_many_connections", limit="realtime_sockets_per_user")
	it.limits.refused.send(f"/{SITE}", refused, ANN)
	assert it.of() == []


def test_a_slow_client_has_a_kind_of_its_own() -> None:
	it = Setting()
	it.limits.limit_reached.send("realtime_max_unsent", ANN)
	((kind, code, _),) = it.of()
	assert (kind, code) == ("slow_client", "realtime_max_unsent")


def test_an_error_of_a_handler_names_its_place_but_not_its_text() -> None:
	it = Setting()
	try:
		raise ValueError("a secret payload")
	except ValueError as error:
		it.executor.handler_failed.send(queue(), "say", error)
	((kind, code, message),) = it.of()
	assert (kind, code) == ("handler_error", "ValueError")
	assert "app chat failed with ValueError in test_incidents.py, line" in message
	assert "secret" not in message


def test_an_error_of_a_handler_in_javascript() -> None:
	it = Setting()
	it.javascript_failed.send("chat", ANN)
	it.javascript_failed.send("", Source())
	message = "A handler of chat in JavaScript failed. The log of the sidecar has the error."
	assert it.of() == [("handler_error", "javascript_error", message)]
	assert len(it.of(None)) == 2


def test_outages_of_everything_are_shown_on_every_site() -> None:
	it = Setting()
	it.subscriber.lost.send("Connection refused")
	it.web.outage_began.send("", "HTTP 502")
	it.web.outage_began.send("two.test", "maintenance mode")
	assert [code for _, code, _ in it.of()] == ["web_unavailable", "redis_unavailable"]
	assert len(it.of("two.test")) == 3


def test_incidents_of_other_sites_and_of_none_are_not_shown() -> None:
	it = Setting()
	it.limits.limit_reached.send("realtime_sidecars", Source())
	it.limits.limit_reached.send("realtime_events_per_second", Source("two.test", GUEST))
	assert it.of() == []
	assert len(it.of(None)) == 2


def test_equal_incidents_are_counted() -> None:
	it = Setting()
	for _ in range(3):
		it.limits.limit_reached.send("realtime_events_per_second", ANN)
		it.limits.limit_reached.send("realtime_events_per_second", ANN._replace(user="bob"))
	assert [(one[4], one[6]) for one in it.incidents.of(SITE, 10)] == [("bob", 3), ("ann", 3)]


def test_memory_is_bounded() -> None:
	it = Setting()
	for number in range(MAX_INCIDENTS + 10):
		it.limits.limit_reached.send("realtime_events_per_second", ANN._replace(user=str(number)))
	found = it.incidents.of(SITE, 1000)
	assert len(found) == MAX_INCIDENTS
	assert found[0][4] == str(MAX_INCIDENTS + 9)
	assert len(it.incidents.of(SITE, 5)) == 5
