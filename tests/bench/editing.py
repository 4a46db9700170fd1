"""What tests of shared editing need of a bench: states that are kept, stored soon, and forgotten."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from frappe_realtime.contract.redis_keys import SHARED_STATES_KEY, shared_key
from tests.bench.installation import Bench


def skip_unless_states_are_kept(bench: Bench) -> None:
	"""Skip the test if the sidecar of the bench does not keep the states of documents."""
	if "pycrdt" not in bench.run([str(bench.python), "-m", "pip", "freeze"], bench.root):
		pytest.skip("the bench has no pycrdt: bench pip install -e 'apps/frappe_realtime[shared-editing]'")


@contextmanager
def stored_soon(bench: Bench) -> Iterator[None]:
	"""Let sidecars that start in the block give each change to the app at once."""
	with bench.configured(realtime_shared_store_seconds=0.2):
		yield


def forget_state(bench: Bench, doctype: str, name: str) -> None:
	"""Delete the state of a document from Redis, as when the time for which it is kept there has passed."""
	key = shared_key(bench.site, doctype, name)
	assert bench.events.delete(key) == 1
	bench.events.zrem(SHARED_STATES_KEY, key)
