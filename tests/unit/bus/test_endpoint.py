"""The URLs of Redis, as Frappe and redis-py write them."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from realtime.bus.endpoint import Address, parse_address


@pytest.mark.parametrize(
	("url", "address"),
	[
		("redis://127.0.0.1:11000", Address("127.0.0.1", 11000)),
		("redis://redis-queue", Address("redis-queue", 6379)),
		("redis://redis-queue:6380/2", Address("redis-queue", 6380, database=2)),
		("redis://redis-queue/?db=3", Address("redis-queue", database=3)),
		("redis://:secret@h:1", Address("h", 1, password="secret")),
		("redis://ann:p%40ss%2F%3A@h:1/0", Address("h", 1, username="ann", password="p@ss/:")),
		("redis://[::1]:6379", Address("::1")),
		("redis://h?socket_timeout=3&protocol=3", Address("h")),
		("unix:///run/redis.sock", Address(path="/run/redis.sock")),
		(
			"unix://ann:secret@/run/my%20redis.sock?db=1",
			Address(path="/run/my redis.sock", username="ann", password="secret", database=1),
		),
	],
)
def test_urls(url: str, address: Address) -> None:
	assert parse_address(url) == address


def test_tls() -> None:
	assert parse_address("redis://h").tls is None
	checked = parse_address("rediss://h:6380").tls
	assert checked is not None
	assert (checked.verify_mode, checked.check_hostname) == (ssl.CERT_REQUIRED, True)
	other_name = parse_address("rediss://h?ssl_check_hostname=False").tls
	assert other_name is not None
	assert (other_name.verify_mode, other_name.check_hostname) == (ssl.CERT_REQUIRED, False)
	unchecked = parse_address("rediss://h?ssl_cert_reqs=none").tls
	assert unchecked is not None
	assert (unchecked.verify_mode, unchecked.check_hostname) == (ssl.CERT_NONE, False)


def test_a_certificate_that_does_not_exist(tmp_path: Path) -> None:
	file = tmp_path / "ca.pem"
	with pytest.raises(FileNotFoundError, match=str(file)):
		parse_address(f"rediss://h?ssl_ca_certs={file}")


@pytest.mark.parametrize("url", ["redis://h:port", "redis://h/database", "redis://h?db=x"])
def test_invalid_urls(url: str) -> None:
	with pytest.raises(ValueError, match=r"Port|the database must be a number"):
		parse_address(url)
