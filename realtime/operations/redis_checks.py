"""The doctor's checks of redis_queue: whether it answers, the rights of its user, its clock, and reported outages."""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from time import time
from urllib.parse import unquote, urlsplit

import hiredis

from frappe_realtime.contract.channels import ACCESS_CHANNEL, EVENTS_CHANNEL, SIDECARS_CHANNEL
from frappe_realtime.contract.redis_keys import SECRET_KEY
from frappe_realtime.contract.settings import APP_DEFAULTS
from frappe_realtime.errors import WebUnavailable

from ..bus.commands import Command
from ..bus.endpoint import RedisEndpoint, parse_address, safe_url
from ..bus.pipeline import RedisPipeline
from ..bus.store import RedisStore, StoreDenied, StoreUnavailable, denied_command
from ..config import Config
from ..web.secret import SharedSecret
from .bench_files import BenchFiles
from .findings import FAILED, NOTE, OK, TIMEOUT, CheckFailed, Finding

MAX_CLOCK_SKEW = 5.0
"""Seconds by which the clocks of two machines may differ."""

PROBE_KEY = "frappe_realtime:doctor"
"""The key that is written to test rights; it expires after a minute."""

PROBES: tuple[tuple[Command, ...], ...] = (
	(
		("SET", PROBE_KEY, "", "EX", 60),
		("GET", PROBE_KEY),
		("EXPIRE", PROBE_KEY, 60),
		("PEXPIRE", PROBE_KEY, 60000),
	),
	(("DEL", PROBE_KEY),),
	(("XADD", PROBE_KEY, "*", "e", ""), ("PEXPIRE", PROBE_KEY, 60000)),
	(("XRANGE", PROBE_KEY, "-", "+", "COUNT", 1),),
	(("XREVRANGE", PROBE_KEY, "+", "-", "COUNT", 1),),
	(("XDEL", PROBE_KEY, "0-1"), ("XLEN", PROBE_KEY)),
	(
		("HSET", f"{PROBE_KEY}_ids", "k", ""),
		("HGET", f"{PROBE_KEY}_ids", "k"),
		("HDEL", f"{PROBE_KEY}_ids", "k"),
	),
	(
		("SADD", f"{PROBE_KEY}_set", "m"),
		("SMEMBERS", f"{PROBE_KEY}_set"),
		("SREM", f"{PROBE_KEY}_set", "m"),
	),
	(("RPUSH", f"{PROBE_KEY}_list", ""), ("DEL", f"{PROBE_KEY}_list")),
	(("TIME",),),
	(("XTRIM", PROBE_KEY, "MAXLEN", 0), ("DEL", PROBE_KEY)),
	(("EVAL", "return 1", 0),),
	(("EVALSHA", "e0e1f9fabfc9d4800c877a703b823ac0578ff8db", 0),),
	(("MULTI",), ("EXEC",)),
	(("PING",),),
	(("GET", SECRET_KEY),),
	(("PUBLISH", f"{PROBE_KEY}:channel", ""),),
	(("SUBSCRIBE", EVENTS_CHANNEL),),
	(("SUBSCRIBE", ACCESS_CHANNEL), ("SUBSCRIBE", SIDECARS_CHANNEL)),
)
"""Commands of the sidecar and of the publishers, in batches that are sent on a connection each."""


def _seconds(seconds: float) -> str:
	return datetime.fromtimestamp(seconds).astimezone().isoformat(" ", "seconds")


def _redis_cli(url: str) -> str:
	"""Return the beginning of a command line for the server at `url`, without user, password and options of TLS."""
	address = urlsplit(safe_url(url))
	if address.scheme == "unix":
		return f"redis-cli -s {shlex.quote(unquote(address.path))}"
	return f"redis-cli -u {address._replace(query='').geturl()}"


class RedisChecks:
	"""Checks of redis_queue; each returns a `Finding` or raises `CheckFailed`.

	Args:
		config: The configuration of the bench.
		files: The files of the bench.
	"""

	def __init__(self, config: Config, files: BenchFiles) -> None:
		self.store = RedisStore(RedisEndpoint(config))
		self._config = config
		self._files = files

	async def redis(self) -> Finding:
		"""Ask Redis for subscribers, and for the shared secret, which is created if there is none."""
		endpoint = self.store.endpoint
		try:
			await asyncio.wait_for(self.store.subscribers(EVENTS_CHANNEL), TIMEOUT)
			await asyncio.wait_for(SharedSecret(self.store).get(), TIMEOUT)
		except StoreDenied as error:
			if error.code == "NOPERM":
				return Finding("redis.denied", OK, f"{endpoint} answers")
			raise CheckFailed(self._refused(error)) from error
		except (StoreUnavailable, WebUnavailable, asyncio.TimeoutError) as error:
			reason = str(error) or f"no answer within {TIMEOUT:g} s"
			raise CheckFailed(await self._unreachable(reason)) from error
		return Finding("redis.ok", OK, f"{endpoint} answers")

	def _refused(self, error: StoreDenied) -> Finding:
		if not error.is_about_the_password:
			# For instance a database that Redis does not have, its protected mode, or its limit of clients.
			command = f"{_redis_cli(self._config.redis_queue)} ping"
			if self.store.endpoint.sentinels:
				host, port = self.store.endpoint.sentinels[0]
				name = shlex.quote(self._config.redis_queue_master_service)
				command = f"redis-cli -h {host} -p {port} sentinel get-master-addr-by-name {name}"
			return Finding(
				"redis.refused",
				FAILED,
				f"{self.store.endpoint} refuses the connection: {error}",
				self._files.place(self._files.redis_key),
				command,
				"the command shows what answers there: correct the address, or the configuration of Redis",
			)
		address = urlsplit(safe_url(self._config.redis_queue))
		url = address._replace(netloc=f"USER:PASSWORD@{address.netloc}").geturl()
		what = "requires a password" if error.code == "NOAUTH" else "does not accept the user and password"
		advice = f"Redis says: {error}"
		if self.store.endpoint.sentinels:
			return Finding(
				"redis.password",
				FAILED,
				f"{self.store.endpoint} {what}",
				self._files.place("redis_queue_master_password"),
				self._files.then(
					"bench set-config -g redis_queue_master_username USER && "
					"bench set-config -g redis_queue_master_password PASSWORD",
					self._files.restart,
				),
				advice,
			)
		if self._files.redis_has_password:
			advice += f"\nthe password is in {self._config.bench / 'config' / 'redis_queue.conf'}"
		return Finding(
			"redis.password",
			FAILED,
			f"{self.store.endpoint} {what}",
			self._files.place("redis_queue"),
			self._files.then(f"bench set-config -g redis_queue {shlex.quote(url)}", self._files.restart),
			advice,
		)

	async def _unreachable(self, reason: str) -> Finding:
		what = f"{self.store.endpoint} does not answer: {reason}"
		where = self._files.place(self._files.redis_key)
		if not self.store.endpoint.sentinels:
			for url in self._files.redis_urls():
				if await self._answers(url):
					return Finding(
						"redis.port",
						FAILED,
						f"{what}; a Redis answers at {safe_url(url)}",
						where,
						self._files.set_key("redis_queue", url),
						fix=self._files.change("redis_queue", url),
					)
		return Finding(
			"redis.down",
			FAILED,
			what,
			where,
			self._files.start,
			f"start Redis, or correct {self._files.redis_key}",
		)

	async def _answers(self, url: str) -> bool:
		store = RedisStore(RedisEndpoint(replace(self._config, redis_queue=url)))
		try:
			return await asyncio.wait_for(store.ping(), TIMEOUT)
		except asyncio.TimeoutError:
			return False
		finally:
			await store.close()

	async def subscribers(self) -> int | None:
		"""Return how many servers are subscribed to the events; None if Redis does not say. Later checks subscribe too."""
		with suppress(StoreUnavailable, StoreDenied, asyncio.TimeoutError):
			return await asyncio.wait_for(self.store.subscribers(EVENTS_CHANNEL), TIMEOUT)
		return None

	async def rights(self) -> Finding:
		"""Run each command that the sidecar and the publishers need, on a key and a channel of the doctor's."""
		denials = [denial for batch in await self._try_probes() for denial in batch]
		if not denials:
			return Finding("rights.ok", OK, "the user of redis_queue has the rights that the history needs")
		commands = sorted({command.lower() for text in denials if (command := denied_command(text))})
		if "multi" in commands:
			commands.append("exec")
		rules = [f"+{command}" for command in commands]
		missing = [command.upper() for command in commands]
		if any("keys" in text or "a key" in text for text in denials):
			rules += ["~frappe_realtime:*", f"~{SECRET_KEY}"]
			missing.append(f"the keys frappe_realtime:* and {SECRET_KEY}")
		if any("channel" in text for text in denials):
			rules += [f"&{EVENTS_CHANNEL}", "&frappe_realtime:*"]
			missing.append(f"the channels {EVENTS_CHANNEL} and frappe_realtime:*")
		user, url = await self._server()
		raise CheckFailed(
			Finding(
				"rights.denied",
				FAILED,
				f"the user {user!r} of redis_queue lacks rights in Redis: {', '.join(missing)}",
				f"the ACL of the user {user!r} at {url}, which is named in {self._files.place(self._files.redis_key)}",
				self._files.then(
					f"{_redis_cli(url)} ACL SETUSER {user} {shlex.join(rules)}", self._files.restart
				),
				"run redis-cli as a user that may change the ACL, and write it into the ACL file: ACL SAVE\n"
				"docs/delivery.md lists all rights",
			)
		)

	async def _server(self) -> tuple[str, str]:
		"""Return the user of redis_queue, and the URL of the server without it: with Sentinels, that of the present master."""
		endpoint = self.store.endpoint
		if not endpoint.sentinels:
			url = self._config.redis_queue
			return parse_address(url).username or "default", safe_url(url)
		try:
			address = await endpoint.address()
		except OSError as error:
			raise CheckFailed(
				Finding("rights.unknown", NOTE, f"the rights in Redis cannot be tested: {error}")
			) from error
		host = f"[{address.host}]" if ":" in address.host else address.host
		return address.username or "default", f"redis://{host}:{address.port}"

	async def _try_probes(self) -> Sequence[Sequence[str]]:
		return await asyncio.gather(*[self._try_probe(batch) for batch in PROBES])

	async def _try_probe(self, batch: Sequence[Command]) -> list[str]:
		"""Return what Redis denies of a batch; each command is sent by itself, because an error ends a batch."""
		pipeline = RedisPipeline(self.store.endpoint)
		denied = []
		try:
			for command in batch:
				try:
					await asyncio.wait_for(pipeline.execute([command]), TIMEOUT)
				except hiredis.ReplyError as error:
					if str(error).startswith("NOPERM"):
						denied.append(str(error))
		except (OSError, asyncio.TimeoutError, ValueError) as error:
			raise CheckFailed(
				Finding("rights.unknown", NOTE, f"the rights in Redis cannot be tested: {error}")
			) from error
		finally:
			pipeline.close()
		return denied

	async def clock(self) -> Finding:
		"""Compare the clock of Redis with this machine's."""
		pipeline = RedisPipeline(self.store.endpoint)
		try:
			started = time()
			((seconds, microseconds),) = await asyncio.wait_for(pipeline.execute([("TIME",)]), TIMEOUT)
			# Half of the way there and back.
			skew = int(seconds) + int(microseconds) / 1e6 - (started + time()) / 2
		except (hiredis.ReplyError, OSError, asyncio.TimeoutError, ValueError) as error:
			return Finding("clock.unknown", NOTE, f"the clock of Redis cannot be read: {error}")
		finally:
			pipeline.close()
		if abs(skew) <= MAX_CLOCK_SKEW:
			return Finding(
				"clock.ok", OK, f"the clocks of Redis and of this machine differ by {abs(skew):.1f} s"
			)
		relation = "ahead of" if skew > 0 else "behind"
		raise CheckFailed(
			Finding(
				"clock.skew",
				FAILED,
				f"the clock of {self.store.endpoint} is {abs(skew):.0f} s {relation} this machine's",
				"the system clocks of the two machines",
				"sudo timedatectl set-ntp true",
				"run it on both machines: latencies and times of outages are computed from both clocks",
			)
		)

	async def outages(self) -> Finding:
		"""Read what processes of Frappe reported about times in which they could not publish."""
		try:
			outages = await asyncio.wait_for(self.store.outages(), TIMEOUT)
		except (StoreUnavailable, StoreDenied, asyncio.TimeoutError) as error:
			reason = str(error) or f"no answer within {TIMEOUT:g} s"
			return Finding(
				"outages.unknown",
				NOTE,
				f"the outage reports of publishing processes cannot be read: {reason}",
			)
		if not outages:
			return Finding(
				"outages.none",
				OK,
				"no process of Frappe reported in the last 24 hours that it could not publish",
			)
		last = outages[0]
		dropped = sum(outage.dropped for outage in outages)
		what = (
			f"outages in the last 24 hours in which a process of Frappe could not publish: {len(outages)}; "
			f"events dropped: {dropped}. The last: process {last.pid} on {last.host}, "
			f"{_seconds(last.since)} to {_seconds(last.until)}, held at most {last.held}, dropped {last.dropped}: "
			f"{last.reason or 'more than realtime_pending_count or 16 MB'}"
		)
		advice = "keep Redis (redis_queue) running; realtime_pending_count and realtime_pending_seconds set how many events a process holds"
		if not dropped:
			return Finding("outages.held", NOTE, what, advice=advice)
		longest = max(outage.until - outage.since for outage in outages)
		seconds = max(2 * APP_DEFAULTS["realtime_pending_seconds"], int(longest * 2))
		# As the app reads it: `bench set-config` writes numbers as text.
		with suppress(TypeError, ValueError):
			if int(self._files.read_json(self._files.common).get("realtime_pending_seconds", 0)) >= seconds:
				return Finding("outages.mended", NOTE, what, advice=advice)
		return Finding(
			"outages.dropped",
			NOTE,
			what,
			f"realtime_pending_seconds in {self._files.common}",
			self._files.then(f"bench set-config -g realtime_pending_seconds {seconds}", self._files.restart),
			advice,
		)
