"""Network namespaces that stand for hosts, joined by a bridge: partitions are real there, and no packet leaves this machine.

The bridge is in a namespace of its own, the *middle*. All addresses exist in these namespaces only.
"""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

IP = shutil.which("ip") or shutil.which("ip", path="/usr/sbin")

CLONE_NEWNET = 0x40000000
"""The kind of namespace that setns(2) shall enter."""

SUBNET = "10.77.0"
MIDDLE_ADDRESS = f"{SUBNET}.1"

_numbers = itertools.count()


def missing() -> str:
	"""Return the reason why namespaces cannot be made here; empty if they can."""
	if not IP:
		return "no ip command: install iproute2"
	try:
		Network(0).close()
	except (OSError, subprocess.CalledProcessError) as error:
		return f"network namespaces cannot be made: {_reason(error)}"
	return ""


def _reason(error: OSError | subprocess.CalledProcessError) -> str:
	if isinstance(error, subprocess.CalledProcessError):
		return str(error.stderr).strip() or str(error)
	return str(error)


class Network:
	"""A bridge, and namespaces that are joined to it.

	Args:
		hosts: How many namespaces there are besides the middle.

	Raises:
		OSError, subprocess.CalledProcessError: The namespaces cannot be made.
	"""

	def __init__(self, hosts: int) -> None:
		prefix = f"frappe-realtime-{os.getpid()}-{next(_numbers)}"
		self.addresses = [f"{SUBNET}.{11 + number}" for number in range(hosts)]
		"""The addresses of the hosts."""
		self._middle = f"{prefix}-middle"
		self._hosts = [f"{prefix}-{number}" for number in range(hosts)]
		self._made: list[str] = []
		try:
			self._make()
		except BaseException:
			self.close()
			raise

	def _make(self) -> None:
		self._add(self._middle)
		self._in_middle("link", "add", "bridge", "type", "bridge")
		self._in_middle("addr", "add", f"{MIDDLE_ADDRESS}/24", "dev", "bridge")
		self._in_middle("link", "set", "bridge", "up")
		with self.middle():
			# Entered once, so that a process that may make namespaces but not enter them is noticed here.
			pass
		for number, (name, address) in enumerate(zip(self._hosts, self.addresses, strict=True)):
			self._add(name)
			self._in_middle(
				*("link", "add", f"host{number}", "type", "veth", "peer", "name", "eth0", "netns", name)
			)
			self._in_middle("link", "set", f"host{number}", "master", "bridge", "up")
			_ip("-n", name, "addr", "add", f"{address}/24", "dev", "eth0")
			_ip("-n", name, "link", "set", "eth0", "up")

	def _add(self, name: str) -> None:
		_ip("netns", "add", name)
		self._made.append(name)
		_ip("-n", name, "link", "set", "lo", "up")

	def _in_middle(self, *arguments: str) -> None:
		_ip("-n", self._middle, *arguments)

	def middle(self) -> contextlib.AbstractContextManager[None]:
		"""Put this thread into the namespace of the bridge, with the threads and processes that it starts meanwhile."""
		return _entered(self._middle)

	def host(self, number: int) -> contextlib.AbstractContextManager[None]:
		"""Put this thread into the namespace of a host, with the threads and processes that it starts meanwhile."""
		return _entered(self._hosts[number])

	def partition(self, number: int) -> None:
		"""Separate a host from all others: packets to and from it are lost, and no end is told."""
		self._in_middle("link", "set", f"host{number}", "nomaster")

	def heal(self, number: int) -> None:
		"""Join a host again."""
		self._in_middle("link", "set", f"host{number}", "master", "bridge")

	def close(self) -> None:
		"""Remove the namespaces; their interfaces end with the last process in them."""
		while self._made:
			_ip("netns", "del", self._made.pop())


def _ip(*arguments: str) -> None:
	assert IP
	subprocess.run([IP, *arguments], check=True, capture_output=True, text=True)


@contextlib.contextmanager
def _entered(name: str) -> Iterator[None]:
	with (
		Path("/proc/thread-self/ns/net").open("rb") as own,
		(Path("/run/netns") / name).open("rb") as other,
	):
		_enter(other.fileno())
		try:
			yield
		finally:
			_enter(own.fileno())


def _enter(descriptor: int) -> None:
	# os.setns exists from Python 3.12 on.
	libc = ctypes.CDLL(None, use_errno=True)
	if libc.setns(descriptor, CLONE_NEWNET):
		raise OSError(ctypes.get_errno(), f"setns: {os.strerror(ctypes.get_errno())}")
