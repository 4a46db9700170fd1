"""Behind nginx as bench configures it: over HTTP and HTTPS, under the site's name and under others."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.bench.conftest import WAYS, ConnectNode, OpenWindow
from tests.bench.desk import listen, open_desk, wait_to_see
from tests.bench.installation import Bench
from tests.bench.proxy import Proxy, certificate
from tests.wire.conditions import until

PLAIN, SECURE = "realtime-plain.test", "realtime-secure.test"
"""Domains that are added to the site with the app."""


@dataclass(frozen=True)
class Address:
	"""Where a site is reached."""

	site: str
	host: str
	origin: str


@pytest.fixture(scope="module")
def addresses(bench: Bench, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Address]]:
	"""The bench in production behind nginx; everything is put back in the end."""
	if not shutil.which("nginx") and not Path("/usr/sbin/nginx").exists():
		pytest.skip("there is no nginx")
	if not shutil.which("bench"):
		pytest.skip("there is no bench command on PATH")
	if not bench.config.get("dns_multitenant"):
		pytest.skip("the bench does not tell its sites apart by their names (dns_multitenant)")
	if not bench.web.is_ours:
		pytest.skip("the web process ran before the tests: stop it, and the tests start their own")
	folder = tmp_path_factory.mktemp("nginx")
	cert, key = certificate(folder, SECURE)
	site, other = bench.site, bench.other_site
	with bench.kept("config/nginx.conf", f"sites/{site}/site_config.json", "sites/common_site_config.json"):
		secure = ["--ssl-certificate", str(cert), "--ssl-certificate-key", str(key)]
		bench.bench("setup", "add-domain", PLAIN, "--site", site)
		bench.bench("setup", "add-domain", SECURE, "--site", site, *secure)
		bench.bench("setup", "nginx", "--yes", "--logging", "none")
		proxy = Proxy(bench, folder)
		bench.web.stop()
		bench.production_web.start_unless_running()
		try:
			proxy.start()
			yield {
				"its name": Address(site, site, f"http://{site}:{proxy.port}"),
				"a domain": Address(site, PLAIN, f"http://{PLAIN}:{proxy.port}"),
				"HTTPS": Address(site, SECURE, f"https://{SECURE}:{proxy.tls_port}"),
				"another site": Address(other, other, f"http://{other}:{proxy.port}"),
			}
		finally:
			proxy.stop()
			bench.production_web.stop()
			bench.web.start_unless_running()


@pytest.fixture(params=["its name", "a domain", "HTTPS", "another site"])
def address(request: pytest.FixtureRequest, addresses: dict[str, Address]) -> Address:
	"""Each address in turn."""
	return addresses[request.param]


@pytest.mark.parametrize("has_origin", [True, False], ids=["with Origin", "without Origin"])
def test_clients_connect(bench: Bench, address: Address, has_origin: bool, connect_node: ConnectNode) -> None:
	person, event = bench.person(site=address.site), bench.event()
	clients = [
		connect_node(
			person,
			version,
			transports,
			url=address.origin,
			options={"rejectUnauthorized": False},
			Host=None,
			Origin=address.origin if has_origin else None,
		)
		for version, transports in WAYS
	]
	for client, (_, transports) in zip(clients, WAYS, strict=True):
		if "websocket" in transports:
			until(lambda client=client: client.state()["transport"] == "websocket", "WebSocket")  # type: ignore[misc]
	arguments = json.dumps({"event": event, "message": {"a": 1}, "user": person.name})
	bench.bench("--site", address.site, "execute", "frappe.publish_realtime", "--kwargs", arguments)
	for client in clients:
		assert client.next(event)[0] == {"a": 1}


def test_the_desk_connects(bench: Bench, address: Address, open_window: OpenWindow) -> None:
	person, event = bench.person(site=address.site), bench.event()
	page = open_desk(bench, open_window(person, address.host), address.origin)
	assert page.evaluate("frappe.realtime.socket.io.uri") == f"{address.origin}/{address.site}"
	listen(page, event)
	arguments = json.dumps({"event": event, "message": {"a": 1}, "user": person.name})
	bench.bench("--site", address.site, "execute", "frappe.publish_realtime", "--kwargs", arguments)
	assert wait_to_see(page, event)[0] == {"a": 1}
