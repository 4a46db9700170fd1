"""Tests an app's handlers without a server, a network or a site.

	from frappe_realtime.testing import Site


	def test_a_message():
		with Site("chat") as site:
			ann = site.connect("ann@example.com")
			bob = site.connect("bob@example.com")
			ann.call("chat_open", "ToDo", "TODO-0001")
			bob.call("chat_open", "ToDo", "TODO-0001")
			bob.call("chat_send", "ToDo", "TODO-0001", "Hello")
			[[message]] = ann.received("chat_message")
			assert message["text"] == "Hello"

The production code loads, calls and guards the handlers; only the connections are kept in memory. `emit`, `call`,
`connect` and `disconnect` return when all handlers have ended, and raise what a handler raised.
"""

from ..errors import NoAnswer
from .client import Client
from .site import Site

__all__ = ["Client", "NoAnswer", "Site"]
