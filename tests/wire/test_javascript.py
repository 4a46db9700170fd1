"""Handlers in JavaScript: what they read and do is what they would under Node."""

from __future__ import annotations

from .conftest import Connect
from .javascript import MakeJavaScriptBench, make_javascript_bench, processes

__all__ = ["make_javascript_bench"]


def test_an_event_is_answered(make_javascript_bench: MakeJavaScriptBench, connect: Connect) -> None:
	bench = make_javascript_bench(chat='socket.on("hello_chat", (...names) => socket.emit("hello", ...names));')
	client = connect(bench, bench.user())
	client.emit("hello_chat", "a", {"b": [1, None]}, b"\x00\xff")
	assert client.next("hello") == ("a", {"b": [1, None]}, b"\x00\xff")


def test_without_javascript_there_is_no_process(
	make_javascript_bench: MakeJavaScriptBench, connect: Connect
) -> None:
	bench = make_javascript_bench()
	connect(bench, bench.user()).fence()
	assert processes(bench) == []
