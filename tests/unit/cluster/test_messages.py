"""Messages between sidecars: encoded and decoded again; anything else is refused."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frappe_realtime.contract.channels import MAX_ATTACHMENTS
from realtime.cluster import message_reader, message_writer, messages
from realtime.cluster.messages import (
	PART,
	PRESENCE_PART,
	Emit,
	Goodbye,
	Heartbeat,
	MembershipChanges,
	PresenceChanges,
	Snapshot,
	SocketChanges,
	SocketCommand,
	SocketsMoved,
	SyncRequest,
	UsageCounts,
)
from realtime.cluster.sockets import Identity
from realtime.engine import Encoded
from realtime.presence.members import Member
from realtime.socketio import packets

SENDER = "0123456789abc-_Z"
MEMBER = Member("id", "ann", "Ann", 1, 2, {"a": [1, None], "b": "é"}, {"a": 3}, away=True)

ANN = Identity("ann", "System User", "")
BEN = Identity("ben", "System User", "", {"python": {"a": [1, None]}, "javascript": {"b": {}}})


def read(payload: bytes) -> messages.Message:
	assert message_reader.sender_of(payload) == SENDER
	return message_reader.read(payload)


@pytest.mark.parametrize(
	("written", "message"),
	[
		(message_writer.heartbeat(SENDER, "host:9000", 7), Heartbeat("host:9000", 7)),
		(message_writer.goodbye(SENDER), Goodbye()),
		(message_writer.sync_request(SENDER, "other"), SyncRequest("other")),
		(
			message_writer.usage_counts(SENDER, {"user a b": 5})[0],
			UsageCounts(False, [("user a b", 5)]),
		),
		(
			message_writer.sockets_moved(SENDER, [("/site", "id"), ("/b", "é")]),
			SocketsMoved([("/site", "id"), ("/b", "é")]),
		),
		(
			message_writer.membership_changes(
				SENDER, 3, [("/site", "room\n", "id", "user"), ("/site", "é", "id", None)]
			),
			MembershipChanges(3, [("/site", "room\n", "id", "user"), ("/site", "é", "id", None)]),
		),
		(
			message_writer.presence_changes(
				SENDER, 4, [("/site", "site", "id", MEMBER), ("/site", "é", "id", None)]
			),
			PresenceChanges(4, [("/site", "site", "id", MEMBER), ("/site", "é", "id", None)]),
		),
		(
			message_writer.socket_changes(
				SENDER, 5, [("/site", "id", ANN), ("/site", "b", BEN), ("/site", "é", None)]
			),
			SocketChanges(5, [("/site", "id", ANN), ("/site", "b", BEN), ("/site", "é", None)]),
		),
		(
			message_writer.socket_command(SENDER, "/site", "id", "join", "room"),
			SocketCommand("/site", "id", "join", "room"),
		),
		(
			message_writer.socket_command(SENDER, "/site", "id", "close", ""),
			SocketCommand("/site", "id", "close", ""),
		),
	],
)
def test_a_message_is_decoded_as_it_was_encoded(written: bytes, message: messages.Message) -> None:
	read_back = read(written)
	assert (type(read_back), read_back) == (type(message), message)


@pytest.mark.parametrize(("count", "parts"), [(0, 1), (1, 1), (PART, 1), (PART + 1, 2)])
def test_counts_in_parts(count: int, parts: int) -> None:
	counts = {str(number): number for number in range(count)}
	found = [read(written) for written in message_writer.usage_counts(SENDER, counts)]
	assert [one.more for one in found if isinstance(one, UsageCounts)] == [False, True][:parts]
	assert dict(item for one in found if isinstance(one, UsageCounts) for item in one.counts) == counts


@pytest.mark.parametrize(("count", "parts"), [(0, 1), (1, 1), (PART, 1), (PART + 1, 2)])
def test_a_snapshot_in_parts(count: int, parts: int) -> None:
	members: list[messages.MembershipChange] = [
		("/site", "room", str(number), "user") for number in range(count)
	]
	states = [read(written) for written in message_writer.snapshot(SENDER, 5, members)]
	assert [(one.seq, one.part, one.parts) for one in states if isinstance(one, Snapshot)] == [
		(5, number, parts) for number in range(parts)
	]
	assert [member for one in states if isinstance(one, Snapshot) for member in one.members] == members


def test_a_snapshot_with_members_of_places_in_parts() -> None:
	presence: list[Any] = [("/site", "site", "id", MEMBER)] * (PRESENCE_PART + 1)
	states: list[Any] = [
		read(written)
		for written in message_writer.snapshot(SENDER, 5, [("/site", "room", "1", "user")], presence)
	]
	assert [(one.part, one.parts, len(one.members), len(one.presence)) for one in states] == [
		(0, 3, 1, 0),
		(1, 3, 0, PRESENCE_PART),
		(2, 3, 0, 1),
	]
	assert states[2].presence == presence[:1]


def test_a_snapshot_with_sockets_in_parts() -> None:
	sockets: list[Any] = [("/site", str(number), ANN) for number in range(PART + 1)]
	states: list[Any] = [read(written) for written in message_writer.snapshot(SENDER, 5, [], (), sockets)]
	assert [(one.part, one.parts) for one in states] == [(0, 2), (1, 2)]
	assert [socket for one in states for socket in one.sockets] == sockets


@pytest.mark.parametrize(
	"identity",
	[
		["ann", "System User", ""],
		["ann", "System User", None, {}],
		["", "System User", "", {}],
		["ann", ["System User"], "", {}],
		["ann", "System User", "", []],
		["ann", "System User", "", {"python": 1}],
		5,
	],
)
def test_an_invalid_identity_is_refused(identity: Any) -> None:
	with pytest.raises((ValueError, TypeError)):
		message_reader.read(message_writer.socket_changes(SENDER, 1, [("/site", "id", identity)]))


@pytest.mark.parametrize(
	("action", "room"), [("join", ""), ("leave", "x" * 3000), ("emit", "room"), ("", ""), (["join"], "room")]
)
def test_an_invalid_command_is_refused(action: Any, room: str) -> None:
	with pytest.raises(messages.MessageError):
		message_reader.read(message_writer.socket_command(SENDER, "/site", "id", action, room))


@given(
	st.lists(
		st.one_of(st.none(), st.text(), st.binary(), st.integers(-(2**70), 2**70), st.lists(st.binary())),
		max_size=5,
	),
	st.one_of(st.none(), st.lists(st.text())),
	st.lists(st.text()),
)
def test_an_event_is_decoded_as_it_was_encoded(
	values: list[Any], rooms: list[str] | None, excluded: list[str]
) -> None:
	try:
		encoded = packets.encode_event("/site.test", ["event", *values])
	except ValueError:
		# It has more binary values than an event may have.
		return
	if len(encoded.messages) > MAX_ATTACHMENTS:
		return
	emit = read(message_writer.emit(SENDER, rooms, encoded, excluded))
	assert isinstance(emit, Emit)
	assert (emit.namespace, emit.rooms, emit.excluded) == ("/site.test", rooms, excluded)
	assert emit.encoded.messages == encoded.messages


@given(st.binary(max_size=200))
def test_noise_raises_value_error_or_type_error(noise: bytes) -> None:
	for payload in (noise, SENDER.encode() + b" emit " + noise, SENDER.encode() + b" changes [1]\n" + noise):
		try:
			message_reader.sender_of(payload)
			message_reader.read(payload)
		except (ValueError, TypeError):
			pass


def test_only_events_without_acknowledgement_are_decoded() -> None:
	for text in (
		"2/site,1[]",
		'2/site,1["a"]',
		'40/site,["a"]',
		'2["a"]',
		'2/site,["a"] ',
		'2/site,["connect"]',
	):
		with pytest.raises(ValueError):  # noqa: PT011 - of several kinds
			message_reader.read(message_writer.emit(SENDER, None, Encoded(text), ()))
