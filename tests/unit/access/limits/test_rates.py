"""Limits of what a client does: its events, its rooms, and the questions that it causes; and what it is told."""

from __future__ import annotations

from typing import Any

import pytest

from realtime.access.limits import BURST_SECONDS
from realtime.socketio.namespace import Namespaces
from tests.unit.access.fakes import connected
from tests.unit.access.limits.subjects import ANN, GUEST, limits, opened, socket_of

# -- the rate of events


def test_a_burst_then_the_rate(clock: list[float]) -> None:
	subject = limits(realtime_guest_events_per_second=2)
	client = opened(subject)
	burst = 2 * BURST_SECONDS
	assert [subject.allows(client) for _ in range(burst + 1)] == [True] * burst + [False]
	clock[0] += 1
	assert [subject.allows(client) for _ in range(2)] == [True, False]
	clock[0] += 1000
	assert [subject.allows(client) for _ in range(burst + 1)] == [True] * burst + [False]


def test_the_client_is_told_once_and_closed_if_it_continues(clock: list[float]) -> None:
	subject = limits(realtime_events_per_second=3)
	client = opened(subject)
	socket = socket_of(subject, client, ANN, Namespaces())
	connection: Any = client.connection
	burst = 3 * BURST_SECONDS
	for _ in range(burst):
		assert subject.allows(client)
	assert connection.sent == []
	for _ in range(burst):
		assert not subject.allows(client)
		assert not connection.closed
	[told] = connection.sent
	assert '"limit":"realtime_events_per_second","most":3' in told
	assert "further events are ignored for a while" in told
	subject.allows(client)
	assert connection.closed == "forced close"
	assert subject.reached["realtime_events_per_second"] == burst + 1
	assert socket.connected


def test_the_rate_of_a_login_replaces_that_of_a_guest(clock: list[float]) -> None:
	subject = limits(realtime_events_per_second=5, realtime_guest_events_per_second=1)
	namespaces = Namespaces()
	guest, user = opened(subject), opened(subject)
	socket_of(subject, guest, GUEST, namespaces)
	socket_of(subject, user, ANN, namespaces)
	assert (guest.rate, guest.credit) == (1, BURST_SECONDS)
	assert (user.rate, user.credit) == (5, 5 * BURST_SECONDS)
	subject.allows(user)
	# A second socket on the connection does not fill the bucket again.
	socket_of(subject, user, ANN, namespaces)
	assert user.credit == 5 * BURST_SECONDS - 1
	for _ in range(BURST_SECONDS + 1):
		subject.allows(guest)
	assert subject.reached == {"realtime_guest_events_per_second": 1}


@pytest.mark.parametrize(("user", "most"), [(ANN, 2000), (GUEST, 1000)])
def test_the_attachments_of_a_user_are_not_bounded_as_those_of_a_guest(
	clock: list[float], user: Any, most: int
) -> None:
	"""Also where both have the same rate of events."""
	subject = limits(
		realtime_events_per_second=5,
		realtime_guest_events_per_second=5,
		realtime_attachment_bytes=2000,
		realtime_guest_attachment_bytes=1000,
	)
	client = opened(subject)
	namespaces = Namespaces()
	socket_of(subject, client, user, namespaces)
	# The namespace `/` has no users.
	client.sockets["/"] = connected(namespaces, None, name="/")
	assert subject.allows_attachments(client, most)
	assert not subject.allows_attachments(client, most + 1)


# -- rooms


@pytest.mark.parametrize(
	("room", "allowed"),
	[("doc:ToDo/1", True), ("doctype:ToDo", True), ("task_progress:1", True), ("open_doc:ToDo/1", False)],
)
def test_rooms_of_guests(clock: list[float], room: str, allowed: bool) -> None:
	subject = limits()
	assert subject.allows_room(connected(Namespaces(), GUEST), room) is allowed
	assert subject.reached == ({} if allowed else {"realtime_guest_rooms": 1})
	assert limits().allows_room(connected(Namespaces(), ANN), room)


@pytest.mark.parametrize(
	("user", "key"), [(ANN, "realtime_rooms_per_socket"), (GUEST, "realtime_guest_rooms_per_socket")]
)
def test_the_number_of_rooms(clock: list[float], user: Any, key: str) -> None:
	subject = limits(**{key: 3})
	# The room of the user counts.
	socket = connected(Namespaces(), user, "doc:ToDo/1")
	assert subject.allows_room(socket, "doc:ToDo/2")
	socket.join("doc:ToDo/2")
	assert not subject.allows_room(socket, "doc:ToDo/3")
	[told] = socket.connection.sent
	assert f'"limit":"{key}","most":3' in told
	assert "doc:ToDo/3 is not joined" in told
	assert subject.reached == {key: 1}


# -- questions to the web process


@pytest.mark.parametrize(
	("user", "key"),
	[(ANN, "realtime_questions_per_second"), (GUEST, "realtime_guest_questions_per_second")],
)
def test_questions_of_a_client(clock: list[float], user: Any, key: str) -> None:
	subject = limits(**{key: 2})
	namespaces = Namespaces()
	client = opened(subject)
	socket = socket_of(subject, client, user, namespaces)
	connection: Any = client.connection
	burst = 2 * BURST_SECONDS
	assert [subject.allows_question(socket) for _ in range(burst)] == [True] * burst
	assert connection.sent == []
	assert [subject.allows_question(socket) for _ in range(3)] == [False] * 3
	[told] = connection.sent
	assert f'"limit":"{key}","most":2' in told
	assert subject.reached == {key: 3}
	# The rate goes on, other clients have their own, and one that goes on regardless is told again, but seldom.
	clock[0] += 1
	assert [subject.allows_question(socket) for _ in range(3)] == [True, True, False]
	assert len(connection.sent) == 2
	assert subject.allows_question(socket_of(subject, opened(subject), user, namespaces))
	clock[0] += 1000
	assert [subject.allows_question(socket) for _ in range(burst + 1)] == [True] * burst + [False]


def test_a_client_s_questions_are_forgotten_with_its_socket(clock: list[float]) -> None:
	subject = limits(realtime_questions_per_second=0.1)
	namespaces = Namespaces()
	first = socket_of(subject, opened(subject), ANN, namespaces)
	assert [subject.allows_question(first) for _ in range(2)] == [True, False]
	subject.on_disconnect(first)
	assert not subject._questions
