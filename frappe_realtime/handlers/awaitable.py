"""Awaitables that refuse to be used as a truth value."""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine, Generator
from typing import Any, NoReturn, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class MustBeAwaited(Coroutine[Any, Any, T]):
	"""A coroutine that raises TypeError in `if` and `not`.

	Any other coroutine is true there. Without the `await`, `if not socket.has_permission(…): return` would let every user
	pass.

	Args:
		coroutine: The coroutine that does the work.
		name: The name of its function.
	"""

	__slots__ = ("_coroutine", "_name")

	def __init__(self, coroutine: Coroutine[Any, Any, T], name: str) -> None:
		self._coroutine = coroutine
		self._name = name

	def __repr__(self) -> str:
		return f"<{type(self).__name__} {self._name}>"

	def __bool__(self) -> NoReturn:
		self._coroutine.close()
		raise TypeError(
			f"the result of {self._name}(…) was tested without `await`: write `await …{self._name}(…)`"
		)

	def __await__(self) -> Generator[Any, Any, T]:
		return self._coroutine.__await__()

	# asyncio makes tasks only of coroutines: `create_task(socket.has_permission(…))`.

	def send(self, value: Any) -> Any:
		return self._coroutine.send(value)

	def throw(self, *error: Any) -> Any:
		return self._coroutine.throw(*error)

	def close(self) -> None:
		self._coroutine.close()


def must_be_awaited(function: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, MustBeAwaited[T]]:
	"""Decorate a coroutine function so that a forgotten `await` raises when its result is tested."""

	@functools.wraps(function)
	def call(*args: P.args, **kwargs: P.kwargs) -> MustBeAwaited[T]:
		return MustBeAwaited(function(*args, **kwargs), function.__name__)

	return call
