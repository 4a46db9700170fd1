"""python -m benchmarks.partition [--clients 2] [--seconds 30] [--rate 20]

Three hosts with a sidecar of two workers each, in network namespaces; Redis, the web process and nginx are in a fourth one. On each host
and behind nginx, which knows no sessions, are so many clients of each kind (WebSocket, polling, both), all with one
document open and in one place. One host is separated from the others, and joined again.

Meanwhile some clients on both sides leave without a word. Checked is that each client that stays receives each event once and in
order, and that the viewers of the document and the members of the place are the right ones again; the exit code is 1 if not.
Needs root, iproute2, nginx, and the packages of script/test wire.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from tests.wire.clients import BOTH, POLLING, WEBSOCKET
from tests.wire.nodejs import NEW
from tests.wire.separate_hosts import (
	HOSTS,
	SEPARATED,
	Audience,
	SeparateHosts,
	missing,
	separate_hosts,
)

PINGS: dict[str, object] = {"realtime_ping_interval": 5, "realtime_ping_timeout": 5}
"""So that the clients behind nginx notice within the partition that their host is gone."""

KINDS = (WEBSOCKET, POLLING, BOTH)


class Run:
	"""One partition.

	Args:
		hosts: The hosts.
		options: The arguments of the command.
	"""

	def __init__(self, hosts: SeparateHosts, options: argparse.Namespace) -> None:
		self._hosts = hosts
		self._options = options
		self._audience = Audience(hosts, NEW, pause=1 / options.rate)

	def run(self) -> None:
		"""Separate a host and join it again; raises AssertionError if something is not as it has to be."""
		audience, options = self._audience, self._options
		there: list[str] = []
		here: list[str] = []
		for host in (*range(HOSTS), None):
			users = [audience.add(host, transports) for transports in KINDS for _ in range(options.clients)]
			(there if host == SEPARATED else here).extend(users)
		leave = [here.pop(0), there.pop(0)]
		self._wait("all see all", [*here, *there], [*here, *there, *leave])

		began = time.monotonic()
		self._hosts.network.partition(SEPARATED)
		audience.remove(*leave)
		self._wait("the others see nobody of the separated host", here, here)
		audience.until(lambda: self._hosts.is_alone(SEPARATED), "the separated host notices it")
		audience.until(lambda: time.monotonic() >= began + options.seconds, "the end of the partition")
		print(f"separated for {time.monotonic() - began:.0f} s", flush=True)
		self._hosts.network.heal(SEPARATED)
		self._wait("all see all who have stayed", [*here, *there], [*here, *there])
		events = audience.check_events()
		self._wait("and at the end", [*here, *there], [*here, *there])
		counted = events * len(audience.present)
		print(
			f"{events} events to {len(audience.present)} clients: {counted} deliveries, each once, in order"
		)

	def _wait(self, what: str, by: list[str], users: list[str]) -> None:
		began = time.monotonic()
		self._audience.wait_until_seen(by, users)
		print(f"{what}: {time.monotonic() - began:.1f} s", flush=True)

	def close(self) -> None:
		"""End the clients."""
		self._audience.close()


def main() -> None:
	parser = argparse.ArgumentParser(
		prog="python -m benchmarks.partition",
		description=__doc__,
		formatter_class=argparse.RawDescriptionHelpFormatter,
	)
	parser.add_argument("--clients", type=int, default=2, help="of each kind, on each host and behind nginx")
	parser.add_argument("--seconds", type=float, default=30)
	parser.add_argument("--rate", type=float, default=20, help="events a second at most")
	options = parser.parse_args()
	if reason := missing():
		sys.exit(reason)
	failure = ""
	with tempfile.TemporaryDirectory() as folder, separate_hosts(Path(folder), PINGS) as hosts:
		run = Run(hosts, options)
		try:
			run.run()
		except AssertionError as error:
			failure = str(error)
		finally:
			run.close()
	print(f"WRONG: {failure}" if failure else "right")
	sys.exit(bool(failure))


if __name__ == "__main__":
	main()
