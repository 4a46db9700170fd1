"""A stand-in for the web process that answers every request with a System User named after the session id.

Session ids that begin with `invented` are no sessions: as in Frappe, their user is Guest.
"""

from __future__ import annotations

import asyncio
import json
import sys

import httptools
import uvloop

APPS = json.dumps(["frappe", *sys.argv[2:]]).encode()
"""The apps of the site: frappe, and the command line arguments after the port."""


class StandIn(asyncio.Protocol):
	"""Answers every request of `get_user_info`."""

	def connection_made(self, transport: asyncio.BaseTransport) -> None:
		self.transport = transport
		self.parser = httptools.HttpRequestParser(self)
		self.sid = self.url = b""

	def on_message_begin(self) -> None:
		self.sid = self.url = b""

	def on_url(self, url: bytes) -> None:
		self.url += url

	def data_received(self, data: bytes) -> None:
		self.parser.feed_data(data)

	def on_header(self, name: bytes, value: bytes) -> None:
		if name.lower() == b"cookie":
			self.sid = value.partition(b"sid=")[2]

	def on_message_complete(self) -> None:
		if b"get_user_info" not in self.url:
			body = b'{"message":true}'
		elif self.sid == b"Guest" or self.sid.startswith(b"invented"):
			body = b'{"message":{"user":"Guest","user_type":"Website User","installed_apps":%b}}' % APPS
		else:
			body = b'{"message":{"user":"%b@example.com","user_type":"System User","installed_apps":%b}}' % (
				self.sid,
				APPS,
			)
		self.transport.write(  # type: ignore[attr-defined]
			b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
			% (len(body), body)
		)


async def main(port: int) -> None:
	server = await asyncio.get_running_loop().create_server(StandIn, "127.0.0.1", port, backlog=4096)
	await server.serve_forever()


if __name__ == "__main__":
	uvloop.install()
	asyncio.run(main(int(sys.argv[1])))
