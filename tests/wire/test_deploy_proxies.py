"""`deploy/proxy/`: a real nginx and a real HAProxy with these files, in front of two sidecars of two workers each."""

from __future__ import annotations

import copy
import re
import shutil
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.wire import nodejs
from tests.wire.bench import Bench
from tests.wire.clients import BOTH, POLLING, WEBSOCKET, Refused
from tests.wire.conditions import PATIENCE, accepts, free_port, until
from tests.wire.conftest import ConnectNode, MakeBench
from tests.wire.nginx import NGINX
from tests.wire.publisher import Publisher
from tests.wire.sidecar import ROOT, Sidecar
from tests.wire.workers import workers

PROXIES = ROOT / "deploy" / "proxy"
HAPROXY = shutil.which("haproxy") or shutil.which("haproxy", path="/usr/sbin")
COUNT = 2
"""Workers of each sidecar."""
SITE = "localhost"
"""The proxies name the site by the host, and a client in Node that polls sends the host of the URL, whatever its headers are."""

_NGINX = """
daemon off; pid {folder}/pid; error_log {folder}/error.log;
events {{ worker_connections 256; }}
http {{
	access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
	fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
	include {folder}/nginx.conf;
}}
"""


class Proxy:
	"""A proxy with one of the files, in which only addresses are replaced.

	Args:
		program: `nginx` or `haproxy`.
		folder: An empty folder.
		sidecars: The ports of the sidecars, for the two hosts of the file.
		web_port: The port of the web process.
	"""

	def __init__(self, program: str, folder: Path, sidecars: tuple[int, int], web_port: int) -> None:
		self.port = free_port()
		self._log = folder / "log"
		file = {"nginx": "nginx.conf", "haproxy": "haproxy.cfg"}[program]
		text = (PROXIES / file).read_text()
		for number, port in enumerate(sidecars, 1):
			text = text.replace(f"10.0.0.{number}:9000", f"127.0.0.1:{port}")
			text = text.replace(f"10.0.0.{number}:8000", f"127.0.0.1:{web_port}")
		text = re.sub(r"\n\s*listen \[::\]:80;", "", text)
		text = text.replace("listen 80;", f"listen 127.0.0.1:{self.port};")
		text = text.replace("bind :80", f"bind 127.0.0.1:{self.port}").replace(
			"maxconn 100000", "maxconn 500"
		)
		assert "10.0.0." not in re.sub("#.*", "", text)
		(folder / file).write_text(text)
		if program == "nginx":
			main = folder / "main.conf"
			main.write_text(_NGINX.format(folder=folder))
			command = [str(NGINX), "-p", str(folder), "-c", str(main)]
			self._check([*command, "-t"])
		else:
			command = [str(HAPROXY), "-db", "-f", str(folder / file)]
			self._check([*command, "-c"])
		with self._log.open("wb") as log:
			self._process = subprocess.Popen(command, stdout=log, stderr=log)
		until(lambda: accepts(self.port), f"{program} listens")

	@staticmethod
	def _check(command: list[str]) -> None:
		done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
		assert done.returncode == 0, done.stderr
		assert "WARNING" not in done.stderr, done.stderr

	def close(self) -> None:
		"""Stop."""
		self._process.terminate()
		self._process.wait(PATIENCE)


class Fleet:
	"""A bench with two sidecars behind a proxy.

	Args:
		bench: The bench with the first sidecar.
		second: The other sidecar.
		proxy: The proxy.
	"""

	def __init__(self, bench: Bench, second: Sidecar, proxy: Proxy) -> None:
		self.bench = bench
		self.proxy = proxy
		self.sidecars = (bench.sidecar, second)
		self.public: Bench = copy.copy(bench)
		"""The bench as its clients see it: at the address of the proxy."""
		sidecar: Any = SimpleNamespace(port=proxy.port, url=f"http://{SITE}:{proxy.port}")
		self.public.sidecar = sidecar

	def connections(self) -> list[int]:
		"""Return how many connections each sidecar has; -1 for one that has ended."""
		return [one.health()[1]["connections"] if one.alive else -1 for one in self.sidecars]


@pytest.fixture(params=["nginx", "haproxy"])
def program(request: pytest.FixtureRequest) -> str:
	"""The name of a proxy that is installed."""
	name = str(request.param)
	if not {"nginx": NGINX, "haproxy": HAPROXY}[name]:
		pytest.skip(f"{name} is not installed (Debian: apt-get install {name})")
	return name


@pytest.fixture
def fleet(program: str, make_bench: MakeBench, tmp_path: Path) -> Iterator[Fleet]:
	"""Start two sidecars and a proxy."""
	bench = make_bench(common={"socketio_workers": COUNT}, persist=True)
	bench.add_site(SITE, ["frappe", "frappe_realtime"])
	second = Sidecar(bench.folder, tmp_path / "second.log")
	second.start()
	other = copy.copy(bench)
	other.sidecar = second
	for one in (bench, other):
		workers(one, COUNT)
	proxy = Proxy(program, tmp_path, (bench.sidecar.port, second.port), bench.web_port)
	yield Fleet(bench, second, proxy)
	proxy.close()
	second.close()
	second.check_log()


def test_clients_of_each_transport_and_the_loss_of_a_host(fleet: Fleet, connect_node: ConnectNode) -> None:
	"""Each request of a client that polls reaches any worker of any host; when a host ends, its clients go to the other."""
	publisher = Publisher(fleet.bench.valkey.url)
	clients = [
		connect_node(
			fleet.public,
			nodejs.NEW,
			fleet.bench.user(SITE),
			SITE,
			transports=transports,
		)
		for transports in (POLLING, WEBSOCKET, BOTH)
		for _ in range(2)
	]
	publisher.publish("news", 1, site=SITE)
	for client in clients:
		assert client.next("news") == (1,)
		until(lambda client=client: client.state()["connected"], "a connection")  # type: ignore[misc]
	count = len(clients)
	until(lambda: sum(fleet.connections()) == count, "all clients")
	assert all(one.health()[1]["clients_without_address"] == 0 for one in fleet.sidecars)

	fleet.sidecars[0].stop()
	publisher.publish("news", 2, site=SITE)
	for client in clients:
		assert client.next("news") == (2,)
	until(lambda: fleet.connections() == [-1, count], "all clients at the other host")


def test_pages_reach_the_web_process_with_their_site(fleet: Fleet) -> None:
	request = urllib.request.Request(
		f"http://127.0.0.1:{fleet.proxy.port}/api/method/ping", headers={"Host": SITE}
	)
	with urllib.request.urlopen(request, timeout=30) as answer:
		assert b"pong" in answer.read()


def test_a_page_of_another_origin_is_refused(fleet: Fleet, connect_node: ConnectNode) -> None:
	"""The proxy passes the Origin on as it is."""
	with pytest.raises(Refused, match="Invalid origin"):
		connect_node(fleet.public, nodejs.NEW, site=SITE, headers={"Origin": "http://evil.example"})
