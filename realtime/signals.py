"""Signals: a component notifies the components that depend on it, without a dependency on them.

The sender has the signal as an attribute; a receiver connects to it in its own constructor. So dependencies between
packages go one way, and no object is modified after its constructor returns.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, ParamSpec

P = ParamSpec("P")


class Signal(Generic[P]):
	"""Calls the receivers that are connected to it, in the order in which they were connected."""

	__slots__ = ("_receivers",)

	def __init__(self) -> None:
		self._receivers: list[Callable[P, None]] = []

	def connect(self, receiver: Callable[P, None]) -> None:
		"""Call `receiver` each time the signal is sent."""
		self._receivers.append(receiver)

	def send(self, *args: P.args, **kwargs: P.kwargs) -> None:
		"""Call all receivers with these arguments. A receiver must neither raise nor block."""
		for receiver in self._receivers:
			receiver(*args, **kwargs)
