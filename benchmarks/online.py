"""python -m benchmarks.online [--clients 200] [--workers 3] [--seconds 120] [--seed N]

Users connect to one sidecar with several workers. They lose their connection and return within the grace, lose it and stay away
for longer, and go and come back. After a third of the time one worker is killed, after two thirds another one. Twice a second, who is
online is compared with the truth; and what the hooks of apps are told is compared with every absence.

The exit code is 0 if nobody who was connected, or who came back within the grace, was ever offline, and everybody was offline after
it. The bound is 2 seconds after the grace; for those who go in the moment in which a worker is killed, 2 seconds after the 10
seconds in which a worker is found dead.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import signal
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections import Counter
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Any

from websockets.exceptions import WebSocketException

from benchmarks.delivery.parts import SITE, Redis, start_sidecar
from benchmarks.recovering import RecoveringClient
from benchmarks.servers import free_port
from frappe_realtime.contract.presence import ASK_ONLINE
from frappe_realtime.contract.users import SYSTEM_USER
from frappe_realtime.errors import SidecarUnavailable
from frappe_realtime.publishing.connection import queue_connector
from frappe_realtime.publishing.questions import ask_sidecars
from realtime.demo.web_process import FakeWebProcess

GRACE = 5.0
"""`realtime_presence_grace_seconds`."""

DEAD = 10.0
"""Seconds after which the users of a worker that was killed are gone."""

SETTLE = 2.0
"""Seconds within which a change has to be seen."""

MARGIN = 0.5
"""Seconds by which the two sides may measure the beginning of an absence differently."""

REPORT = 3.0
"""Seconds within which the hooks are told: the reports are a second apart."""

REPORTER_DEAD = 32.0
"""Seconds after which another worker reports, if the one that did was killed."""

STARTED = 10.0
"""Seconds from the beginning of the run after which a worker reports."""

NOTE_INTERVAL = 0.05
"""Seconds between two reads of the calls of hooks. A question about who is online may take longer than that."""

MAX_LAG = 0.3
"""Seconds that an answer may take; what is asked during a longer one is not compared."""


@dataclass(slots=True)
class Absence:
	"""A time in which a user has no connection.

	Args:
		began: When it was lost or closed.
		lost: True if it was lost, so that the user is online for the grace.
		ended: When the user was connected again; 0 while it is not.
		bound: When the user has to be offline at the latest.
	"""

	began: float
	lost: bool
	bound: float
	ended: float = 0.0

	@property
	def may_be_offline_from(self) -> float:
		"""The time from which the user may be offline."""
		return self.began + (GRACE - MARGIN if self.lost else 0.0)

	def allows_offline(self, start: float, end: float) -> bool:
		"""Return True if the user may have been offline at any moment between `start` and `end`."""
		return self.may_be_offline_from <= end and (not self.ended or start <= self.ended + SETTLE)


class User:
	"""A user with one client.

	Args:
		name: The user.
		session: Its session id in Frappe.
		kills: The times at which workers were killed.
	"""

	def __init__(self, name: str, session: str, kills: list[float]) -> None:
		self.name = name
		# Before that a sidecar that has started waits until its clients have had time to reconnect.
		self._reported_from = time.monotonic() + STARTED
		self.absences = [Absence(0.0, False, 0.0)]
		self.reports: list[tuple[float, str]] = []
		"""When the hooks were called, and which."""
		self.counts: Counter[str] = Counter()
		self._client = RecoveringClient(SITE, session)
		self._kills = kills

	@property
	def is_connected(self) -> bool:
		"""Whether it has a connection."""
		return bool(self.absences[-1].ended)

	async def run(self, port: int, until: float, randoms: random.Random) -> None:
		"""Come and go until a time, then go."""
		while time.monotonic() < until:
			try:
				self.counts["recovered" if await self._client.connect(port) else "new sessions"] += 1
			except (OSError, WebSocketException, asyncio.TimeoutError):
				self.counts["refused"] += 1
				await asyncio.sleep(randoms.uniform(0.1, 0.3))
				continue
			self.absences[-1].ended = time.monotonic()
			reading = asyncio.create_task(self._read())
			life = min(randoms.expovariate(1 / 12), until - time.monotonic())
			await asyncio.wait([reading], timeout=max(0.0, life))
			if reading.done():
				# Its worker was killed.
				self._note_absence(lost=True)
				self.counts["cut by a kill"] += 1
				await asyncio.sleep(
					randoms.uniform(0.1, 3) if randoms.random() < 0.7 else randoms.uniform(12, 20)
				)
				continue
			reading.cancel()
			await self._go(until, randoms)
		if self.is_connected:
			self._note_absence(lost=False)
			await self._client.leave()

	async def _read(self) -> None:
		async for _ in self._client.received():
			pass

	async def _go(self, until: float, randoms: random.Random) -> None:
		kind = randoms.random()
		if time.monotonic() >= until:
			return
		self._note_absence(lost=kind > 0.25)
		if kind <= 0.25:
			await self._client.leave()
			self.counts["left"] += 1
			await asyncio.sleep(randoms.uniform(SETTLE + 2, 12))
		elif kind < 0.7:
			self._client.drop()
			self.counts["dropped, back within the grace"] += 1
			await asyncio.sleep(randoms.uniform(0.1, GRACE - 2))
		else:
			self._client.drop()
			self.counts["dropped, away for longer"] += 1
			await asyncio.sleep(randoms.uniform(GRACE + SETTLE + 1, 20))

	def _note_absence(self, lost: bool) -> None:
		now = time.monotonic()
		# The grace of a connection that was lost goes on although the user has come back and gone meanwhile.
		losses = [absence.began + GRACE for absence in self.absences if absence.lost]
		bound = max([now, *losses, now + GRACE if lost else now]) + SETTLE
		self.absences.append(Absence(now, lost, bound))

	def apply_kills(self) -> None:
		"""Give those who were away for the worker that was killed the time in which it is found dead."""
		for absence in self.absences:
			for kill in self._kills:
				# Also of a user who came back through another worker, and went before the killed one was found dead.
				if absence.began < kill + DEAD and kill - MARGIN < absence.bound:
					absence.bound = max(absence.bound, kill + DEAD + SETTLE)

	# -- comparisons

	def must_be(self, now: float) -> str:
		"""Return `online` or `offline`, or an empty text if both are right now."""
		absence = self.absences[-1]
		if absence.ended:
			return "online" if now - absence.ended > SETTLE else self._before(now)
		if now < absence.may_be_offline_from:
			# It may not have been online before.
			before = self.absences[-2] if len(self.absences) > 1 else None
			return "online" if before and absence.began - before.ended > SETTLE else ""
		return "offline" if now > absence.bound else ""

	def _before(self, now: float) -> str:
		"""Return `online` for a user that has just come back, if it has never had to be offline."""
		absence = self.absences[-1]
		came_back = absence.lost and absence.ended < absence.began + GRACE - 2 * MARGIN
		before = self.absences[-2] if len(self.absences) > 1 else None
		return "online" if came_back and before and absence.began - before.ended > SETTLE else ""

	def wrong_reports(self) -> list[str]:
		"""Return what the hooks were told and was not true, and what they were not told."""
		self.apply_kills()
		found = []
		for (_, one), (at, other) in zip([(0.0, "offline"), *self.reports], self.reports, strict=False):
			if one == other:
				found.append(f"{self.name}: reported as {other} twice, at {at:.1f}")
		for at, change in self.reports:
			if change == "offline" and not any(one.allows_offline(at - REPORT, at) for one in self.absences):
				found.append(f"{self.name}: reported as offline at {at:.1f}, while online")
		for number, absence in enumerate(self.absences, 1):
			wanted = [("offline", absence.bound, absence.ended)] if absence.began else []
			if absence.ended and (following := self.absences[number:]):
				# A client that is back within the grace may leave before its end.
				until = min(one.may_be_offline_from for one in following)
				wanted.append(("online", absence.ended + SETTLE, until))
			for change, start, until in wanted:
				due = self._due(start)
				if (not until or until > due) and self._reported_at(due if until else inf) != change:
					found.append(f"{self.name}: {change} since {start:.1f}, and not reported until {due:.1f}")
		return found

	def _due(self, start: float) -> float:
		"""Return until when the hooks have to be told what is so since a time."""
		start = max(start, self._reported_from)
		for kill in self._kills:
			if kill - REPORT < start < kill + REPORTER_DEAD:
				start = kill + REPORTER_DEAD
		return start + REPORT

	def _reported_at(self, now: float) -> str:
		"""Return what the hooks were told last."""
		return next((change for at, change in reversed(self.reports) if at <= now), "offline")


class Reports:
	"""Notes when the hooks of the site are called.

	Args:
		calls: The calls, to which the web process appends.
		users: The users by name.
	"""

	def __init__(self, calls: list[tuple[str, str]], users: dict[str, User]) -> None:
		self._calls = calls
		self._users = users
		self._read = 0

	def note(self) -> None:
		"""Note the calls since the last time."""
		for change, name in self._calls[self._read :]:
			self._users[name].reports.append((time.monotonic(), change))
		self._read = len(self._calls)


def ask(redis: Redis) -> set[str]:
	"""Return who is online."""
	answer = ask_sidecars(queue_connector({"redis_queue": redis.url}), SITE, {"kind": ASK_ONLINE}, 2.0)
	return set(answer)


def differences(users: list[User], asked: float, answered: float, online: set[str]) -> tuple[int, list[str]]:
	"""Compare an answer with the truth; return how many users were compared, and the differences."""
	compared, found = 0, []
	for user in users:
		user.apply_kills()
		wanted = user.must_be(asked)
		if not wanted or wanted != user.must_be(answered):
			continue
		compared += 1
		if (user.name in online) != (wanted == "online"):
			since = asked - (user.absences[-1].ended or user.absences[-1].began)
			found.append(f"{asked:.1f}: {user.name} is not {wanted}; connected or away for {since:.1f} s")
	return compared, found


def worker_pids(port: int) -> list[int]:
	"""Return the process ids of the workers."""
	with urllib.request.urlopen(f"http://127.0.0.1:{port}/health") as response:
		body: dict[str, Any] = json.load(response)
	return [worker["pid"] for worker in body["workers"]]


class Run:
	"""One run.

	Args:
		options: The arguments of the command.
		redis: redis_queue.
	"""

	def __init__(self, options: argparse.Namespace, redis: Redis) -> None:
		self._options = options
		self._redis = redis
		self._randoms = random.Random(options.seed)
		self._kills: list[float] = []
		self._compared = self._late = 0
		self._wrong: list[str] = []
		self._web = FakeWebProcess(redis_url=redis.url)
		site = self._web.add_site(SITE, ["frappe", "frappe_realtime"])
		site.online_hooks = True
		self._users: list[User] = []
		for number in range(options.clients):
			name = f"user{number}@example.com"
			site.add_user(name, name, SYSTEM_USER)
			self._users.append(User(name, site.login(name), self._kills))
		self._reports = Reports(site.users_changed, {user.name: user for user in self._users})

	async def run(self, folder: Path) -> int:
		"""Run it, print the result, and return the exit code."""
		web_port = free_port()
		await self._web.listen(web_port)
		with ExitStack() as stack:
			workers = ("--workers", str(self._options.workers))
			port = start_sidecar(folder, self._redis.url, web_port, stack, *workers)
			await asyncio.to_thread(self._wait_for_workers, port)
			await self._drive(port)
		await self._web.close()
		return self._print()

	def _wait_for_workers(self, port: int) -> None:
		while True:
			# While workers start, the status is 503.
			with suppress(urllib.error.HTTPError):
				if len(worker_pids(port)) == self._options.workers:
					return
			time.sleep(0.1)

	async def _drive(self, port: int) -> None:
		began = time.monotonic()
		until = began + self._options.seconds
		kills = [began + self._options.seconds * part / 3 for part in (1, 2)]
		tasks = [
			asyncio.create_task(user.run(port, until, random.Random(self._randoms.random())))
			for user in self._users
		]
		noting = asyncio.create_task(self._note_reports())
		try:
			while time.monotonic() < until:
				await asyncio.sleep(0.5)
				if kills and time.monotonic() > kills[0]:
					kills.pop(0)
					os.kill(self._randoms.choice(await asyncio.to_thread(worker_pids, port)), signal.SIGKILL)
					self._kills.append(time.monotonic())
				await self._compare()
			await asyncio.gather(*tasks)
			await self._wait_until_all_are_reported()
		finally:
			for task in [*tasks, noting]:
				task.cancel()

	async def _note_reports(self) -> None:
		while True:
			self._reports.note()
			await asyncio.sleep(NOTE_INTERVAL)

	async def _compare(self) -> None:
		asked = time.monotonic()
		try:
			online = await asyncio.to_thread(ask, self._redis)
		except SidecarUnavailable as error:
			self._wrong.append(f"{asked:.1f}: {error}")
			return
		answered = time.monotonic()
		if answered - asked > MAX_LAG:
			self._late += 1
			return
		compared, found = differences(self._users, asked, answered, online)
		self._compared += compared
		self._wrong += found

	async def _wait_until_all_are_reported(self) -> None:
		"""All have gone: wait until the hooks know it, at most for as long as it may take."""
		deadline = time.monotonic() + DEAD + REPORTER_DEAD + REPORT
		while time.monotonic() < deadline:
			await asyncio.sleep(0.2)
			if all(not user.reports or user.reports[-1][1] == "offline" for user in self._users):
				return
		self._wrong.append("the hooks were not told that all have gone")

	def _print(self) -> int:
		options = self._options
		counts = sum((user.counts for user in self._users), Counter())
		reports = [change for user in self._users for _, change in user.reports]
		wrong_reports = [line for user in self._users for line in user.wrong_reports()]
		print(
			f"{options.clients} users, {options.workers} workers, {options.seconds:g} s, {len(self._kills)} kills"
		)
		for name, count in sorted(counts.items()):
			print(f"{name:32} {count}")
		print(
			f"{'answers compared':32} {self._compared}, wrong: {len(self._wrong)}, late questions: {self._late}"
		)
		for change in ("online", "offline"):
			print(f"{f'hooks called, {change}':32} {reports.count(change)}")
		print(f"{'wrong or missing calls':32} {len(wrong_reports)}")
		for line in [*self._wrong[:10], *wrong_reports[:10]]:
			print(line)
		is_right = not self._wrong and not wrong_reports and self._compared and self._kills
		print("right" if is_right else "WRONG")
		return int(not is_right)


def main() -> None:
	parser = argparse.ArgumentParser(
		prog="python -m benchmarks.online",
		description=__doc__,
		formatter_class=argparse.RawDescriptionHelpFormatter,
	)
	parser.add_argument("--clients", type=int, default=200)
	parser.add_argument("--workers", type=int, default=3)
	parser.add_argument("--seconds", type=float, default=120)
	parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 30))
	options = parser.parse_args()
	print(f"seed {options.seed}")
	with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
		redis = Redis(Path(folder) / "redis")
		redis.start()
		stack.callback(redis.close)
		code = asyncio.run(Run(options, redis).run(Path(folder) / "bench"))
	sys.exit(code)


if __name__ == "__main__":
	main()
