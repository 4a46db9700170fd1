"""Cases of connections: start, connects, memory, and all clients back at once."""

from __future__ import annotations

import statistics

from benchmarks.cases.common import Figures, Setup, connects, settle


def start(setup: Setup) -> Figures:
	"""Measure the CPU until the server listens, and the memory that it has then."""
	with setup.server() as server:
		cpu = server.start_cpu * 1e3
		settle(server)
		return {"start_cpu_ms": cpu, "start_mb": server.memory() / 1e6}


def connect(setup: Setup) -> Figures:
	"""Measure WebSocket connects with authentication, and the memory of the idle connections, in three rooms each."""
	count = setup.scale.connects
	with setup.warm_server() as (server, load):
		before = server.memory()
		cost, rate = connects(server, count, load.connect)
		memory = (server.memory() - before) / count / 1024
		return {"connect_us": cost, "connects_per_second": rate, "connection_kb": memory}


def polling(setup: Setup) -> Figures:
	"""Measure connects by long-polling that are followed by the upgrade to WebSocket."""
	if not setup.column.has_polling:
		return {}
	with setup.warm_server() as (server, load):
		cost, rate = connects(server, setup.scale.polling, load.connect_polling)
		return {"polling_connect_us": cost, "polling_connects_per_second": rate}


def reconnect(setup: Setup) -> Figures:
	"""Measure all clients back at once, as after a restart of the reverse proxy; with the app they recover their sessions."""
	count = setup.scale.connects
	costs: list[float] = []
	seconds: list[float] = []
	memory: list[float] = []
	with setup.warm_server() as (server, load):
		load.connect(count)
		settle(server)
		for _ in range(setup.scale.waves):
			load.drop()
			settle(server)
			cost, rate = connects(server, count, lambda count: load.connect(count, window=count))
			load.check_recovered(count if setup.column.has_app else 0)
			costs.append(cost)
			seconds.append(count / rate)
			memory.append(server.memory())
	return {
		"reconnect_us": statistics.median(costs),
		"reconnect_seconds": statistics.median(seconds),
		"reconnect_growth_percent": (memory[-1] / memory[0] - 1) * 100,
	}
