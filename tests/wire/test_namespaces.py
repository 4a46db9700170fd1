"""Which site a connection belongs to, which origins may connect, and CORS."""

from __future__ import annotations

import pytest

from tests.wire.bench import APP_SITE, STOCK_SITE, Bench
from tests.wire.clients import BOTH, POLLING, WEBSOCKET, Refused
from tests.wire.conftest import Connect, MakeBench
from tests.wire.raw import HANDSHAKE, PollingSession, WebSocketSession, request

NAMESPACE = "Invalid namespace"
ORIGIN = "Invalid origin"


def case(
	result: str,
	host: str,
	origin: str | None,
	site: str | None = None,
	namespace: str = APP_SITE,
	name: str = "",
) -> object:
	return pytest.param(host, origin, site, namespace, result, id=name)


CASES = [
	case("", "app.test:{port}", "http://app.test:{port}", name="a page of the site"),
	case("", "app.test:{port}", "http://app.test:8000", name="a page from another port"),
	case("", "app.test:{port}", "https://app.test", name="a page behind TLS"),
	case("", "app.test", "https://app.test:8443", name="a Host without port"),
	case("", "app.test:{port}", None, name="no Origin"),
	case("", "stock.test:{port}", "http://stock.test", namespace=STOCK_SITE, name="the other site"),
	case(NAMESPACE, "stock.test:{port}", "http://stock.test", name="the namespace of another site"),
	case(NAMESPACE, "nowhere.test", "http://nowhere.test", namespace="nowhere.test", name="no such site"),
	case(ORIGIN, "app.test:{port}", "http://evil.test", APP_SITE, name="a foreign Origin behind nginx"),
	case(ORIGIN, "localhost:{port}", "http://evil.test", name="a foreign Origin on localhost"),
	case(ORIGIN, "app.test", "http://stock.test", APP_SITE, name="the Origin of another site"),
	case("", "backend:{port}", "https://app.test", name="a proxy that rewrites Host"),
	case("", "public.example", "https://public.example", APP_SITE, name="a site named unlike its host"),
	case("", "public.example", None, APP_SITE, name="the same without Origin"),
	case(
		"", "public.example:8443", "https://public.example:8443", "app.test:8443", name="a site with a port"
	),
	case(NAMESPACE, "app.test", "http://app.test", STOCK_SITE, name="the header names another site"),
	case(NAMESPACE, "app.test", "http://app.test", "../app.test", name="the header is a path"),
	case("", "localhost:{port}", "http://localhost:8000", name="default_site on localhost"),
	case("", "127.0.0.1:{port}", "http://127.0.0.1:8000", name="default_site on 127.0.0.1"),
	case("", "127.0.0.1:{port}", None, name="default_site without Origin"),
	case(NAMESPACE, "localhost:{port}", None, namespace=STOCK_SITE, name="another site on localhost"),
	case("", "localhost:{port}", None, STOCK_SITE, namespace=STOCK_SITE, name="the header wins on localhost"),
]


@pytest.mark.parametrize(("host", "origin", "site", "namespace", "result"), CASES)
def test_site_and_origin(
	bench: Bench,
	connect: Connect,
	host: str,
	origin: str | None,
	site: str | None,
	namespace: str,
	result: str,
) -> None:
	port = str(bench.sidecar.port)
	headers = {
		"Host": host.replace("{port}", port),
		"Origin": origin and origin.replace("{port}", port),
		"X-Frappe-Site-Name": site,
	}
	for transports in (WEBSOCKET, POLLING):
		client = bench.client(namespace=f"/{namespace}", headers=headers, transports=transports)
		try:
			if result:
				with pytest.raises(Refused, match=f"^{result}$"):
					client.connect()
			else:
				client.connect()
				bench.settle(client, site=namespace)
		finally:
			client.close()


@pytest.mark.parametrize(
	"origin", ["http://evil.test", "null", "file://", "http://app.test.evil.test", "app"]
)
def test_no_foreign_origin_connects(bench: Bench, connect: Connect, origin: str) -> None:
	with pytest.raises(Refused, match=f"^({NAMESPACE}|{ORIGIN})$"):
		connect(bench, bench.user(), headers={"Origin": origin})


def test_without_default_site_localhost_is_a_host_like_others(
	make_bench: MakeBench, connect: Connect
) -> None:
	bench = make_bench(common={"default_site": None})
	with pytest.raises(Refused, match=NAMESPACE):
		connect(bench, headers={"Host": "localhost", "Origin": "http://localhost:8000"})
	assert connect(bench).connected


def test_a_site_made_later_is_served(make_bench: MakeBench, connect: Connect) -> None:
	bench = make_bench()
	with pytest.raises(Refused, match=NAMESPACE):
		connect(bench, headers={"Host": "new.test", "Origin": "http://new.test"}, namespace="/new.test")
	bench.add_site("new.test", ["frappe"])
	assert connect(bench, site="new.test").connected


def test_the_root_namespace_is_open_and_empty(bench: Bench, connect: Connect) -> None:
	raw = WebSocketSession(bench, bench.headers(bench.user())).join("/")
	bench.publish("news", 1, "website")
	bench.publish("news", 1, "all")
	bench.settle(connect(bench))
	for packet in ('42["ping"]', '42["doc_subscribe","ToDo","1"]'):
		raw.send(packet)
	# `join` fails if anything is received before the answer to CONNECT.
	assert raw.join().fence()
	raw.close()


def test_a_second_connect_is_answered_again(bench: Bench) -> None:
	raw = WebSocketSession(bench, bench.headers())
	raw.join().join()
	assert raw.fence()
	raw.close()


def test_two_namespaces_on_one_connection(bench: Bench) -> None:
	"""The second site is refused: the connection belongs to one."""
	raw = WebSocketSession(bench, bench.headers()).join("/").join()
	raw.send(f"40/{STOCK_SITE},")
	assert str(raw.receive()).startswith(f'44/{STOCK_SITE},{{"message":"Invalid namespace"')
	assert raw.fence()
	raw.close()


def test_polling_from_another_port_gets_cors_headers(bench: Bench) -> None:
	session = PollingSession(bench, {**bench.headers(), "Origin": "http://app.test:8000"})
	for answer in (session.opened, session.post(f"40/{APP_SITE},")):
		assert answer.headers["access-control-allow-origin"] == "http://app.test:8000"
		assert answer.headers["access-control-allow-credentials"] == "true"
		assert "origin" in answer.headers["vary"].lower()


def test_preflight_allows_authorization(bench: Bench) -> None:
	answer = request(
		bench,
		"OPTIONS",
		f"{HANDSHAKE}polling",
		{
			"Host": f"app.test:{bench.sidecar.port}",
			"Origin": "http://app.test:8000",
			"Access-Control-Request-Method": "POST",
			"Access-Control-Request-Headers": "authorization,content-type",
		},
	)
	assert answer.status in (200, 204)
	assert answer.headers["access-control-allow-origin"] == "http://app.test:8000"
	assert answer.headers["access-control-allow-credentials"] == "true"
	assert "authorization" in answer.headers["access-control-allow-headers"].lower()
	methods = answer.headers["access-control-allow-methods"]
	assert {"GET", "POST"} <= {method.strip() for method in methods.split(",")}


def test_without_origin_no_cors_headers(bench: Bench) -> None:
	headers = {key: value for key, value in bench.headers().items() if key != "Origin"}
	assert "access-control-allow-origin" not in PollingSession(bench, headers).opened.headers


def test_every_transport(bench: Bench, connect: Connect) -> None:
	for transports in (POLLING, WEBSOCKET, BOTH):
		client = connect(bench, bench.user(), transports=transports)
		client.fence()
		bench.settle(client)
