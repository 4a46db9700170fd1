"""Corrupt values in Redis: nobody is kept out by them, and the log says what they are."""

from __future__ import annotations

from typing import Any

import pytest

from tests.wire.bench import APP_SITE
from tests.wire.clients import Refused
from tests.wire.conditions import until
from tests.wire.conftest import Connect, MakeBench

SECRET = "socketio_auth_secret"
HEADER = b"a\r\nX-Header: b"


@pytest.mark.parametrize("value", [b"\xff\xfe", b"garbage", b"", 7], ids=repr)
def test_a_corrupt_position_keeps_nobody_out(make_bench: MakeBench, connect: Connect, value: Any) -> None:
	bench = make_bench()
	bench.valkey.client.set(f"frappe_realtime:{APP_SITE}:last", value)
	client = connect(bench, bench.user())
	bench.publish("probe", 1, "website")
	assert client.next("probe")[0] == 1


def test_a_key_of_another_type_keeps_nobody_out(make_bench: MakeBench, connect: Connect) -> None:
	bench = make_bench()
	for key in ("last", "events", "tasks"):
		bench.valkey.client.sadd(f"frappe_realtime:{APP_SITE}:{key}", "x")
	client = connect(bench, bench.user())
	bench.publish("probe", 1, "website")
	assert client.next("probe")[0] == 1
	until(lambda: "WRONGTYPE" in bench.sidecar.log, "the error in the log")
	assert "has another type" in bench.sidecar.log
	assert "Let the user of redis_queue" not in bench.sidecar.log
	assert "Traceback" not in bench.sidecar.log


@pytest.mark.parametrize("value", [b"\xff\xfe", HEADER, None], ids=repr)
def test_a_corrupt_secret(make_bench: MakeBench, connect: Connect, value: bytes | None) -> None:
	"""It matters only to versions that demand one, and it is said."""
	# Where Frappe demands the secret and cannot read it either, it answers HTTP 500, and clients wait.
	for version in (16, 17) if value == HEADER else (16,):
		bench = make_bench(version=version)
		bench.valkey.client.delete(SECRET)
		if value is None:
			bench.valkey.client.sadd(SECRET, "x")
		else:
			bench.valkey.client.set(SECRET, value)
		if version == 16:
			assert connect(bench, bench.user()).connected
		else:
			with pytest.raises(Refused, match=r"Unauthorized"):
				connect(bench, bench.user())
		until(lambda bench=bench: SECRET in bench.sidecar.log, "the error in the log")  # type: ignore[misc]
		assert "Traceback" not in bench.sidecar.log
