"""What the doctor concludes from an error at the public address, and from an answer of the web process."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from realtime.bus.endpoint import RedisEndpoint
from realtime.bus.outages import OutageReport
from realtime.bus.store import RedisStore, StoreDenied
from realtime.config import load
from realtime.operations.bench_files import SETUP_NGINX, BenchFiles
from realtime.operations.health_checks import HealthChecks
from realtime.operations.public_checks import PublicAddress, PublicChecks
from realtime.operations.redis_checks import RedisChecks, _redis_cli
from realtime.operations.sidecar_checks import SidecarChecks
from realtime.operations.socket_client import ConnectionFailed, ConnectionRejected
from realtime.operations.web_checks import Pong, WebChecks

SITE = "one.test"
ADDRESS = PublicAddress("https://one.test", "https://one.test")
LOCAL = PublicAddress("http://127.0.0.1:80", "http://127.0.0.1:80")
FAILED = ConnectionFailed("no answer within 5 s")
UNKNOWN_SESSION = ConnectionFailed("HTTP 400")


@pytest.fixture
def bench(tmp_path: Path) -> Path:
	folder = tmp_path / "sites" / SITE
	folder.mkdir(parents=True)
	(folder / "site_config.json").write_text("{}")
	write_common(tmp_path, default_site="main.test")
	return tmp_path


def write_common(bench: Path, **keys: Any) -> None:
	(bench / "sites" / "common_site_config.json").write_text(json.dumps(keys))


def public(bench: Path) -> PublicChecks:
	config = load(bench, {})
	transports: Any = None
	http: Any = None
	return PublicChecks(config, BenchFiles(config), http, transports)


@pytest.mark.parametrize(
	("errors", "code"),
	[
		({"upgrade": FAILED, "WebSocket": FAILED}, "public.upgrade"),
		({"polling": FAILED, "upgrade": FAILED}, "public.buffered"),
		({"polling": UNKNOWN_SESSION, "upgrade": UNKNOWN_SESSION}, "public.sticky"),
		({"polling": FAILED, "upgrade": FAILED, "WebSocket": FAILED}, "public.failed"),
	],
)
def test_which_transports_fail(bench: Path, errors: dict[str, ConnectionFailed], code: str) -> None:
	found = public(bench)._failure(SITE, ADDRESS, errors)
	assert (found.code, found.site) == (code, SITE)
	assert found.where
	assert found.command


def test_a_balancer_that_breaks_polling_is_no_reason_to_refuse_it(bench: Path) -> None:
	"""With realtime_transports without polling, `frappe.realtime` of a site without the app, which begins with it, never connects."""
	found = public(bench)._failure(SITE, ADDRESS, {"polling": UNKNOWN_SESSION, "upgrade": UNKNOWN_SESSION})
	assert found.command == "bench set-config -g realtime_websocket_only 1"
	assert "sticky sessions" in found.advice


@pytest.mark.parametrize(
	("address", "message", "reason", "code", "command"),
	[
		(ADDRESS, "Invalid origin", "the page is from 'wrong.test'; add it", "public.origin", SETUP_NGINX),
		(ADDRESS, "Invalid namespace", "the request is for 'other.test'; this", "public.host", SETUP_NGINX),
		(
			ADDRESS,
			"Invalid namespace",
			"the request is for 'main.test'; this",
			"public.default_site",
			f"bench config dns_multitenant on && {SETUP_NGINX}",
		),
		(
			LOCAL,
			"Invalid namespace",
			"the request is for 'main.test'; this",
			"public.default_site",
			"bench config remove-common-config default_site && bench restart",
		),
		(ADDRESS, "Unauthorized", "", "public.rejected", "bench restart"),
	],
)
def test_what_the_sidecar_refuses(
	bench: Path, address: PublicAddress, message: str, reason: str, code: str, command: str
) -> None:
	found = public(bench)._failure(SITE, address, {"polling": ConnectionRejected(message, reason)})
	assert (found.code, found.command) == (code, command)


@pytest.mark.parametrize(
	("status", "code"), [(502, "public.port"), (504, "public.port"), (404, "public.path")]
)
def test_no_realtime_server_at_the_address(bench: Path, status: int, code: str) -> None:
	found = public(bench)._no_engine(SITE, ADDRESS, status)
	assert (found.code, found.command) == (code, SETUP_NGINX)
	assert f"HTTP {status}" in found.what


def test_the_public_address(bench: Path) -> None:
	assert public(bench)._address(SITE) is None
	config = bench / "config" / "nginx.conf"
	config.parent.mkdir()
	config.write_text(f"server {{ listen 8080; server_name {SITE}; location /socket.io {{}} }}")
	assert public(bench)._address(SITE) == PublicAddress("http://127.0.0.1:8080", f"http://{SITE}:8080")
	(bench / "sites" / SITE / "site_config.json").write_text('{"host_name": "shop.example.com"}')
	address = public(bench)._address(SITE)
	assert address == PublicAddress("http://shop.example.com", "http://shop.example.com")
	assert address.headers("https://elsewhere")["Origin"] == "https://elsewhere"
	assert address.headers()["Host"] == "shop.example.com"


def web(bench: Path) -> WebChecks:
	config = load(bench, {})
	nothing: Any = None
	return WebChecks(config, BenchFiles(config), nothing, nothing)


def test_where_the_web_process_is_set(bench: Path) -> None:
	found = asyncio.run(web(bench)._not_frappe("url", Pong("other", "HTTP 404"), SITE))
	assert found.command.startswith("bench set-config -g webserver_port PORT && ")
	write_common(bench, webserver_host="https://frappe.internal", webserver_port=8001)
	found = asyncio.run(web(bench)._not_frappe("url", Pong("other", "HTTP 404"), SITE))
	assert found.where.startswith("webserver_host in ")
	assert found.command.startswith("bench set-config -g webserver_host URL && ")
	assert found.advice.startswith("URL is that of Frappe")


def test_where_maintenance_mode_is_set(bench: Path) -> None:
	write_common(bench, maintenance_mode=1)
	assert web(bench)._maintenance(SITE).command == "bench set-config -g maintenance_mode 0"
	(bench / "sites" / SITE / "site_config.json").write_text('{"maintenance_mode": 1}')
	assert web(bench)._maintenance(SITE).command == f"bench --site {SITE} set-maintenance-mode off"


def test_where_another_redis_is_set(bench: Path) -> None:
	assert web(bench)._other_secret(SITE).code == "secret.other"
	(bench / "sites" / SITE / "site_config.json").write_text('{"redis_queue": "redis://u:geheim@a:1"}')
	found = web(bench)._other_secret(SITE)
	assert found.code == "secret.site"
	assert "geheim" not in found.remedy


@pytest.mark.parametrize("code", ["NOAUTH", "WRONGPASS"])
def test_the_password_of_redis(bench: Path, code: str) -> None:
	write_common(bench, redis_queue="redis://u:geheim@a:1")
	(bench / "config").mkdir()
	(bench / "config" / "redis_queue.conf").write_text("requirepass geheim\n")
	config = load(bench, {})
	found = RedisChecks(config, BenchFiles(config))._refused(StoreDenied(f"{code} no"))
	assert found.code == "redis.password"
	assert found.command == "bench set-config -g redis_queue redis://USER:PASSWORD@a:1 && bench restart"
	assert "config/redis_queue.conf" in found.advice
	assert "geheim" not in str(found)


@pytest.mark.parametrize(
	"message",
	[
		"ERR DB index is out of range",
		"DENIED Redis is running in protected mode because protected mode is enabled",
		"ERR max number of clients reached",
	],
)
def test_what_redis_refuses_besides_the_password(bench: Path, message: str) -> None:
	write_common(bench, redis_queue="redis://u:geheim@a:1/99")
	config = load(bench, {})
	found = RedisChecks(config, BenchFiles(config))._refused(StoreDenied(message))
	assert found.code == "redis.refused"
	assert message in found.what
	assert found.command == "redis-cli -u redis://a:1/99 ping"
	assert "geheim" not in str(found)


@pytest.mark.parametrize(
	("url", "command"),
	[
		("rediss://a:1/0?ssl_ca_certs=/b.pem", "'rediss://USER:PASSWORD@a:1/0?ssl_ca_certs=/b.pem'"),
		("unix:///run/redis.sock", "unix://USER:PASSWORD@/run/redis.sock"),
	],
)
def test_the_command_for_the_password_keeps_the_rest_of_the_address(
	bench: Path, url: str, command: str
) -> None:
	write_common(bench, redis_queue=url)
	config = load(bench, {})
	found = RedisChecks(config, BenchFiles(config))._refused(StoreDenied("NOAUTH no"))
	assert found.command == f"bench set-config -g redis_queue {command} && bench restart"


def test_how_redis_cli_reaches_an_address() -> None:
	assert _redis_cli("unix://u:p@/run/my redis.sock") == "redis-cli -s '/run/my redis.sock'"
	assert _redis_cli("rediss://u:p@a:1?ssl_ca_certs=/b.pem") == "redis-cli -u rediss://a:1"


def test_with_sentinels_their_keys_are_named(bench: Path) -> None:
	write_common(
		bench,
		redis_queue="redis://not.used:1",
		redis_queue_sentinel_enabled=1,
		redis_queue_sentinels=["10.0.0.1:26379"],
		redis_queue_master_service="queue",
		redis_queue_master_username="frappe",
	)
	config = load(bench, {})
	checks = RedisChecks(config, BenchFiles(config))
	endpoint: Any = checks.store.endpoint

	async def master() -> tuple[str, int]:
		return "10.0.0.2", 6379

	endpoint.master = master
	assert asyncio.run(checks._server()) == ("frappe", "redis://10.0.0.2:6379")
	down = asyncio.run(checks._unreachable("no master"))
	assert down.where.startswith("redis_queue_sentinels in ")
	refused = checks._refused(StoreDenied("DENIED no"))
	assert refused.command == "redis-cli -h 10.0.0.1 -p 26379 sentinel get-master-addr-by-name queue"
	password = checks._refused(StoreDenied("WRONGPASS no"))
	assert password.where.startswith("redis_queue_master_password in ")
	assert "redis_queue_master_username USER" in password.command
	assert "not.used" not in "".join(map(str, (down, refused, password)))


def test_how_redis_is_started(bench: Path) -> None:
	write_common(bench, redis_queue="redis://elsewhere.test:1")
	config = load(bench, {})

	def command() -> str:
		return asyncio.run(RedisChecks(config, BenchFiles(config))._unreachable("refused")).command

	assert command() == "sudo supervisorctl start all"
	(bench / "Procfile").write_text("web: bench serve\n")
	assert command() == "bench start"
	unit = bench / "config" / "systemd" / "erp-node-socketio.service"
	unit.parent.mkdir(parents=True)
	unit.write_text("[Service]\n")
	assert command() == "sudo systemctl restart 'erp-*.service'"


@pytest.mark.parametrize(("seconds", "code"), [("60", "dropped"), ("400", "mended"), (400, "mended")])
def test_dropped_events_whose_remedy_was_run(bench: Path, seconds: Any, code: str) -> None:
	"""`bench set-config`, which the doctor names, writes the number as text."""
	write_common(bench, realtime_pending_seconds=seconds)
	config = load(bench, {})
	checks = RedisChecks(config, BenchFiles(config))
	store: Any = checks.store

	async def outages() -> list[OutageReport]:
		return [OutageReport("host", 1, 1000.0, 1200.0, 10_000, 7, "refused")]

	store.outages = outages
	assert asyncio.run(checks.outages()).code == f"outages.{code}"


def health(**more: Any) -> dict[str, Any]:
	return {
		"redis": {"ok": True},
		"web": {"ok": True},
		"history": {"ok": True},
		"version": "0.0.0",
		**more,
	}


def test_the_health_of_the_sidecar(bench: Path) -> None:
	config = load(bench, {})
	files, store = BenchFiles(config), RedisStore(RedisEndpoint(config))
	(old,) = SidecarChecks(config, files, store)._version(health())
	assert old.command == "bench restart"
	checks = HealthChecks(config, files, store)
	assert [*checks._descriptors(health())] == [], "an older sidecar"
	for number, limit, states in (
		(10, 65536, []),
		(10, -1, []),
		(10, 1024, ["note"]),
		(900, 1024, ["FAILED"]),
		(60000, 65536, ["FAILED"]),
	):
		given = health(descriptors={"open": number, "limit": limit})
		assert [finding.state for finding in checks._descriptors(given)] == states
	handlers = {
		"python": {"errors": {"shop": {"file": "f", "error": "e"}}},
		"javascript": {
			"left_out": {
				"sales": "handlers.js cannot be loaded: SyntaxError",
				"stock": "Node is not found: 'node' (realtime_node, FRAPPE_REALTIME_NODE, PATH)",
			}
		},
	}
	broken, unloaded, without_node = checks._handlers(health(handlers=handlers))
	assert (broken.code, broken.where, unloaded.state) == ("handlers.import", "f", "note")
	assert (unloaded.where, unloaded.command) == (
		f"{bench}/apps/sales/realtime/handlers.js",
		"bench restart",
	)
	assert without_node.where.startswith("realtime_node in ")
	assert without_node.command == 'bench set-config -g realtime_node "$(command -v node)" && bench restart'
	overrides = {"realtime_node": "FRAPPE_REALTIME_NODE"}
	*_, overridden = checks._handlers(health(handlers=handlers, overrides=overrides))
	assert overridden.where == "FRAPPE_REALTIME_NODE (realtime_node) in the environment of the sidecar"
	assert overridden.command == without_node.command.replace("&&", "&& unset FRAPPE_REALTIME_NODE &&")
	assert [*checks._links(health(unreachable_sidecars={}))] == []
	unreachable = {f"10.0.0.{number}:9000": "refused" for number in range(9)}
	(links,) = checks._links(health(unreachable_sidecars=unreachable))
	assert (links.code, links.state, links.what.count("refused")) == ("sidecar.links", "note", 5)
	assert links.command == "curl http://10.0.0.0:9000/health", "so that the last lines of the doctor have it"
	denied = {
		"ok": False,
		"refused": {"one.test": "NOPERM a", "two.test": "NOPERM b"},
		"sessions_refused": "",
	}
	(history,) = checks._history(health(history=denied))
	assert history.what.endswith(" the history of one.test (NOPERM a); the history of two.test (NOPERM b)")
	sessions = {"ok": False, "refused": {}, "sessions_refused": "NOPERM"}
	(history,) = checks._history(health(history=sessions))
	assert history.what == "Redis denies the sidecar the sessions of clients (NOPERM)"
