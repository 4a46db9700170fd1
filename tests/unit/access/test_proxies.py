"""Trusted proxies, and the client's address behind them."""

from __future__ import annotations

import ipaddress

import pytest

from realtime.access import proxies as module
from realtime.access.proxies import MAX_FORWARDED, TrustedProxies
from realtime.config import PRIVATE_NETWORKS


@pytest.mark.parametrize(
	("peer", "trusted"),
	[
		("", True),
		("127.0.0.1", True),
		("::1", True),
		("::ffff:127.0.0.1", True),
		("172.18.0.5", True),
		("fe80::1%eth0", True),
		("8.8.8.8", False),
		("::ffff:8.8.8.8", False),
		("2001:db8::1", False),
		("172.32.0.1", False),
		("no address", False),
	],
)
def test_the_default(peer: str, trusted: bool) -> None:
	assert TrustedProxies(PRIVATE_NETWORKS).trusts(peer) is trusted


@pytest.mark.parametrize(
	("peer", "headers", "address"),
	[
		("8.8.8.8", {}, "8.8.8.8"),
		("8.8.8.8", {"x-forwarded-for": "9.9.9.9", "x-real-ip": "9.9.9.9"}, "8.8.8.8"),
		("127.0.0.1", {}, ""),
		("127.0.0.1", {"x-forwarded-for": "9.9.9.9"}, "9.9.9.9"),
		("", {"x-forwarded-for": "9.9.9.9"}, "9.9.9.9"),
		("127.0.0.1", {"x-forwarded-for": "1.1.1.1, 9.9.9.9, 10.0.0.1"}, "9.9.9.9"),
		("127.0.0.1", {"x-forwarded-for": "1.1.1.1, garbage, 10.0.0.1"}, ""),
		("127.0.0.1", {"x-forwarded-for": "10.0.0.1"}, ""),
		# A trusted peer without a header of a proxy is a client, unless it is on this machine.
		("", {}, ""),
		("::1", {}, ""),
		("::ffff:127.0.0.1", {}, ""),
		("10.0.0.7", {}, "10.0.0.7"),
		("::ffff:10.0.0.7", {}, "10.0.0.7"),
		("fd00::1", {"host": "one.test"}, "fd00::1"),
		("10.0.0.7", {"x-frappe-site-name": "one.test"}, ""),
		("10.0.0.7", {"x-forwarded-proto": "https"}, ""),
		("10.0.0.7", {"via": "1.1 proxy"}, ""),
		("10.0.0.7", {"forwarded": "for=9.9.9.9"}, ""),
		("127.0.0.1", {"x-real-ip": "9.9.9.9"}, "9.9.9.9"),
		("127.0.0.1", {"x-real-ip": "<script>"}, ""),
		("127.0.0.1", {"x-forwarded-for": "::ffff:9.9.9.9"}, "9.9.9.9"),
	],
)
def test_the_client_s_address(peer: str, headers: dict[str, str], address: str) -> None:
	assert TrustedProxies(PRIVATE_NETWORKS).client_address(peer, headers) == address


def test_only_the_last_addresses_are_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
	"""A client can send a long header of private addresses, to which a proxy appends."""
	parsed: list[str] = []
	parse = ipaddress.ip_address

	def counted(text: str) -> object:
		parsed.append(text)
		return parse(text)

	monkeypatch.setattr(module, "ip_address", counted)
	module._parse_address.cache_clear()
	proxies = TrustedProxies(PRIVATE_NETWORKS)
	forged = ", ".join(f"10.0.{number >> 8}.{number & 255}" for number in range(10_000))
	assert proxies.client_address("127.0.0.1", {"x-forwarded-for": f"9.9.9.9, {forged}"}) == ""
	assert MAX_FORWARDED <= len(parsed) <= 3 * MAX_FORWARDED
	chain = ", ".join(["10.0.0.1"] * (MAX_FORWARDED - 1))
	assert proxies.client_address("127.0.0.1", {"x-forwarded-for": f"9.9.9.9, {chain}"}) == "9.9.9.9"
	assert proxies.client_address("127.0.0.1", {"x-forwarded-for": f"9.9.9.9, 10.0.0.1, {chain}"}) == ""


def test_what_is_no_network() -> None:
	with pytest.raises(ValueError, match="nginx"):
		TrustedProxies(["127.0.0.1", "nginx"])


def test_long_texts_are_no_addresses_and_not_kept() -> None:
	before = module._parse_address.cache_info().currsize
	assert module._address("1" * 10_000) is None
	assert module._address("fe80::1%" + "z" * 10_000) is None
	assert module._parse_address.cache_info().currsize == before
