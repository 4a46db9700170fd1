"""Emitting to rooms, and what all functions that emit have in common."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator, Iterable
from typing import Any

from ..contract.events import RESERVED_EVENTS
from .runtime import Runtime

Rooms = str | Iterable[str]
"""One room, or several."""


class Completed(Awaitable[None]):
	"""An awaitable of work that is done already: awaiting it does not suspend the coroutine."""

	def __await__(self) -> Generator[Any, None, None]:
		return _EMPTY  # type: ignore[return-value]


_EMPTY = iter(())
COMPLETED = Completed()


def arguments_of(event: str, data: Any) -> tuple[Any, ...]:
	"""Return the arguments of an event with `data`: none for None, several for a tuple.

	Raises:
		TypeError: The name is no string: a client that gets such an event closes its connection.
		ValueError: Socket.IO reserves the name of the event.
	"""
	if not isinstance(event, str):
		raise TypeError(
			f"the name of an event is a string, and this one is of the type {type(event).__name__}"
		)
	if event in RESERVED_EVENTS:
		raise ValueError(f"{event!r} is an event of Socket.IO itself; choose another name")
	if data is None:
		return ()
	return data if type(data) is tuple else (data,)


def rooms_of(rooms: Rooms) -> tuple[str, ...]:
	"""Return the rooms as a tuple.

	Raises:
		TypeError: One of them is no string. A client may have sent them to the handler.
	"""
	if isinstance(rooms, str):
		return (rooms,)
	names: tuple[Any, ...] = tuple(rooms) if isinstance(rooms, Iterable) else (rooms,)
	for name in names:
		if not isinstance(name, str):
			raise TypeError(f"a room is a string, and this one is of the type {type(name).__name__}")
	return names


class BroadcastOperator:
	"""Emits to rooms of a site, or to all its sockets, on all sidecars of the bench; named as in Socket.IO."""

	__slots__ = ("_excluded", "_namespace", "_rooms", "_runtime")

	def __init__(
		self, runtime: Runtime, namespace: Any, rooms: tuple[str, ...] | None = None, excluded: Any = None
	) -> None:
		self._runtime = runtime
		self._namespace = namespace
		self._rooms = rooms
		self._excluded = excluded

	def to(self, rooms: Rooms) -> BroadcastOperator:
		"""Add rooms. A socket that is in several of them gets the event once; if there are none, nobody gets it."""
		return BroadcastOperator(
			self._runtime, self._namespace, (*(self._rooms or ()), *rooms_of(rooms)), self._excluded
		)

	def emit(self, event: str, data: Any = None) -> Awaitable[None]:
		"""Emit an event; the arguments and errors are those of `Socket.emit`."""
		self._runtime.emit(self._namespace, self._rooms, event, arguments_of(event, data), self._excluded)
		return COMPLETED

	def prepare_emit(self, event: str, data: Any) -> Callable[[], None]:
		"""Encode an event, and return what emits it; see `Runtime.prepare_emit`."""
		return self._runtime.prepare_emit(
			self._namespace, self._rooms, event, arguments_of(event, data), self._excluded
		)
