"""The site and the clients in memory of `frappe_realtime.testing`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from frappe_realtime.testing import Site
from tests.unit.handlers.conftest import MakeSite, write_app
from tests.unit.handlers.sockets import HEAD, both


def test_a_site_whose_file_does_not_load_is_closed(tmp_path: Path) -> None:
	site = Site(("broken", write_app(tmp_path, "broken", "1 / 0")))
	with pytest.raises(ImportError, match="ZeroDivisionError"):
		site.open()
	# Otherwise, a `with` block would leave the event loop open, which warns when it is collected.
	assert site._loop.is_closed()
	site.close()


def test_no_watchdog_watches_the_event_loop_of_a_test(make_site: MakeSite) -> None:
	"""It would log that the loop is blocked when a test does something else for two seconds, and its thread would not end."""
	site = make_site(HEAD + "@realtime.on('go')\nasync def go(socket):\n\tpass\n")
	assert not site.handlers.executor.watchdog._thread.is_alive()


def test_a_client_of_a_test_that_has_disconnected_cannot_emit(make_site: MakeSite) -> None:
	client = make_site(f"{HEAD}@realtime.on('go')\nasync def go(socket):\n\treturn 1\n").connect(
		"ann@example.com"
	)
	for _ in range(2):
		client.disconnect()
	for send in (client.emit, client.call):
		with pytest.raises(
			ConnectionError, match=r"^ann@example\.com has disconnected, and cannot emit 'go'$"
		):
			send("go")


def test_a_client_of_a_test_cannot_emit_what_clients_refuse(make_site: MakeSite) -> None:
	client = make_site(f"{HEAD}@realtime.on('go')\nasync def go(socket):\n\treturn 1\n").connect(
		"ann@example.com"
	)
	with pytest.raises(ValueError, match="'disconnect' is an event of Socket"):
		client.emit("disconnect")
	assert client.call("go") == 1


@pytest.mark.parametrize(
	("options", "header"),
	[
		({"headers": {"Authorization": "token key:secret"}}, "token key:secret"),
		({"auth": {"token": "key:secret"}}, "token key:secret"),
		({"headers": {"Cookie": "sid=x"}}, None),
	],
)
@pytest.mark.parametrize("text", both("\treturn [socket.authorization_header]"))
def test_the_authorization_header(
	make_site: MakeSite, text: str, options: dict[str, Any], header: str | None
) -> None:
	assert make_site(text).connect("ann@example.com", **options).call("go") == [header]


def test_a_client_without_an_answer_is_named_when_a_handler_waits_for_it(
	make_site: MakeSite, monkeypatch: pytest.MonkeyPatch
) -> None:
	monkeypatch.setattr("frappe_realtime.testing.site.HANDLER_TIMEOUT", 0.2)
	site = make_site(f"{HEAD}@realtime.on('go')\nasync def go(socket):\n\tawait socket.call('confirm')\n")
	with pytest.raises(
		TimeoutError, match=r"ann@example\.com was asked 'confirm', without an answer \(Client\.answer\)$"
	):
		site.connect("ann@example.com").emit("go")
