"""Handlers that use a socket in an `async def` and in a plain `def`, and two clients."""

from __future__ import annotations

import pytest

from frappe_realtime.testing import Client, Site

HEAD = """
import asyncio
from frappe.realtime import Socket, SyncSocket, realtime

"""


def both(body: str, event: str = "go", arguments: str = "") -> list[object]:
	"""Return two parameters: the same handler as an `async def` and as a plain `def`, without the `AWAIT`s."""
	parameters = f"socket, {arguments}".rstrip(", ")
	plain = body.replace("AWAIT ", "")
	return [
		pytest.param(
			f"{HEAD}@realtime.on('{event}')\nasync def handler({parameters}):\n{body.replace('AWAIT', 'await')}",
			id="async",
		),
		pytest.param(f"{HEAD}@realtime.on('{event}')\ndef handler({parameters}):\n{plain}", id="plain"),
	]


def pair(site: Site) -> tuple[Client, Client]:
	"""Connect two users of a site."""
	return site.connect("ann@example.com"), site.connect("bob@example.com")
