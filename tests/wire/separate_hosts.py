"""Three hosts of one bench, each in a network namespace of its own, and clients on each of them and between them."""

from __future__ import annotations

import contextlib
import copy
import json
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from realtime.demo.model import User
from tests.wire import network, nodejs
from tests.wire.background import Background
from tests.wire.bench import APP_SITE, Bench
from tests.wire.conditions import repeat_until, until
from tests.wire.nginx import NGINX, Nginx
from tests.wire.nodejs import NodeClient
from tests.wire.presence import Watcher
from tests.wire.publisher import Publisher
from tests.wire.sidecar import Sidecar
from tests.wire.test_doc_viewers import viewers

HOSTS = 3
WORKERS = 2

SEPARATED = 2
"""The host that is separated."""

OTHERS = (0, 1)


def missing() -> str:
	"""Return the reason why the hosts cannot run here; empty if they can."""
	return network.missing() or nodejs.missing() or ("" if NGINX else "nginx is not installed")


class SeparateHosts:
	"""Three hosts with a sidecar each. Redis, the web process and nginx are in the middle; nginx spreads requests over all hosts.

	Must be created and used in the middle of the network.

	Args:
		net: The network.
		folder: An empty folder.
		common: More keys of common_site_config.json.
	"""

	def __init__(self, net: network.Network, folder: Path, common: dict[str, object]) -> None:
		self.network = net
		self.background = Background()
		self.bench = Bench(
			self.background,
			folder,
			persist=True,
			common={"socketio_workers": WORKERS, "webserver_host": network.MIDDLE_ADDRESS, **common},
			host=network.MIDDLE_ADDRESS,
		)
		port = self.bench.sidecar.port
		# Without an address to listen on: the others learn it from the way to Redis, as on hosts that nobody has configured.
		self.sidecars = [
			Sidecar(self.bench.folder, folder / f"host-{number}.log", port=port, host=address)
			for number, address in enumerate(net.addresses)
		]
		(folder / "nginx").mkdir()
		self._nginx_folder = folder / "nginx"
		self._nginx: Nginx | None = None

	def start(self) -> SeparateHosts:
		"""Start all processes, and wait until all of them know each other."""
		self.bench.valkey.start()
		self.bench.start_web()
		for number, sidecar in enumerate(self.sidecars):
			with self.network.host(number):
				sidecar.start()
		self.wait_until_known(range(HOSTS))
		self._nginx = Nginx(
			self._nginx_folder,
			self.bench.sidecar.port,
			APP_SITE,
			hosts=tuple(self.network.addresses),
			addresses=("127.0.0.1",),
		)
		# A host that is separated refuses no connection: without this, a request waits until the kernel finds that out.
		self._nginx.write(more="proxy_connect_timeout 1s;")
		self._nginx.reload()
		return self

	def health(self, number: int) -> dict[str, object]:
		"""Return `/health` of a host, as a process on this host sees it; empty if it does not answer."""
		with self.network.host(number), contextlib.suppress(OSError, json.JSONDecodeError):
			return self.sidecars[number].health()[1]
		return {}

	def wait_until_known(self, numbers: range | tuple[int, ...]) -> None:
		"""Wait until these hosts know all workers of each other, and no others."""
		for number in numbers:
			until(lambda number=number: self._knows(number, len(numbers) - 1), f"{len(numbers)} hosts")  # type: ignore[misc]

	def _knows(self, number: int, others: int) -> bool:
		health = self.health(number)
		workers, sidecars = health.get("workers"), health.get("sidecars")
		return (
			isinstance(workers, list)
			and isinstance(sidecars, list)
			and sum(bool(one["subscribed"]) for one in workers) == WORKERS
			and len(sidecars) == others * WORKERS
		)

	def is_alone(self, number: int) -> bool:
		"""Return whether all workers of a host have noticed that they have lost Redis."""
		workers = self.health(number).get("workers")
		return isinstance(workers, list) and not any(one["subscribed"] for one in workers)

	def client(self, number: int, version: str, user: User, transports: tuple[str, ...]) -> NodeClient:
		"""Start a client on a host, which connects to the sidecar of that host."""
		with self.network.host(number):
			return self._client(self.sidecars[number].url, version, user, transports)

	def traveller(self, version: str, user: User, transports: tuple[str, ...]) -> NodeClient:
		"""Start a client in the middle, whose requests nginx spreads over all hosts."""
		assert self._nginx
		return self._client(self._nginx.url, version, user, transports)

	def _client(self, url: str, version: str, user: User, transports: tuple[str, ...]) -> NodeClient:
		return NodeClient(version, f"{url}/{APP_SITE}", self.bench.headers(user), transports, {})

	def close(self) -> None:
		"""Stop all processes."""
		with contextlib.ExitStack() as stack:
			stack.callback(self.background.close)
			stack.callback(self.bench.close)
			for sidecar in self.sidecars:
				stack.callback(sidecar.close)
			if self._nginx is not None:
				stack.callback(self._nginx.close)

	def check_logs(self) -> None:
		"""Fail if a log has a traceback."""
		for sidecar in self.sidecars:
			sidecar.check_log()

	def at(self, number: int) -> Bench:
		"""Return the bench with clients in the middle that connect to one of the hosts."""
		bench = copy.copy(self.bench)
		bench.sidecar = self.sidecars[number]
		return bench


@contextlib.contextmanager
def separate_hosts(folder: Path, common: dict[str, object]) -> Iterator[SeparateHosts]:
	"""Start three hosts, and put this thread into the middle of their network."""
	with contextlib.closing(network.Network(HOSTS)) as net, net.middle():
		with contextlib.closing(SeparateHosts(net, folder, common)) as hosts:
			yield hosts.start()
		hosts.check_logs()


class Audience:
	"""Clients that all have one document open and are in one place, and the events that are published for them.

	Args:
		hosts: The hosts.
		version: The module name of the clients.
		patience: Seconds after which something has not happened.
		pause: Seconds between two events at least.
	"""

	def __init__(
		self, hosts: SeparateHosts, version: str, patience: float = 90.0, pause: float = 0.02
	) -> None:
		self._hosts = hosts
		self._version = version
		self._patience = patience
		self._pause = pause
		self._next = 0.0
		self.document = hosts.bench.document()
		self.present: dict[str, NodeClient] = {}
		"""The clients that are there, by the names of their users."""
		self._watchers: dict[str, Watcher] = {}
		self._publisher = Publisher(hosts.bench.valkey.url)
		self._published: list[int] = []

	def add(self, host: int | None, transports: tuple[str, ...]) -> str:
		"""Add a client on a host, or for None one in the middle; return the name of its user."""
		user = self._hosts.bench.user()
		if host is None:
			client = self._hosts.traveller(self._version, user, transports)
		else:
			client = self._hosts.client(host, self._version, user, transports)
		self.present[user.name] = client
		client.connect()
		client.emit("doc_open", "ToDo", self.document)
		self._watchers[user.name] = Watcher(client, f"doc:ToDo/{self.document}")
		return user.name

	def remove(self, *users: str) -> None:
		"""End clients without a word."""
		for user in users:
			self.present.pop(user).close()
			del self._watchers[user]

	def publish(self) -> None:
		"""Publish one event for all clients."""
		self._published.append(len(self._published))
		self._publisher.publish("count", self._published[-1])

	def until(self, condition: Callable[[], object], what: str) -> None:
		"""Publish until `condition` is true."""

		def publish() -> None:
			if time.monotonic() >= self._next:
				self._next = time.monotonic() + self._pause
				self.publish()

		repeat_until(publish, condition, what, self._patience)

	def wait_until_seen(self, by: list[str], users: list[str]) -> None:
		"""Publish until these users, and nobody else, are the viewers and the members of the place for the clients of `by`."""
		wanted = sorted(users)
		for one in by:
			client, watcher = self.present[one], self._watchers[one]
			self.until(partial(self._sees, client, watcher, wanted), f"viewers and members at {one}")

	def _sees(self, client: NodeClient, watcher: Watcher, users: list[str]) -> bool:
		return viewers(client, self.document) == users == watcher.roster.users()

	def check_events(self) -> int:
		"""Fail unless each client has received each event once, in order; return the number of events."""
		self._publisher.flush()
		for client in self.present.values():
			until(lambda client=client: len(client.all("count")) >= len(self._published), "all events")  # type: ignore[misc]
			self._fence(client)
			assert [args[0] for args in client.all("count")] == self._published
		return len(self._published)

	def _fence(self, client: NodeClient) -> None:
		"""Wait until a client has received what the server had for it.

		Links between sidecars can end some seconds after the network is whole again. A connection that ends with one takes
		the ping or its pong with it, so each connection sends a ping of its own.
		"""
		before, pinged = len(client.all("pong")), 0

		def answered() -> bool:
			nonlocal pinged
			if (connections := client.connections) > pinged:
				pinged = connections
				client.emit("ping")
			return len(client.all("pong")) > before

		until(answered, lambda: f"pong; output: {client.lines!r:.500}")

	def close(self) -> None:
		"""End all clients."""
		for client in self.present.values():
			client.close()
