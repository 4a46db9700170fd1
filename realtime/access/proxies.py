"""Whose word counts about a client: which peers are proxies of ours, and what they say of the address behind them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network


class TrustedProxies:
	"""The peers that are believed when they name a site, a host or a client's address.

	`networks` are addresses and networks as text; ValueError names one that is neither. A Unix socket is always a proxy.
	"""

	def __init__(self, networks: Iterable[str]) -> None:
		self._networks = [ip_network(network, strict=False) for network in networks]
		self.trusts = lru_cache(maxsize=4096)(self._trusts)

	def _trusts(self, peer: str) -> bool:
		"""Whether `peer`, an address as text and empty for a Unix socket, is one of them."""
		if not peer:
			return True
		address = _address(peer)
		return address is not None and any(address in network for network in self._networks)

	def client(self, peer: str, headers: Mapping[str, str]) -> str:
		"""The address of the client; empty when only a proxy's is known.

		In `X-Forwarded-For` the last address that is no proxy's counts: what stands before it, the client may have
		written itself.
		"""
		if not self.trusts(peer):
			return peer
		for name in reversed(headers.get("x-forwarded-for", "").split(",")):
			address = _address(name.strip())
			if address is None:
				break
			if not self.trusts(str(address)):
				return str(address)
		address = _address(headers.get("x-real-ip", "").strip())
		return str(address) if address is not None and not self.trusts(str(address)) else ""


@lru_cache(maxsize=4096)
def network_of(address: str) -> str:
	"""Whom `address` stands for where connections are counted: of IPv6 the network of 64 bits, in which a machine has
	any number of addresses."""
	found = _address(address)
	return str(ip_network((found, 64), strict=False)) if isinstance(found, IPv6Address) else address


def _address(text: str) -> IPv4Address | IPv6Address | None:
	if not text:
		return None
	try:
		address = ip_address(text.partition("%")[0])
	except ValueError:
		return None
	# A socket for both families names IPv4 peers in the form of IPv6.
	return getattr(address, "ipv4_mapped", None) or address
