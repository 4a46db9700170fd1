"""Commands to Redis, as they are sent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import hiredis

from .endpoint import Address

Argument = str | int | bytes
Command = tuple[Argument, ...]


def pack(commands: Sequence[Command]) -> bytes:
	"""Return commands in the protocol of Redis."""
	return b"".join([hiredis.pack_command(cast(Any, command)) for command in commands])


def greeting(address: Address) -> list[Command]:
	"""Return the commands that come first on a connection: AUTH if there is a password, SELECT if the URL names a database."""
	commands: list[Command] = []
	if address.password:
		names = [address.username] if address.username else []
		commands.append(("AUTH", *names, address.password))
	if address.database:
		commands.append(("SELECT", address.database))
	return commands
