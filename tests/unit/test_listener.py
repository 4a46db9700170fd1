"""The listening socket of a process."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
import uvloop

from realtime.config import EXIT_LISTEN, Config, ConfigError
from realtime.listener import Listener, bind, bind_shared


class Greeter(asyncio.Protocol):
	"""Sends a greeting."""

	def connection_made(self, transport: asyncio.BaseTransport) -> None:
		assert hasattr(transport, "write")
		transport.write(b"hello")
		transport.close()


@pytest.mark.parametrize("new_loop", [uvloop.new_event_loop, asyncio.new_event_loop])
def test_connections_that_wait_when_the_socket_is_closed_are_accepted(
	new_loop: Callable[[], asyncio.AbstractEventLoop],
) -> None:
	config = Config(bench=Path(), realtime_host="127.0.0.1", socketio_port=0)

	async def scenario() -> None:
		[listening] = bind_shared(config, 1)
		address = listening.getsockname()
		listener = Listener(config, Greeter, listening)
		await listener.start()
		with ExitStack() as stack:
			clients = [stack.enter_context(socket.create_connection(address)) for _ in range(3)]
			await listener.close()
			with pytest.raises(ConnectionRefusedError):
				socket.create_connection(address)
			for client in clients:
				client.setblocking(False)
				assert await asyncio.get_running_loop().sock_recv(client, 100) == b"hello"

	loop = new_loop()
	loop.run_until_complete(asyncio.wait_for(scenario(), 10))
	loop.close()


@pytest.mark.parametrize("host", ["192.0.2.1", "a..b"], ids=["of no machine", "no name"])
@pytest.mark.parametrize(
	"bind_it", [bind, lambda config: bind_shared(config, 2)], ids=["one process", "workers"]
)
def test_an_address_that_this_machine_has_not_is_named_with_its_key(
	bind_it: Callable[[Config], object], host: str
) -> None:
	with pytest.raises(ConfigError) as refused:
		bind_it(Config(bench=Path(), realtime_host=host, socketio_port=0))
	assert refused.value.exit_code == EXIT_LISTEN
	assert f"{host} (realtime_host)" in str(refused.value)
	assert "realtime_host must be an address of this machine" in str(refused.value)


def test_a_unix_socket_on_which_another_process_listens_is_not_taken(tmp_path: Path) -> None:
	path = tmp_path / "socket"
	config = Config(bench=Path(), socketio_uds=str(path))
	with bind(config) as first:
		first.listen()
		with pytest.raises(ConfigError, match="still running") as refused:
			bind(config)
		assert refused.value.exit_code == EXIT_LISTEN
		with socket.socket(socket.AF_UNIX) as client:
			client.connect(str(path))
	assert path.exists(), "as a killed process leaves it behind"
	bind(config).close()
