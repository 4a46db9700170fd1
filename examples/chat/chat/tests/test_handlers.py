"""The chat between clients in memory. Run with `python -m unittest chat.tests.test_handlers` or `bench run-tests`."""

from __future__ import annotations

import unittest

from frappe_realtime import topic_room
from frappe_realtime.testing import Client, Site

NOTE = ("Note", "Minutes")


class TestChat(unittest.TestCase):
	def setUp(self) -> None:
		self.site = Site("chat").open()
		self.addCleanup(self.site.close)
		self.ann = self.site.connect("ann@example.com")
		self.bob = self.site.connect("bob@example.com")

	def open(self, *clients: Client) -> None:
		for client in clients:
			assert "error" not in client.call("chat_open", *NOTE)

	def present(self) -> list[str]:
		return [member.user for member in self.ann.socket.presence(room=topic_room("chat", *NOTE)).members()]

	def test_users_are_present_while_the_chat_is_open(self) -> None:
		self.open(self.ann, self.bob)
		assert sorted(self.present()) == ["ann@example.com", "bob@example.com"]
		self.bob.disconnect()
		assert self.present() == ["ann@example.com"]
		self.ann.emit("chat_close", *NOTE)
		assert self.present() == []

	def test_a_message_is_acknowledged_and_sent_to_all(self) -> None:
		self.open(self.ann, self.bob)
		answer = self.ann.call("chat_send", *NOTE, "Hello")
		for client in (self.ann, self.bob):
			[[message]] = client.received("chat_message")
			assert (message["text"], message["sent"]) == ("Hello", answer["sent"])

	def test_a_user_without_permission_cannot_open_the_chat(self) -> None:
		self.site.forbid("bob@example.com", *NOTE)
		assert "error" in self.bob.call("chat_open", *NOTE)
		assert "error" in self.bob.call("chat_send", *NOTE, "Hello?")

	def test_a_user_who_loses_the_permission_leaves_the_chat(self) -> None:
		self.open(self.ann, self.bob)
		self.site.forbid("bob@example.com", *NOTE)
		assert self.present() == ["ann@example.com"]
		self.ann.call("chat_send", *NOTE, "Without Bob")
		assert self.bob.received("chat_message") == []
		assert "error" in self.bob.call("chat_send", *NOTE, "Hello?")

	def test_a_user_in_many_chats_cannot_open_another_one(self) -> None:
		for number in range(8):
			assert "room" in self.ann.call("chat_open", "Note", str(number))
		assert "error" in self.ann.call("chat_open", *NOTE)
		assert "error" in self.ann.call("chat_send", *NOTE, "Hello?")


if __name__ == "__main__":
	unittest.main()
