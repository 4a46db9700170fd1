"""The types of the fixtures in `tests/conftest.py`, and their constants."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future

from tests.wire import nodejs
from tests.wire.bench import Bench
from tests.wire.clients import Client

VERSIONS = (15, 16, 17)
LONG = 90.0
"""Seconds that a client waits while the web process does not answer."""

MakeBench = Callable[..., Bench]
Connect = Callable[..., Client]
StartConnecting = Callable[..., tuple[Client, "Future[None]"]]
ConnectNode = Callable[..., nodejs.NodeClient]
