"""What is counted, logged and reported of limits that were reached."""

from __future__ import annotations

import logging

import pytest

from realtime.access import limits as module
from realtime.access.limit_source import Source
from realtime.socketio.errors import ConnectRefused
from realtime.socketio.namespace import Namespaces
from tests.unit.access.limits.subjects import ADDRESS, ANN, limits, opened, socket_of


def test_limits_of_the_engine_are_logged_at_a_bounded_rate(
	clock: list[float], caplog: pytest.LogCaptureFixture
) -> None:
	subject = limits()
	client = opened(subject)
	for _ in range(3):
		subject.on_engine_limit("frames_per_second", client.connection)
	assert caplog.messages == [f"the limit realtime_frames_per_second (500.0) was reached by {ADDRESS}"]
	clock[0] += module.WARN_SECONDS
	subject.on_engine_limit("max_payload", None)
	subject.on_engine_limit("frames_per_second", client.connection)
	assert len(caplog.messages) == 3


def test_namespaces_and_connect_timeout_are_counted(clock: list[float]) -> None:
	subject = limits()
	refused = subject.too_many_namespaces(16)
	assert refused.data == {
		"code": "too_many_namespaces",
		"reason": "realtime_namespaces_per_connection is 16",
		"limit": "realtime_namespaces_per_connection",
		"most": 16,
	}
	subject.too_long_without_namespace(opened(subject))
	assert subject.reached == {"realtime_namespaces_per_connection": 1, "realtime_connect_timeout": 1}


def test_one_warning_a_minute_for_each_limit(clock: list[float], caplog: pytest.LogCaptureFixture) -> None:
	subject = limits()
	with caplog.at_level(logging.WARNING):
		for _ in range(3):
			subject.record("realtime_sidecars", " by x")
			subject.record("realtime_connect_timeout")
		assert len(caplog.records) == 2
		assert "the limit realtime_sidecars (64) was reached by x" in caplog.text
		clock[0] += 59
		subject.record("realtime_sidecars")
		assert len(caplog.records) == 2
		clock[0] += 1
		subject.record("realtime_sidecars")
	assert len(caplog.records) == 3
	assert subject.reached["realtime_sidecars"] == 5


def test_each_limit_is_reported_with_the_client(clock: list[float]) -> None:
	subject = limits(realtime_rooms_per_socket=1)
	reported: list[tuple[str, Source]] = []
	subject.limit_reached.connect(lambda key, source: reported.append((key, source)))
	client = opened(subject)
	subject.on_engine_limit("max_payload", client.connection)
	socket = socket_of(subject, client, ANN, Namespaces())
	assert not subject.allows_room(socket, "doc:ToDo/1")
	subject.on_engine_limit("max_unsent", client.connection)
	subject.record("realtime_sidecars")
	known = Source(ANN.site, ANN.user, ADDRESS, socket.id)
	assert reported == [
		("realtime_max_payload", Source(address=ADDRESS)),
		("realtime_rooms_per_socket", known),
		("realtime_max_unsent", known),
		("realtime_sidecars", Source()),
	]
	assert "realtime_max_unsent" not in subject.reached, "the engine counts its limits itself"


def test_refusals_are_reported_beyond_the_log_budget(clock: list[float]) -> None:
	subject = limits()
	reported: list[tuple[str, Source]] = []
	subject.refused.connect(lambda namespace, refused, source: reported.append((namespace, source)))
	for _ in range(20):
		subject.on_refused(opened(subject), "/one.test", ConnectRefused("no"))
	assert reported == [("/one.test", Source(address=ADDRESS))] * 20
