"""The address at which other sidecars reach this one, from the configuration and the connection to Redis."""

from __future__ import annotations

from pathlib import Path
from socket import gethostname

import pytest

from realtime.cluster.peer_address import peer_address
from realtime.config import Config

HERE = gethostname()


@pytest.mark.parametrize(
	("keys", "local_host", "address"),
	[
		({}, "10.0.0.5", "10.0.0.5:9000"),
		({"socketio_port": 9100}, "10.0.0.5", "10.0.0.5:9100"),
		({"realtime_host": "0.0.0.0"}, "10.0.0.5", "10.0.0.5:9000"),
		({"realtime_host": "::"}, "fd00::5", "[fd00::5]:9000"),
		({"realtime_host": "10.0.0.6"}, "10.0.0.5", "10.0.0.6:9000"),
		({"realtime_host": "realtime.internal"}, "", "realtime.internal:9000"),
		({}, "127.0.0.1", f"{HERE}:9000"),
		({}, "::ffff:127.0.0.1", f"{HERE}:9000"),
		({}, "", f"{HERE}:9000"),
		({"realtime_peer_address": "host-1"}, "10.0.0.5", "host-1:9000"),
		({"realtime_peer_address": "host-1:9443"}, "10.0.0.5", "host-1:9443"),
		({"realtime_peer_address": "fd00::7"}, "10.0.0.5", "[fd00::7]:9000"),
		({"realtime_peer_address": "[fd00::7]:9443"}, "10.0.0.5", "[fd00::7]:9443"),
		({"realtime_peer_address": "host-1:9443", "socketio_uds": "/run/x"}, "", "host-1:9443"),
		({"realtime_peer_address": "host-1", "socketio_uds": "/run/x"}, "", ""),
		({"socketio_uds": "/run/x"}, "10.0.0.5", ""),
	],
)
def test_the_address_is_the_most_specific_that_is_known(
	keys: dict[str, str | int], local_host: str, address: str
) -> None:
	assert peer_address(Config(bench=Path("/"), **keys), local_host) == address  # type: ignore[arg-type]
