"""python -m benchmarks.presence [--clients 300] [--places 10] [--sidecars 3] [--seconds 120] [--kill] [--seed N]

Clients are present in documents, through several sidecars. They move (a cursor), type (a key with a time to live), lose their
connection and recover through another sidecar, and go and come back as new members. With `--kill`, one sidecar is killed and
started again: members that have left through it in its last second are seen until it is found dead, if it had not published that. Every half
second, what each client sees of each member that has not changed for two seconds is compared with the truth.

The exit code is 0 if no client has seen anything else than the truth, or a state after a later one, and no client has got more
messages than one for each place and 100 ms. Printed are the counts, and the CPU time of the sidecars.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from websockets.exceptions import ConnectionClosed, WebSocketException

from benchmarks.delivery.parts import OURS, SITE, Redis, Server, end, web_process
from benchmarks.recovering import RecoveringClient
from benchmarks.servers import cpu_of
from frappe_realtime.contract.presence import PRESENCE, PRESENCE_JOIN, PRESENCE_SET, PRESENCE_SYNC

SETTLE = 2.0
"""Seconds after a change in which it has to be seen."""

TYPING_SECONDS = 1.0
"""The time to live of the key `typing`."""

INTERVAL = 0.1
"""`realtime_presence_interval`."""

LONGEST_LOSS = 3.0
"""Seconds without a connection after which a member is not compared; `realtime_presence_grace_seconds` is 5."""

UNPUBLISHED = 1.0
"""Seconds before a sidecar is killed of which it may not have published all changes."""

DEAD = 10.0
"""Seconds after which the members of a sidecar that was killed are gone."""

MAX_LAG = 0.3
"""Seconds by which this program may be late, before what has arrived meanwhile is read first."""


class Member:
	"""One client, what it says about itself, and what it sees of the others.

	Args:
		number: Its number.
		place: Its place.
		ports: The ports of the sidecars.
	"""

	def __init__(self, number: int, place: str, ports: list[int]) -> None:
		self.place = place
		self.state: dict[str, Any] = {}
		self.typing_until = 0.0
		self.present = False
		"""Whether the others have to see it."""
		self.changed = time.monotonic()
		"""When this, or its state, has changed last."""
		self.lost_at = 0.0
		"""When its connection was lost; 0 while it is connected."""
		self.port = 0
		"""The port of the sidecar that it has connected to last."""
		self.seen_since = 0.0
		"""When its own roster became complete; 0 while it is not connected."""
		self.roster: dict[str, dict[str, Any]] = {}
		self.counts: Counter[str] = Counter()
		self.connected_seconds = 0.0
		self._client = RecoveringClient(SITE, f"session-{number}")
		self._ports = ports
		self._versions: dict[str, int] = {}
		self._ids: list[str] = []

	@property
	def id(self) -> str:
		"""Its id."""
		return self._client.id

	@property
	def ids(self) -> list[str]:
		"""All ids that it has had."""
		return self._ids

	def truth(self, now: float) -> dict[str, Any] | None:
		"""Return the state that the others have to see; None if they must not see it."""
		if not self.present:
			return None
		return {**self.state, **({"typing": True} if now < self.typing_until else {})}

	def is_stable(self, now: float) -> bool:
		"""Return True if its last change is so long ago that everybody has to have seen it."""
		if self.lost_at and now - self.lost_at > LONGEST_LOSS:
			# Its grace may be over before it is back.
			return False
		ends = (self.changed, self.typing_until if self.typing_until <= now else 0.0)
		return now - max(ends) > SETTLE

	# -- what it does

	async def run(self, until: float, randoms: random.Random) -> None:
		"""Live until a time, then disconnect."""
		while time.monotonic() < until:
			try:
				await self._connect(randoms)
				await self._live(until, randoms)
			except (OSError, WebSocketException, asyncio.TimeoutError):
				# The sidecar is gone, or the connection was refused while it starts.
				# What it has sent last may be lost: it is sent again with the next join.
				self.seen_since, self.changed = 0.0, time.monotonic()
				self.lost_at = self.lost_at or self.changed
				self.counts["lost"] += 1
				await asyncio.sleep(randoms.uniform(0.1, 0.3))

	async def _connect(self, randoms: random.Random) -> None:
		self.port = randoms.choice(self._ports)
		recovered = await self._client.connect(self.port)
		self.counts["recovered" if recovered else "new sessions"] += 1
		if not self._ids or self._ids[-1] != self.id:
			self._ids.append(self.id)
		await self._client.emit(PRESENCE_JOIN, self.place, {"typing": None, **self.state}, ack=0)
		self.present, self.changed, self.lost_at = True, time.monotonic(), 0.0
		self._reading = asyncio.create_task(self._read())

	async def _live(self, until: float, randoms: random.Random) -> None:
		began = time.monotonic()
		end_of_life = min(until, began + randoms.expovariate(1 / 12))
		try:
			while time.monotonic() < end_of_life:
				done, _ = await asyncio.wait([self._reading], timeout=randoms.uniform(0.1, 4))
				if done:
					self._reading.result()
					raise ConnectionClosed(None, None)
				await self._change(randoms)
		finally:
			self.connected_seconds += time.monotonic() - began
			self._reading.cancel()
		self.seen_since = 0.0
		if time.monotonic() >= until or randoms.random() < 0.3:
			# It goes, and comes back as a new member.
			await self._client.leave()
			self.present, self.changed, self.typing_until = False, time.monotonic(), 0.0
			self.lost_at = 0.0
			self.counts["left"] += 1
			await asyncio.sleep(0 if time.monotonic() >= until else randoms.uniform(3, 6))
		else:
			# A reset, as of a broken network; the client recovers, maybe through another sidecar.
			self._client.drop()
			self.lost_at = time.monotonic()
			self.counts["dropped"] += 1
			await asyncio.sleep(randoms.uniform(0.2, 1.5))

	async def _change(self, randoms: random.Random) -> None:
		now = time.monotonic()
		if randoms.random() < 0.2:
			message: list[Any] = [PRESENCE_SET, self.place, {"typing": True}, TYPING_SECONDS]
			self.typing_until = now + TYPING_SECONDS
		else:
			self.state = {"x": randoms.randrange(1000), "y": randoms.randrange(1000)}
			message = [PRESENCE_SET, self.place, self.state]
		self.changed = now
		self.counts["changes"] += 1
		await self._client.emit(*message)

	# -- what it sees

	async def _read(self) -> None:
		async for event, *arguments in self._client.received():
			if not event and "error" in arguments[0]:
				raise RuntimeError(arguments[0])
			if event in ("", PRESENCE_SYNC):
				self._sync(arguments[0])
			elif event == PRESENCE:
				self._apply(arguments[0])

	def _sync(self, answer: dict[str, Any]) -> None:
		before, self.roster = self.roster, {}
		for member in [*answer["members"], answer["me"]]:
			known = before.get(member["id"])
			# As realtime.js does: a sidecar that was killed may have shown a state that no other has heard of.
			kept = known if known is not None and known["version"] > member["version"] else dict(member)
			self.roster[member["id"]] = kept
			self._note_version(member["id"], kept["version"])
		self.seen_since = time.monotonic()

	def _apply(self, message: dict[str, Any]) -> None:
		self.counts["messages"] += 1
		for id in message.get("leaves", ()):
			self.roster.pop(id, None)
		for member in message.get("joins", ()):
			self._note_version(member["id"], member["version"])
			self.roster[member["id"]] = dict(member)
		for update in message.get("updates", ()):
			self._note_version(update["id"], update["version"])
			member = self.roster[update["id"]]
			state = {**member["state"], **update["state"]}
			member["state"] = {key: value for key, value in state.items() if value is not None}
			member["version"] = update["version"]

	def _note_version(self, id: str, version: int) -> None:
		self.counts["went back"] += version < self._versions.get(id, 0)
		self._versions[id] = version


def differences(members: list[Member], unknown: set[str]) -> tuple[int, list[str]]:
	"""Compare what all stable observers see of all stable members with the truth, except those with an id in `unknown`.

	Returns:
		How much was compared, and the differences.
	"""
	now = time.monotonic()
	by_place: dict[str, list[Member]] = {}
	for member in members:
		by_place.setdefault(member.place, []).append(member)
	compared, found = 0, []
	for place, present in by_place.items():
		stable = [
			member
			for member in present
			if member.id and member.is_stable(now) and (member.present or member.id not in unknown)
		]
		for observer in present:
			if not observer.seen_since or now - observer.seen_since <= SETTLE:
				continue
			for member in stable:
				compared += 1
				seen = observer.roster.get(member.id)
				state = None if seen is None else seen["state"]
				if state != member.truth(now):
					found.append(
						f"{place}: {member.id} is {member.truth(now)}, seen as {state} by {observer.id}"
					)
				for old in member.ids[:-1]:
					if old in observer.roster and old not in unknown:
						found.append(f"{place}: {old}, which has gone, is seen by {observer.id}")
	return compared, found


async def run(options: argparse.Namespace, servers: list[Server]) -> int:
	"""Run the clients, print the result, and return the exit code."""
	randoms = random.Random(options.seed)
	ports = [server.port for server in servers]
	members = [
		Member(number, f"doc:ToDo/{number % options.places}", ports) for number in range(options.clients)
	]
	began = time.monotonic()
	until = began + options.seconds
	pids = [server.process.pid for server in servers if server.process]
	cpu = [cpu_of(pid) for pid in pids]
	tasks = [asyncio.create_task(member.run(until, random.Random(randoms.random()))) for member in members]
	compared, found = 0, []
	killed_at = 0.0
	unknown: set[str] = set()
	try:
		late = 0.0
		while (asked := time.monotonic()) < until - 0.5:
			await asyncio.sleep(0.5)
			if time.monotonic() - asked > 0.5 + MAX_LAG:
				late = time.monotonic()
			if options.kill and not killed_at and time.monotonic() > began + options.seconds / 3:
				killed_at = time.monotonic()
				unknown = {
					member.id
					for member in members
					if member.port == servers[-1].port and killed_at - member.changed < UNPUBLISHED
				}
				await servers[-1].restart(force=True)
			if killed_at and time.monotonic() > killed_at + DEAD + SETTLE:
				unknown.clear()
			if time.monotonic() - late > SETTLE:
				count, wrong = differences(members, unknown)
				compared += count
				found += wrong
			for task in tasks:
				if task.done():
					task.result()
	finally:
		for task in tasks:
			task.cancel()
		await asyncio.gather(*tasks, return_exceptions=True)
	seconds = time.monotonic() - began
	counts = sum((member.counts for member in members), Counter())
	# A client gets one message more at most for each time that it connects.
	over = sum(
		member.counts["messages"]
		> member.connected_seconds / INTERVAL + member.counts["recovered"] + member.counts["new sessions"] + 1
		for member in members
	)
	print(
		f"{options.clients} clients in {options.places} places, {options.sidecars} sidecars, {seconds:.0f} s"
	)
	for name in ("changes", "dropped", "recovered", "new sessions", "left", "lost", "messages", "went back"):
		print(f"{name:14} {counts[name]}")
	bound = sum(member.connected_seconds for member in members) / INTERVAL
	print(f"messages/bound {counts['messages'] / bound:.2f}; clients above the bound: {over}")
	print(f"compared       {compared}, different: {len(found)}")
	for server, pid, before in zip(servers, pids, cpu, strict=True):
		if server.process is not None and server.process.pid == pid:
			print(f"CPU            {(cpu_of(pid) - before) / seconds:.1%} of a core, on port {server.port}")
	for line in found[:10]:
		print(line)
	return int(bool(found or over or counts["went back"] or not compared))


def main() -> None:
	parser = argparse.ArgumentParser(
		prog="python -m benchmarks.presence",
		description=__doc__,
		formatter_class=argparse.RawDescriptionHelpFormatter,
	)
	parser.add_argument("--clients", type=int, default=300)
	parser.add_argument("--places", type=int, default=10)
	parser.add_argument("--sidecars", type=int, default=3)
	parser.add_argument("--seconds", type=float, default=120)
	parser.add_argument("--kill", action="store_true", help="kill one sidecar after a third of the time")
	parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 30))
	options = parser.parse_args()
	print(f"seed {options.seed}")
	with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
		redis = Redis(Path(folder) / "redis")
		redis.start()
		stack.callback(redis.close)
		web, web_port = web_process(options.clients, redis)
		stack.callback(end, web)
		servers = []
		for number in range(options.sidecars):
			server = Server(OURS, Path(folder) / str(number), redis, web_port)
			server.start()
			stack.callback(server.close)
			servers.append(server)
		for server in servers:
			server.wait()
		code = asyncio.run(run(options, servers))
	sys.exit(code)


if __name__ == "__main__":
	main()
