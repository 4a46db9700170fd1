"""Trusted proxies, and the client's address behind them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from ..engine.request import Request

MAX_FORWARDED = 16
"""Addresses of `X-Forwarded-For` that are parsed, from the last one on; the others are the client's own or of no use."""

MAX_ADDRESS = 80
"""Characters of an address with its zone; no longer text is one."""

PROXY_HEADERS = frozenset(
	{
		"x-forwarded-for",
		"x-real-ip",
		"x-forwarded-host",
		"x-forwarded-proto",
		"x-frappe-site-name",
		"forwarded",
		"via",
	}
)
"""Headers by which a proxy shows itself; bench's nginx sends X-Frappe-Site-Name."""


class TrustedProxies:
	"""The peers whose headers about site, host and client's address are trusted.

	Args:
		networks: Addresses and networks. A Unix socket is always trusted.

	Raises:
		ValueError: One of `networks` is invalid.
	"""

	def __init__(self, networks: Iterable[str]) -> None:
		self._networks = [ip_network(network, strict=False) for network in networks]
		self.trusts = lru_cache(maxsize=4096)(self._trusts)

	def _trusts(self, peer: str) -> bool:
		"""Return True if the address `peer` is trusted; empty for a Unix socket."""
		if not peer:
			return True
		address = _address(peer)
		return address is not None and any(address in network for network in self._networks)

	def client_address(self, peer: str, headers: Mapping[str, str]) -> str:
		"""Return the address of the client; empty if only a proxy's is known.

		A trusted peer that sends none of `PROXY_HEADERS` is a client itself, unless it is on this machine, where tunnels and
		balancers connect that add no header.

		The last address in `X-Forwarded-For` that is not trusted counts: a client can write those before it itself.

		Args:
			peer: The address of the TCP connection; empty for a Unix socket.
			headers: The headers of the request, by lower-case name.
		"""
		if not self.trusts(peer):
			return peer
		if PROXY_HEADERS.isdisjoint(headers):
			address = _address(peer)
			return "" if address is None or address.is_loopback else str(address)
		for name in reversed(headers.get("x-forwarded-for", "").rsplit(",", MAX_FORWARDED)[-MAX_FORWARDED:]):
			address = _address(name.strip())
			if address is None:
				break
			if not self.trusts(str(address)):
				return str(address)
		address = _address(headers.get("x-real-ip", "").strip())
		return str(address) if address is not None and not self.trusts(str(address)) else ""


def names_address(headers: Mapping[str, str]) -> bool:
	"""Return True if a proxy has named an address in the headers of a request, whether it is a client's or a proxy's."""
	return "x-forwarded-for" in headers or "x-real-ip" in headers


@lru_cache(maxsize=4096)
def network_of(address: str) -> str:
	"""Return what connections from `address` are counted by: an IPv4 address, or the /64 network of an IPv6 address.

	A machine on IPv6 can use any address of its network.
	"""
	found = _address(address)
	return str(ip_network((found, 64), strict=False)) if isinstance(found, IPv6Address) else address


def address_for_restriction(request: Request) -> str:
	"""Return the client's address, for the IP restriction of a user.

	Where the addresses of clients are in trusted networks, as in an office, `TrustedProxies.client_address` does not tell a client
	from a proxy. Then this is the address that the nearest proxy names, or the peer's if the request passed no proxy.

	Returns:
		An empty string if a proxy names no address.
	"""
	if request.remote:
		return request.remote
	headers = request.headers
	if PROXY_HEADERS.isdisjoint(headers):
		return request.peer
	for text in (headers.get("x-real-ip", ""), headers.get("x-forwarded-for", "").rpartition(",")[2]):
		if (address := _address(text.strip())) is not None:
			return str(address)
	return ""


def _address(text: str) -> IPv4Address | IPv6Address | None:
	# A client chooses the text, and could fill the cache with long ones.
	return _parse_address(text) if 0 < len(text) <= MAX_ADDRESS else None


@lru_cache(maxsize=4096)
def _parse_address(text: str) -> IPv4Address | IPv6Address | None:
	try:
		address = ip_address(text.partition("%")[0])
	except ValueError:
		return None
	# A dual-stack socket reports IPv4 peers as IPv4-mapped IPv6 addresses.
	return getattr(address, "ipv4_mapped", None) or address
