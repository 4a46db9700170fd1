"""The log of failing handlers: the first failure with its traceback, repetitions as counts, at a bounded rate."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from frappe_realtime.handlers.registry import Handler, Signature
from realtime.handlers.failure_log import MAX_FAILURES, REPEAT_SECONDS, FailureLog, text_of

SOCKET: Any = SimpleNamespace(user="ann", site="test.localhost", sid="a socket")


def raised(error: BaseException) -> BaseException:
	"""Return `error` with a traceback."""
	try:
		raise error
	except BaseException as caught:
		return caught


def test_equal_failures_are_counted(caplog: pytest.LogCaptureFixture) -> None:
	log = FailureLog()
	for number in range(1000):
		log.log("chat", "go", SOCKET, raised(ValueError(f"number {number}")), number / 1000)
	assert caplog.text.count("Traceback") == 1
	assert "chat: a handler of 'go' failed (user ann of test.localhost)" in caplog.text
	caplog.clear()
	log.log_repeats(REPEAT_SECONDS - 1)
	assert caplog.text == ""
	log.log_repeats(REPEAT_SECONDS)
	assert len(caplog.records) == 1
	assert (
		"chat: a handler of 'go' failed 999 more times in 60 s (last: user ann of test.localhost: ValueError)"
		in (caplog.text)
	)
	caplog.clear()
	log.log_repeats(REPEAT_SECONDS + 1)
	assert caplog.text == ""


@pytest.mark.parametrize(
	("app", "event", "error"),
	[
		("other", "go", ValueError("no")),
		("chat", "other", ValueError("no")),
		("chat", "go", TypeError("no")),
	],
)
def test_different_failures_are_logged(
	caplog: pytest.LogCaptureFixture, app: str, event: str, error: BaseException
) -> None:
	log = FailureLog()
	log.log("chat", "go", SOCKET, raised(ValueError("no")), 0)
	log.log(app, event, SOCKET, raised(error), 0)
	assert caplog.text.count("Traceback") == 2


def test_a_failure_in_another_line_is_logged(caplog: pytest.LogCaptureFixture) -> None:
	log = FailureLog()
	for error in (raised(ValueError("no")), ValueError("without a traceback")):
		log.log("chat", "go", SOCKET, error, 0)
	assert len(caplog.records) == 2


def test_a_failure_that_was_not_repeated_is_logged_again_with_its_traceback(
	caplog: pytest.LogCaptureFixture,
) -> None:
	log = FailureLog()
	for now in (0, 2 * REPEAT_SECONDS):
		log.log("chat", "go", SOCKET, raised(ValueError("no")), now)
		log.log_repeats(now + REPEAT_SECONDS)
	assert caplog.text.count("Traceback") == 2


def test_the_number_of_different_failures_is_bounded(caplog: pytest.LogCaptureFixture) -> None:
	log = FailureLog()
	for number in range(10 * MAX_FAILURES):
		log.log("chat", f"event {number}", SOCKET, raised(ValueError("no")), 0)
	assert len(caplog.records) == MAX_FAILURES + 1
	caplog.clear()
	log.log_repeats(REPEAT_SECONDS)
	assert "apps: a handler of '(other events)' failed 1799 more times" in caplog.text


def test_events_with_too_few_arguments_are_counted(caplog: pytest.LogCaptureFixture) -> None:
	def go(first: int, second: int) -> None: ...

	log = FailureLog()
	handler = Handler("go", go, "chat", Signature.of(go), is_async=False)
	for _ in range(100):
		log.log_too_few_arguments(handler, SOCKET, 1, 0)
	assert len(caplog.records) == 1
	assert (
		"go did not run: 'go' came with 1 arguments, it needs 2 (user ann of test.localhost)" in caplog.text
	)
	log.log_repeats(REPEAT_SECONDS)
	assert "chat: a handler of 'go' failed 99 more times" in caplog.text


class Unprintable(Exception):
	"""As one with a value that is nested too deeply."""

	def __str__(self) -> str:
		raise RecursionError


@pytest.mark.parametrize(
	("error", "text"),
	[
		(ValueError("no"), "ValueError: no"),
		(KeyError("x" * 100), "KeyError: 'xxxx"),
		(Unprintable(), "Unprintable: (RecursionError while its text was made)"),
	],
)
def test_the_text_of_an_exception(error: BaseException, text: str) -> None:
	assert text_of(error, 5) == text
