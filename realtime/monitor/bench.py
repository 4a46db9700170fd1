"""The state of a site on all sidecars of the bench: asks the other processes, and merges their parts with this one's."""

from __future__ import annotations

import asyncio
from time import time
from typing import Any

from ..cluster.adapter import ClusterAdapter
from . import merge
from .lookups import Lookups
from .peers import PeerQuestions
from .process import Part, ProcessMonitor
from .sampler import SAMPLE_INTERVAL

INTERVAL = 2.0
"""Seconds between two snapshots."""

ANSWER_TIMEOUT = 1.0
"""Seconds that the other processes have for an answer."""

FORGET_SECONDS = 10.0
"""Seconds after which a process that does not answer is left out."""

SITE, BENCH, HISTORY, ROOM, USER, DISCONNECT = "site", "bench", "history", "room", "user", "disconnect"
"""The methods of requests between processes."""


class BenchMonitor:
	"""Answers for the whole bench.

	Args:
		process: Describes this process.
		lookups: Answers about rooms and users in this process.
		cluster: The other processes.
	"""

	def __init__(self, process: ProcessMonitor, lookups: Lookups, cluster: ClusterAdapter) -> None:
		self._process = process
		self._lookups = lookups
		self._peers = PeerQuestions(cluster, self._answer)
		self._last_parts: dict[tuple[str, str], tuple[float, Part]] = {}
		"""For each site and peer, the last part and when it came (time of the loop)."""

	async def snapshot(self, site: str) -> dict[str, Any]:
		"""Return the snapshot of a site.

		A process that has not answered in time is included with its last part, its `redis` says since when it does not
		answer; after `FORGET_SECONDS` it is left out.
		"""
		answers = await self._peers.ask(SITE, {"site": site}, ANSWER_TIMEOUT)
		now = asyncio.get_running_loop().time()
		for peer, part in answers.items():
			if _is_part(part):
				self._last_parts[site, peer] = (now, part)
		parts = [self._process.site_part(site)]
		peers = self._peers.peers
		for (of, peer), (answered, part) in list(self._last_parts.items()):
			if now - answered >= FORGET_SECONDS or peer not in peers:
				del self._last_parts[of, peer]
			elif of == site:
				parts.append(part if answered == now else _silent(part, now - answered))
		return merge.snapshot(site, parts, time(), INTERVAL)

	async def history(self, site: str) -> dict[str, Any]:
		"""Return the samples of a site, as in the acknowledgement of `MONITOR`."""
		answers = await self._peers.ask(HISTORY, {"site": site}, ANSWER_TIMEOUT)
		parts = [self._process.history(site), *(one for one in answers.values() if isinstance(one, list))]
		return {"interval": SAMPLE_INTERVAL, "fields": merge.HISTORY_FIELDS, "samples": merge.history(parts)}

	async def room(self, site: str, room: str) -> dict[str, Any]:
		"""Return `{"members": [{"user", "sockets"}, …]}`."""
		answers = await self._peers.ask(ROOM, {"site": site, "room": room}, ANSWER_TIMEOUT)
		return {"members": merge.members([self._lookups.room(site, room), *answers.values()])}

	async def user(self, site: str, user: str) -> dict[str, Any]:
		"""Return `{"sockets": [{"id", "since", …}, …]}` of a user, the newest first."""
		answers = await self._peers.ask(USER, {"site": site, "user": user}, ANSWER_TIMEOUT)
		sockets = [*self._lookups.user(site, user)]
		for answer in answers.values():
			sockets += answer
		return {"sockets": sorted(sockets, key=lambda socket: -socket["since"])}

	async def disconnect(self, site: str, user: str) -> dict[str, Any]:
		"""End the sockets of a user in all processes, and return `{"sockets": number}`.

		The other processes are asked first, because the socket that asks may be one of those that end.
		"""
		answers = await self._peers.ask(DISCONNECT, {"site": site, "user": user}, ANSWER_TIMEOUT)
		return {"sockets": self._lookups.disconnect(site, user) + sum(answers.values())}

	def _answer(self, method: str, arguments: dict[str, Any]) -> Any:
		"""Answer another process."""
		if method == BENCH:
			return self._process.bench_part()
		site = _text(arguments["site"])
		if method == SITE:
			return self._process.site_part(site)
		if method == HISTORY:
			return self._process.history(site)
		if method == ROOM:
			return self._lookups.room(site, _text(arguments["room"]))
		if method == USER:
			return self._lookups.user(site, _text(arguments["user"]))
		if method == DISCONNECT:
			return self._lookups.disconnect(site, _text(arguments["user"]))
		raise ValueError("unknown method")


def _is_part(answer: Any) -> bool:
	return isinstance(answer, dict) and {"process", "latency", "sites", "incidents"} <= answer.keys()


def _silent(part: Part, seconds: float) -> Part:
	"""Return the last part of a process that did not answer; its rates are those of that time."""
	process = {**part["process"], "redis": f"this process has not answered for {seconds:.0f} s"}
	return {**part, "process": process}


def _text(value: Any) -> str:
	if not isinstance(value, str):
		raise TypeError("not a string")
	return value
