"""A stand-in for the web process: every session id is a System User, and every permission is granted.

Session ids that begin with `invented` are no sessions: as in Frappe, their user is Guest.

After a request of `/deny` every permission is denied, until one of `/permit`.

`python -m benchmarks.stand_in PORT [APP…]`: the site of the load generator has the apps that are named, in addition to
frappe; every other site has frappe alone.
"""

from __future__ import annotations

import asyncio
import json
import sys

import httptools
import uvloop

from benchmarks.client import SITE

STOCK_APPS = b'["frappe"]'
APPS = {SITE.encode(): json.dumps(["frappe", *sys.argv[2:]]).encode()}
"""The installed apps by site, as JSON; the other sites have `STOCK_APPS`."""


class StandIn(asyncio.Protocol):
	"""Answers `get_user_info`, the questions about permissions, `/deny` and `/permit`."""

	denied = False

	def connection_made(self, transport: asyncio.BaseTransport) -> None:
		self.transport = transport
		self.parser = httptools.HttpRequestParser(self)
		self.on_message_begin()

	def on_message_begin(self) -> None:
		self.sid = self.site = self.url = self.body = b""

	def on_url(self, url: bytes) -> None:
		self.url += url

	def data_received(self, data: bytes) -> None:
		self.parser.feed_data(data)

	def on_header(self, name: bytes, value: bytes) -> None:
		name = name.lower()
		if name == b"cookie":
			self.sid = value.partition(b"sid=")[2]
		elif name == b"x-frappe-site-name":
			self.site = value

	def on_body(self, body: bytes) -> None:
		self.body += body

	def on_message_complete(self) -> None:
		body = b'{"message":%b}' % self.answer()
		self.transport.write(  # type: ignore[attr-defined]
			b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
			% (len(body), body)
		)

	def answer(self) -> bytes:
		"""Return the answer to the request as JSON."""
		if b"get_user_info" in self.url:
			apps = APPS.get(self.site, STOCK_APPS)
			if self.sid == b"Guest" or self.sid.startswith(b"invented"):
				return b'{"user":"Guest","user_type":"Website User","installed_apps":%b}' % apps
			return b'{"user":"%b@example.com","user_type":"System User","installed_apps":%b}' % (
				self.sid,
				apps,
			)
		if b"has_permissions" in self.url:
			return json.dumps([not StandIn.denied] * len(json.loads(self.body)["questions"])).encode()
		if self.url in (b"/deny", b"/permit"):
			StandIn.denied = self.url == b"/deny"
		return b"false" if StandIn.denied else b"true"


async def main(port: int) -> None:
	server = await asyncio.get_running_loop().create_server(StandIn, "127.0.0.1", port, backlog=4096)
	await server.serve_forever()


if __name__ == "__main__":
	uvloop.install()
	asyncio.run(main(int(sys.argv[1])))
