"""The address at which other sidecars reach this one."""

from __future__ import annotations

from ipaddress import ip_address
from socket import gethostname

from ..config import Config


def peer_address(config: Config, local_host: str) -> str:
	"""Return host and port at which other sidecars reach this one; empty if it listens on a Unix socket.

	The host is that of `realtime_peer_address`; else `realtime_host`, if this is a single address; else the one from which
	this sidecar is connected to redis_queue, which all sidecars reach; else, if Redis is on this host, its name.

	Args:
		config: The configuration.
		local_host: The local address of the connection to redis_queue; empty if it is not known.
	"""
	configured = config.realtime_peer_address
	if configured and _has_port(configured):
		return configured
	if config.socketio_uds:
		return ""
	host = configured or config.realtime_host
	if not host or _is_any(host):
		host = gethostname() if not local_host or _is_loopback(local_host) else local_host
	if ":" in host:
		host = f"[{host.strip('[]')}]"
	return f"{host}:{config.socketio_port}"


def _has_port(address: str) -> bool:
	host, _, port = address.rpartition(":")
	return port.isdecimal() and bool(host) and (":" not in host or host.endswith("]"))


def _is_any(host: str) -> bool:
	"""Return True if `host` means all addresses of the machine."""
	try:
		return ip_address(host).is_unspecified
	except ValueError:
		return False


def _is_loopback(host: str) -> bool:
	try:
		address = ip_address(host)
	except ValueError:
		return False
	return (getattr(address, "ipv4_mapped", None) or address).is_loopback
