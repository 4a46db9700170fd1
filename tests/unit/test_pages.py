"""The pages for operators: loaded once, with the first request, whose TCP connection waits meanwhile."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from typing import Any

import pytest

from realtime.pages import Pages

PATIENCE = 10


class Page(asyncio.Protocol):
	"""Records what it receives."""

	def __init__(self) -> None:
		self.transport: Any = None
		self.received = b""

	def connection_made(self, transport: asyncio.BaseTransport) -> None:
		self.transport = transport

	def data_received(self, data: bytes) -> None:
		self.received += data


class Runner:
	"""aiohttp's AppRunner, as far as it is used."""

	def __init__(self) -> None:
		self.server: Callable[[], Page] | None = None
		self.cleaned_up = False

	async def setup(self) -> None:
		self.server = Page

	async def cleanup(self) -> None:
		self.cleaned_up = True


class Transport:
	"""A TCP connection."""

	def __init__(self) -> None:
		self.protocol: Any = None
		self.reads = True
		self.closed = False

	def set_protocol(self, protocol: Any) -> None:
		self.protocol = protocol

	def pause_reading(self) -> None:
		self.reads = False

	def resume_reading(self) -> None:
		self.reads = True

	def is_closing(self) -> bool:
		return self.closed

	def close(self) -> None:
		self.closed = True


class Setting:
	"""Pages whose import ends when the test says so."""

	def __init__(self) -> None:
		self.may_end = threading.Event()
		self.imports = 0
		self.failure: Exception | None = None
		self.runner = Runner()
		self.pages = Pages(self._load)  # type: ignore[arg-type]

	def _load(self) -> Callable[[], Runner]:
		self.imports += 1
		assert self.may_end.wait(PATIENCE)
		if self.failure:
			raise self.failure
		return lambda: self.runner

	def request(self, data: bytes) -> Transport:
		"""Open a TCP connection with a request, as the engine does."""
		transport, protocol = Transport(), self.pages.protocol()
		transport.set_protocol(protocol)
		protocol.connection_made(transport)  # type: ignore[arg-type]
		protocol.data_received(data)
		return transport


async def until(condition: Callable[[], bool]) -> None:
	async def wait() -> None:
		while not condition():
			await asyncio.sleep(0.001)

	await asyncio.wait_for(wait(), PATIENCE)


def test_requests_that_come_during_the_import_wait_for_it() -> None:
	async def test() -> None:
		it = Setting()
		assert it.imports == 0
		transports = [it.request(f"GET /{number}".encode()) for number in range(2)]
		assert [one.reads for one in transports] == [False, False]
		it.may_end.set()
		await until(lambda: all(isinstance(one.protocol, Page) for one in transports))
		assert [one.protocol.received for one in transports] == [b"GET /0", b"GET /1"]
		assert [one.protocol.transport for one in transports] == transports
		assert [one.reads for one in transports] == [True, True]
		assert it.imports == 1
		assert it.request(b"GET /2").protocol.received == b"GET /2"
		await it.pages.stop()
		assert it.runner.cleaned_up

	asyncio.run(test())


def test_a_client_that_goes_while_it_waits_gets_no_answer() -> None:
	async def test() -> None:
		it = Setting()
		gone, closing, stays = (it.request(b"GET /") for _ in range(3))
		gone.protocol.connection_lost(None)
		closing.closed = True
		it.may_end.set()
		await until(lambda: isinstance(stays.protocol, Page))
		assert not isinstance(gone.protocol, Page)
		assert not isinstance(closing.protocol, Page)

	asyncio.run(test())


def test_an_import_that_fails_is_tried_again_with_the_next_request(caplog: pytest.LogCaptureFixture) -> None:
	async def test() -> None:
		it = Setting()
		it.failure = ImportError("no aiohttp")
		it.may_end.set()
		first = it.request(b"GET /1")
		await until(lambda: first.closed)
		assert "no aiohttp" in caplog.text
		it.failure = None
		second = it.request(b"GET /2")
		await until(lambda: isinstance(second.protocol, Page))
		assert it.imports == 2

	with caplog.at_level(logging.ERROR, "realtime.http"):
		asyncio.run(test())


def test_a_stop_during_the_import_closes_what_waits() -> None:
	async def test() -> None:
		it = Setting()
		transport = it.request(b"GET /")
		await until(lambda: it.imports == 1)
		stopping = asyncio.ensure_future(it.pages.stop())
		await until(lambda: transport.closed)
		await stopping
		it.may_end.set()
		assert not it.runner.cleaned_up

	asyncio.run(test())


def test_a_start_loads_them_at_once() -> None:
	async def test() -> None:
		it = Setting()
		it.may_end.set()
		await it.pages.start()
		assert it.request(b"GET /").protocol.received == b"GET /"
		assert it.imports == 1

	asyncio.run(test())


def test_a_request_during_a_start_does_not_load_them_again() -> None:
	"""A second application would replace the first one, whose listening socket would be closed without the event loop."""

	async def test() -> None:
		it = Setting()
		starting = asyncio.ensure_future(it.pages.start())
		await until(lambda: it.imports == 1)
		transport = it.request(b"GET /")
		it.may_end.set()
		await starting
		await until(lambda: isinstance(transport.protocol, Page))
		await it.pages.start()
		assert it.imports == 1

	asyncio.run(test())


def test_a_start_that_fails_says_so() -> None:
	async def test() -> None:
		it = Setting()
		it.failure = ImportError("no aiohttp")
		it.may_end.set()
		with pytest.raises(ImportError, match="no aiohttp"):
			await it.pages.start()

	asyncio.run(test())
