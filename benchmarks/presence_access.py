"""python -m benchmarks.presence_access [--rounds 20] [--others 10]

How long a member is seen after its access was withdrawn: in a document, in a DocType, on the site and in the room of a handler, by
a permission that is withdrawn and by the end of its session, while others change their states. Measured are the time until another
member is told, and until the member itself is told, or its connection is closed.

The exit code is 0 if none of them takes longer than one second.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks.delivery.parts import SITE, Redis, start_sidecar
from benchmarks.recovering import RecoveringClient
from benchmarks.servers import free_port
from frappe_realtime.contract.access import USER_CHANGED
from frappe_realtime.contract.presence import PRESENCE, PRESENCE_END, PRESENCE_JOIN, PRESENCE_SET
from frappe_realtime.contract.users import SYSTEM_USER, WEBSITE_USER
from frappe_realtime.publishing.access_messages import access_message
from frappe_realtime.publishing.connection import queue_connector
from frappe_realtime.publishing.outbox import Outbox
from realtime.demo.model import Site
from realtime.demo.web_process import FakeWebProcess

MOST = 1.0
"""Seconds."""

TIMEOUT = 20.0
"""Seconds after which a run is given up."""

PLACES = {"document": "doc:ToDo/{}", "DocType": "doctype:Kind {}", "site": "site", "room": "room:lobby"}
"""The place of each kind; documents and DocTypes have a number for each round."""

HANDLERS = """
from frappe_realtime import realtime

@realtime.on("enter")
async def enter(socket):
	await socket.join("lobby")
	return True

@realtime.on("expel")
async def expel(socket, sid):
	await socket.nsp.sockets[sid].leave("lobby")
"""


class Member:
	"""A client in a place.

	Args:
		session: The session id of its user in Frappe.
	"""

	def __init__(self, session: str) -> None:
		self.client = RecoveringClient(SITE, session)
		self.gone: dict[str, float] = {}
		"""When it was told that a member has gone, by id."""
		self.ended = 0.0
		"""When it was told that its membership has ended, or its connection was closed."""
		self._answers: asyncio.Queue[Any] = asyncio.Queue()
		self._reading: asyncio.Task[None] | None = None

	async def join(self, port: int, place: str) -> None:
		"""Connect, and join a place."""
		await self.client.connect(port)
		self._reading = asyncio.create_task(self._read())
		if place.startswith("room:"):
			await self._call("enter")
		answer = await self._call(PRESENCE_JOIN, place, {"x": 0})
		if "error" in answer:
			raise RuntimeError(answer)

	async def _call(self, *event: Any) -> Any:
		await self.client.emit(*event, ack=0)
		return await asyncio.wait_for(self._answers.get(), TIMEOUT)

	async def _read(self) -> None:
		async for event, *arguments in self.client.received():
			if not event:
				self._answers.put_nowait(arguments[0])
			elif event == PRESENCE:
				for id in arguments[0].get("leaves", ()):
					self.gone[id] = time.monotonic()
			elif event == PRESENCE_END:
				self.ended = time.monotonic()
		self.ended = self.ended or time.monotonic()

	async def close(self) -> None:
		"""Disconnect, if it is connected."""
		if self._reading is not None and not self._reading.done():
			await self.client.leave()


class Run:
	"""All rounds.

	Args:
		options: The arguments of the command.
		redis: redis_queue.
	"""

	def __init__(self, options: argparse.Namespace, redis: Redis) -> None:
		self._options = options
		self._outbox = Outbox(queue_connector({"redis_queue": redis.url}), print)
		self._redis = redis
		self._web = FakeWebProcess(redis_url=redis.url)
		self._site: Site = self._web.add_site(SITE, ["frappe", "frappe_realtime", "lobby"])
		self._users = 0

	async def run(self, folder: Path) -> int:
		"""Run all rounds, print the times, and return the exit code."""
		web_port = free_port()
		await self._web.listen(web_port)
		longest = 0.0
		with ExitStack() as stack:
			_write_app(folder / "apps" / "lobby" / "lobby")
			port = start_sidecar(folder, self._redis.url, web_port, stack)
			for kind in PLACES:
				for how in ("permission", "session"):
					times = [
						await self._round(port, kind, how, number) for number in range(self._options.rounds)
					]
					others, own = (max(values) for values in zip(*times, strict=True))
					longest = max(longest, others, own)
					print(
						f"{kind:9} {how:11} others at most {others:.3f} s, itself at most {own:.3f} s",
						flush=True,
					)
		await self._web.close()
		print(f"{'right' if longest <= MOST else 'WRONG'}: at most {longest:.3f} s")
		return int(longest > MOST)

	async def _round(self, port: int, kind: str, how: str, number: int) -> tuple[float, float]:
		"""Return the seconds until another member and the member itself are told."""
		place = PLACES[kind].format(f"{how}-{number}")
		members = []
		for _ in range(self._options.others + 1):
			name = self._add_user()
			member = Member(self._site.login(name))
			await member.join(port, place)
			members.append(member)
		leaver, others = members[-1], members[:-1]
		busy = asyncio.create_task(self._move(others, place))
		await asyncio.sleep(0.3)
		began = time.monotonic()
		await self._withdraw(kind, how, place, name, leaver, others[0])
		id = leaver.client.id
		deadline = began + TIMEOUT
		while not (leaver.ended and all(id in other.gone for other in others)):
			if time.monotonic() > deadline:
				raise RuntimeError(f"{place} was not left within {TIMEOUT} s")
			await asyncio.sleep(0.005)
		busy.cancel()
		await asyncio.gather(*[member.close() for member in members])
		return max(other.gone[id] for other in others) - began, leaver.ended - began

	def _add_user(self) -> str:
		self._users += 1
		name = f"user{self._users}@example.com"
		self._site.add_user(name, name, SYSTEM_USER)
		return name

	async def _move(self, members: list[Member], place: str) -> None:
		"""Change the states of the others all the time."""
		for x in range(1_000_000):
			for member in members:
				await member.client.emit(PRESENCE_SET, place, {"x": x})
			await asyncio.sleep(0.25)

	async def _withdraw(
		self, kind: str, how: str, place: str, user: str, leaver: Member, other: Member
	) -> None:
		if how == "permission" and kind == "room":
			await other.client.emit("expel", leaver.client.id)
			return
		if how == "session":
			self._site.disable(user)
		elif kind == "site":
			self._site.users[user].user_type = WEBSITE_USER
		else:
			doctype, _, name = place.partition(":")[2].partition("/")
			self._site.forbid(user, doctype, name)
		message = access_message({"site": SITE, "kind": USER_CHANGED, "user": user}, expires=False)
		await asyncio.to_thread(self._outbox.send, [message])


def _write_app(package: Path) -> None:
	(package / "realtime").mkdir(parents=True)
	(package / "__init__.py").write_text("")
	(package / "realtime" / "handlers.py").write_text(HANDLERS)


def main() -> None:
	parser = argparse.ArgumentParser(
		prog="python -m benchmarks.presence_access",
		description=__doc__,
		formatter_class=argparse.RawDescriptionHelpFormatter,
	)
	parser.add_argument("--rounds", type=int, default=20)
	parser.add_argument("--others", type=int, default=10, help="other members of the place")
	options = parser.parse_args()
	with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
		redis = Redis(Path(folder) / "redis")
		redis.start()
		stack.callback(redis.close)
		code = asyncio.run(Run(options, redis).run(Path(folder) / "bench"))
	sys.exit(code)


if __name__ == "__main__":
	main()
