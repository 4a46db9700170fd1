"""Questions to the other sidecars of the bench, over the channel on which they exchange heartbeats."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from ..cluster.adapter import ClusterAdapter
from ..cluster.messages import Reply, Request


@dataclass(slots=True)
class _Question:
	"""A question that is not answered by all peers yet."""

	missing: set[str]
	complete: asyncio.Event = field(default_factory=asyncio.Event)
	answers: dict[str, Any] = field(default_factory=dict)


class PeerQuestions:
	"""Asks all peers, and answers what they ask.

	Args:
		cluster: Receives requests and replies.
		answer: Returns the answer to a method with its arguments; raises ValueError, KeyError or TypeError for an invalid
			question, which gets no answer.
	"""

	def __init__(self, cluster: ClusterAdapter, answer: Callable[[str, dict[str, Any]], Any]) -> None:
		self._cluster = cluster
		self._answer = answer
		self._questions: dict[str, _Question] = {}
		self._numbers = count(1)
		cluster.requested.connect(self._on_request)
		cluster.replied.connect(self._on_reply)
		cluster.peer_removed.connect(self._on_peer_removed)

	@property
	def peers(self) -> set[str]:
		"""The ids of the peers."""
		return set(self._cluster.peers)

	async def ask(self, method: str, arguments: dict[str, Any], timeout: float) -> dict[str, Any]:
		"""Ask all peers.

		Args:
			method: What is asked.
			arguments: An object, as JSON.
			timeout: Seconds to wait for the peers.

		Returns:
			The answers of the peers that have answered in time, by their ids.
		"""
		question = _Question(self.peers)
		if not question.missing:
			return {}
		id = str(next(self._numbers))
		self._questions[id] = question
		try:
			self._cluster.publisher.request(id, method, arguments)
			await asyncio.wait_for(question.complete.wait(), timeout)
		except asyncio.TimeoutError:
			pass
		finally:
			del self._questions[id]
		return question.answers

	def _on_request(self, sender: str, request: Request) -> None:
		try:
			answer = self._answer(request.method, request.arguments)
		except (ValueError, KeyError, TypeError):
			self._cluster.received["invalid"] += 1
			return
		self._cluster.publisher.reply(sender, request.id, answer)

	def _on_reply(self, sender: str, reply: Reply) -> None:
		question = self._questions.get(reply.id)
		if question is not None and sender in question.missing:
			question.answers[sender] = reply.answer
			self._remove(question, sender)

	def _on_peer_removed(self, id: str) -> None:
		for question in self._questions.values():
			self._remove(question, id)

	@staticmethod
	def _remove(question: _Question, id: str) -> None:
		question.missing.discard(id)
		if not question.missing:
			question.complete.set()
