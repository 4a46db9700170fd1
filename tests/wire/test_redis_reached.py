"""Every way in which `redis_queue` may be reached, and what is said when it cannot be."""

from __future__ import annotations

import ssl
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from realtime.config import EXIT_CONFIG
from tests.wire.background import Background
from tests.wire.bench import Bench
from tests.wire.conditions import until
from tests.wire.conftest import ConnectNode, MakeBench
from tests.wire.nodejs import NEW
from tests.wire.publisher import Publisher
from tests.wire.relay import TLSRelay


def certificate(folder: Path, name: str, names: str) -> tuple[Path, Path]:
	"""Make a certificate that is signed by itself; return it and its key."""
	paths = folder / f"{name}.pem", folder / f"{name}.key"
	subprocess.run(
		f"openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj /CN={name} -addext subjectAltName={names}"
		f" -out {paths[0]} -keyout {paths[1]}".split(),
		check=True,
		capture_output=True,
	)
	return paths


class TLS:
	"""TLS in front of a Valkey.

	Args:
		background: The loop of the relay.
		folder: Where its certificate is written.
		target: The port of Valkey.
		names: The subjectAltName of the certificate.
		client: The only certificate of clients that is let in; None for all clients.
	"""

	def __init__(
		self, background: Background, folder: Path, target: int, names: str, client: Path | None
	) -> None:
		self.certificate, key = certificate(folder, "redis", names)
		context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
		context.load_cert_chain(self.certificate, key)
		if client is not None:
			context.verify_mode = ssl.CERT_REQUIRED
			context.load_verify_locations(client)
		self._relay = TLSRelay(background, target, context)
		self.port = self._relay.port

	def close(self) -> None:
		"""End all connections."""
		self._relay.close()


@pytest.fixture
def started() -> Iterator[list[TLS]]:
	"""What is closed in the end."""
	made: list[TLS] = []
	yield made
	for one in made:
		one.close()


def is_connected(port: int) -> bool:
	"""Return True if a server of this machine has a connection on `port` that it has not closed."""
	established, close_wait = "01", "08"
	lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
	return any(
		int(local.rpartition(":")[2], 16) == port and state in (established, close_wait)
		for _, local, _, state, *_ in lines
	)


def reach(bench: Bench, url: str) -> None:
	"""Start a bench whose Redis is reached by `url`."""
	bench.write_config(redis_queue=url)
	bench.valkey.start()
	bench.start_web()
	bench.sidecar.start()


def works(bench: Bench, url: str, connect_node: ConnectNode) -> None:
	"""Everything that needs Redis: the subscription, the secret, the history and the sessions."""
	bench.wait_until_subscribed()
	publisher = Publisher(url)
	user = bench.user()
	client = connect_node(bench, NEW, user)
	publisher.publish("step", 1, f"user:{user.name}")
	assert client.next("step")[0] == 1
	client.cut()
	publisher.publish("step", 2, f"user:{user.name}")
	client.connect(2)
	assert client.state()["recovered"] is True
	until(lambda: [args[0] for args in client.all("step")] == [1, 2], "what it has missed")
	status, health = bench.sidecar.health()
	assert (status, health["history"]["ok"]) == (200, True)


@pytest.mark.parametrize("how", ["ca", "unverified", "client certificate", "another name"])
def test_tls(
	make_bench: MakeBench,
	background: Background,
	started: list[TLS],
	connect_node: ConnectNode,
	tmp_path: Path,
	how: str,
) -> None:
	bench = make_bench(start=False)
	client, key = certificate(tmp_path, "client", "DNS:client")
	names = "DNS:another.test" if how == "another name" else "IP:127.0.0.1"
	tls = TLS(background, tmp_path, bench.valkey.port, names, client if how == "client certificate" else None)
	started.append(tls)
	url = (
		f"rediss://127.0.0.1:{tls.port}?"
		+ {
			"ca": f"ssl_ca_certs={tls.certificate}",
			"unverified": "ssl_cert_reqs=none",
			"client certificate": f"ssl_ca_certs={tls.certificate}&ssl_certfile={client}&ssl_keyfile={key}",
			"another name": f"ssl_ca_certs={tls.certificate}&ssl_check_hostname=false",
		}[how]
	)
	reach(bench, url)
	works(bench, url, connect_node)


@pytest.mark.parametrize(
	("how", "said"),
	[
		("self-signed", "certificate verify failed"),
		("another name", "127.0.0.1"),
		("no such file", "/none/ca.pem"),
		("no TLS", "rediss://"),
	],
)
def test_tls_that_fails_says_so_in_one_line(
	make_bench: MakeBench, background: Background, started: list[TLS], tmp_path: Path, how: str, said: str
) -> None:
	bench = make_bench(start=False)
	names = "DNS:another.test" if how == "another name" else "IP:127.0.0.1"
	tls = TLS(background, tmp_path, bench.valkey.port, names, None)
	started.append(tls)
	port = bench.valkey.port if how == "no TLS" else tls.port
	query = {
		"self-signed": "",
		"another name": f"?ssl_ca_certs={tls.certificate}",
		"no such file": "?ssl_ca_certs=/none/ca.pem",
		"no TLS": "",
	}[how]
	reach(bench, f"rediss://:geheim@127.0.0.1:{port}{query}")
	until(lambda: "(redis_queue) is unavailable" in bench.sidecar.log, "the line")
	[line] = [
		line for line in bench.sidecar.log.splitlines() if "WARNING" in line and "is unavailable" in line
	]
	assert said in line
	assert "geheim" not in bench.sidecar.log
	assert bench.sidecar.alive
	# A connection whose TLS handshake is under way belongs to no task that the relay could end: its client has to.
	bench.sidecar.stop()
	until(lambda: not is_connected(tls.port), "the end of the last attempt")


def test_a_user_of_its_own_with_the_rights_that_are_documented(
	make_bench: MakeBench, connect_node: ConnectNode
) -> None:
	"""The rights in docs/delivery.md are enough, for the sidecar and for the publisher."""
	bench = make_bench(start=False)
	bench.valkey.start()
	acl: Callable[..., Any] = bench.valkey.client.execute_command
	keys = ("~frappe_realtime:*", "~socketio_auth_secret")
	connection = ("+ping", "+client", "+hello", "+select", "+command")
	acl(
		*("ACL", "SETUSER", "sidecar", "on", ">pw", *keys, "&events", "&frappe_realtime:*", *connection),
		*("+get", "+set", "+del", "+expire", "+xrange", "+xrevrange", "+multi", "+exec"),
		*("+eval", "+rpush", "+sadd", "+srem", "+smembers"),
		*("+subscribe", "+publish"),
		# With the extra `shared-editing`, which the environment of the tests has.
		*("+xadd", "+xdel", "+xlen", "+zadd", "+zcard", "+zrangebyscore", "+zrem", "+zremrangebyscore"),
	)
	acl(
		*("ACL", "SETUSER", "web", "on", ">pw", *keys, "&events", "&frappe_realtime:*", *connection),
		*(
			"+evalsha",
			"+eval",
			"+time",
			"+xadd",
			"+xtrim",
			"+xdel",
			"+xlen",
			"+xrange",
			"+hget",
			"+hset",
			"+hdel",
		),
		*("+get", "+set", "+pexpire", "+publish"),
	)
	bench.write_config(redis_queue=bench.valkey.url.replace("redis://", "redis://sidecar:pw@"))
	bench.start_web()
	bench.sidecar.start()
	works(bench, bench.valkey.url.replace("redis://", "redis://web:pw@"), connect_node)
	denied = bench.valkey.client.execute_command("ACL", "LOG")
	assert not denied


def test_a_wrong_password(make_bench: MakeBench) -> None:
	bench = make_bench(start=False)
	reach(bench, bench.valkey.url.replace("redis://", "redis://nobody:geheim@"))
	until(lambda: "(redis_queue) is unavailable: WRONGPASS" in bench.sidecar.log, "the line")
	assert "geheim" not in bench.sidecar.log


@pytest.mark.parametrize(
	"url",
	[
		"127.0.0.1:11000",
		"http://127.0.0.1:11000",
		"redis://:geheim@127.0.0.1:port",
		"redis://127.0.0.1:99999",
		"unix://",
	],
)
def test_an_address_that_is_none(make_bench: MakeBench, url: str) -> None:
	bench = make_bench(start=False)
	bench.write_config(redis_queue=url)
	bench.sidecar.launch()
	assert bench.sidecar.wait() == EXIT_CONFIG
	assert "redis_queue in" in bench.sidecar.log
	assert "geheim" not in bench.sidecar.log


def test_an_option_of_the_address_that_is_invalid(make_bench: MakeBench) -> None:
	bench = make_bench(start=False)
	reach(bench, f"{bench.valkey.url}?db=often")
	until(lambda: "the database must be a number, not 'often'" in bench.sidecar.log, "the line")
