"""Permission questions of handlers, about names that clients have sent."""

from __future__ import annotations

from typing import Any

import pytest

from realtime.access.client_questions import MAX_NAME, ClientQuestions

TOO_LONG = "x" * (MAX_NAME + 1)


@pytest.mark.parametrize(
	"names",
	[
		("",),
		(TOO_LONG,),
		("Note", TOO_LONG),
		("Note", "1", TOO_LONG),
		(5,),
		(["Note"],),
		({"a": 1}, "1"),
		("Note", "1", ["read"]),
	],
)
def test_nobody_is_asked_about_names_that_frappe_does_not_have(names: tuple[Any, ...]) -> None:
	"""The answers would be kept with the names, of which a client may send any number."""
	nobody: Any = None
	assert ClientQuestions(nobody, nobody).has_permission(nobody, *names) is False
