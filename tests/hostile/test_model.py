"""Random sequences of what users, administrators and outages do, against a model of who may receive what (`model.py`).

`MODEL_SEEDS=100-200` runs other sequences.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256

import pytest

from tests.hostile.model import STEPS, Target, World, seeds
from tests.hostile.tabs import Address
from tests.wire.bench import APP_SITE, Bench
from tests.wire.conftest import MakeBench
from tests.wire.publisher import Publisher

COUNT = 40
DOCTYPE = "Note"


class StandIn(Target):
	"""A bench with the stand-in for the web process.

	Args:
		bench: The bench.
	"""

	def __init__(self, bench: Bench) -> None:
		super().__init__(
			Address(APP_SITE, bench.sidecar.port, bench.sidecar.port),
			DOCTYPE,
			[bench.user().name for _ in range(3)],
			[bench.document() for _ in range(3)],
		)
		self._bench = bench
		self._publisher = Publisher(bench.valkey.url)
		self._public: set[str] = set()
		self._shared: set[tuple[str, str]] = set()
		for document in self.documents:
			self._apply_rules(document)

	def log_in(self, user: str) -> str:
		return self._bench.site().login(user)

	def log_out(self, user: str, sid: str) -> None:
		del self._bench.site().sessions[sid]
		self._announce(kind="session", sid_hash=sha256(sid.encode()).hexdigest())

	def publish(self, event: str, number: int, room: str) -> None:
		self._publisher.publish(event, number, room)
		self._publisher.flush()

	def set_share(self, user: str, document: str, shared: bool) -> None:
		(self._shared.add if shared else self._shared.discard)((user, document))
		self._apply_rules(document)
		self._announce(kind="user", user=user)

	def save(self, document: str, public: bool) -> None:
		(self._public.add if public else self._public.discard)(document)
		self._apply_rules(document)
		self._announce(kind="changed", doctype=DOCTYPE, name=document)

	def metrics(self) -> str:
		return str(self._bench.sidecar.get("/metrics")[1])

	def restart(self, kill: bool) -> None:
		if kill:
			self._bench.sidecar.kill()
			self._bench.sidecar.start()
		else:
			self._bench.sidecar.restart()
		self._bench.wait_until_subscribed()

	@contextmanager
	def interrupted(self) -> Iterator[None]:
		self._bench.sidecar.signal(signal.SIGSTOP)
		try:
			self._bench.valkey.client.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
			yield
		finally:
			self._bench.sidecar.signal(signal.SIGCONT)
		self._bench.wait_until_subscribed()

	def _apply_rules(self, document: str) -> None:
		"""Let the stand-in answer for a document as Frappe does for a Note."""
		site = self._bench.site()
		for user in self.users:
			allowed = document in self._public or (user, document) in self._shared
			(site.allow if allowed else site.forbid)(user, DOCTYPE, document)

	def _announce(self, **what: str) -> None:
		self._publisher.announce(**what)
		self._publisher.flush()


@pytest.mark.parametrize("seed", seeds("1-6"))
@pytest.mark.parametrize("cache_seconds", [0, 60])
def test_each_tab_receives_what_it_may_and_nothing_else(
	make_bench: MakeBench, seed: int, cache_seconds: int
) -> None:
	bench = make_bench(common={"realtime_cache_seconds": cache_seconds})
	World(StandIn(bench), seed, {**STEPS, "interrupt": 0.4}).run(COUNT)
