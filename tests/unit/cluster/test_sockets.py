"""The sockets of other sidecars, compared with a plain set."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime.cluster.sockets import MAX_STATE, Action, Identity, SocketChange, SocketTable
from realtime.json_codec import loads
from realtime.socketio.namespace import Namespaces, ServerSocket
from tests.unit.handlers.fakes import SITE, add_socket

SOCKETS = st.tuples(st.sampled_from([SITE, "/b"]), st.sampled_from("123"))
SIDECARS = st.sampled_from(["one", "two"])
STEPS: st.SearchStrategy[Any] = st.one_of(
	st.tuples(st.just("apply"), SIDECARS, st.lists(st.tuples(SOCKETS, st.booleans()))),
	st.tuples(st.just("replace"), SIDECARS, st.lists(st.tuples(SOCKETS, st.just(True)))),
	st.tuples(st.just("forget"), SIDECARS, st.just([])),
)


@given(st.lists(STEPS, max_size=20))
def test_equals_a_set(steps: list[tuple[str, str, list[tuple[tuple[str, str], bool]]]]) -> None:
	table = SocketTable(Namespaces(), 1000)
	known: set[tuple[str, str, str]] = set()
	changed: set[tuple[str, str]] = set()
	table.changed.connect(lambda namespace, id: changed.add((namespace, id)))
	for step, sidecar, values in steps:
		before = {(namespace, id) for _, namespace, id in known}
		changes: list[SocketChange] = [(*key, identity(key[1]) if there else None) for key, there in values]
		if step == "apply":
			table.apply(sidecar, changes)
		else:
			table.replace(sidecar, changes)
			known = {one for one in known if one[0] != sidecar}
		for key, there in values:
			(known.add if there else known.discard)((sidecar, *key))
		after = {(namespace, id) for _, namespace, id in known}
		assert changed >= before ^ after
		assert table.count == len(after)
		for namespace in (SITE, "/b"):
			assert {(namespace, id) for id in table.ids(namespace)} == {
				key for key in after if key[0] == namespace
			}
		for key in after:
			socket = table.get(*key)
			assert socket is not None
			assert socket.identity == identity(key[1])
			assert {(sidecar, *key) for sidecar in socket.sidecars} == {
				one for one in known if one[1:] == key
			}
	for sidecar in ("one", "two"):
		table.forget(sidecar)
	assert (table.count, table._remote) == (0, {})


def identity(id: str) -> Identity:
	return Identity(f"user {id}", "System User", "")


def test_a_socket_of_this_process_is_not_a_remote_one() -> None:
	"""After a reconnect, the sidecar that the client has left announces it for a moment longer."""
	namespaces = Namespaces()
	table = SocketTable(namespaces, 10)
	socket = add_socket(namespaces, "ann")
	table.apply("other", [(SITE, socket.id, Identity("ann", "System User", "")), (SITE, "far", ANN)])
	assert (table.ids(SITE), table.get(SITE, socket.id)) == (["far"], None)
	del socket.namespace.sockets[socket.id]
	assert sorted(table.ids(SITE)) == sorted(["far", socket.id])
	assert table.get(SITE, socket.id) is not None


ANN = Identity("ann", "System User", "Ann")


def test_sockets_are_bounded() -> None:
	refused = []
	table = SocketTable(Namespaces(), 2, lambda: refused.append(1))
	table.apply("one", [(SITE, str(number), ANN) for number in range(5)])
	assert (table.ids(SITE), len(refused)) == (["0", "1"], 3)
	table.apply("one", [(SITE, "0", None), (SITE, "5", ANN)])
	assert table.ids(SITE) == ["1", "5"]


def test_only_announced_namespaces_are_published() -> None:
	namespaces = Namespaces()
	table = SocketTable(namespaces)
	table.set_replicating(True)
	due: list[int] = []
	table.publish.connect(lambda: due.append(1))
	ann = add_socket(namespaces, "ann")
	table.set_state(ann, "javascript", {"a": 1})
	table.clear_states("javascript")
	table.remove(ann)
	assert (due, list(table.local_sockets()), table.take_unpublished()) == ([], [], ([], []))
	table.announce(ann.namespace)
	ben = add_socket(namespaces, "ben")
	table.put(ben)
	expected: list[SocketChange] = [
		(SITE, socket.id, Identity(socket.session.user, "System User", socket.session.user))
		for socket in (ann, ben)
	]
	assert table.take_unpublished() == (expected, [])
	assert list(table.local_sockets()) == expected
	assert len(due) == 2
	table.remove(ben)
	assert table.take_unpublished() == ([], [(SITE, ben.id, None)])
	assert table.take_unpublished() == ([], [])


def test_without_another_sidecar_no_change_is_kept() -> None:
	namespaces = Namespaces()
	table = SocketTable(namespaces)
	ann = add_socket(namespaces, "ann")
	table.announce(ann.namespace)
	table.set_state(ann, "python", {"a": 1})
	table.remove(add_socket(namespaces, "ben"))
	assert table.take_unpublished() == ([], [])
	table.set_replicating(True)
	assert table.take_unpublished() == ([], [])
	table.put(ann)
	table.set_replicating(False)
	assert table.take_unpublished() == ([], [])


def test_the_state_of_a_socket_is_published() -> None:
	namespaces = Namespaces()
	table = SocketTable(namespaces)
	ann = add_socket(namespaces, "ann")
	table.announce(ann.namespace)
	table.set_state(ann, "javascript", {"b": {"c": [2]}})
	table.set_replicating(True)

	def published() -> Any:
		(come, gone) = table.take_unpublished()
		assert list(table.local_sockets())[: len(come)] == come
		assert gone == []
		return [identity.state for _, _, identity in come if identity]

	state = {"a": 1}
	table.set_state(ann, "python", state)
	assert published() == [{"python": {"a": 1}, "javascript": {"b": {"c": [2]}}}]
	state["a"] = 2
	table.set_state(ann, "python", state)
	table.clear_states("javascript")
	assert published() == [{"python": {"a": 2}}]
	table.clear_states("javascript")
	assert published() == []
	del ann.namespace.sockets[ann.id]
	table.remove(ann)
	table.set_state(ann, "python", state)
	assert table._states == {}


def test_state_that_json_cannot_hold_or_that_is_too_large_stays_here() -> None:
	namespaces = Namespaces()
	table = SocketTable(namespaces)
	ann = add_socket(namespaces, "ann")
	table.announce(ann.namespace)
	circle: list[Any] = []
	circle.append(circle)
	state = {
		"object": object(),
		"bytes": b"1",
		"tuple": (1, 2),
		"time": datetime(2026, 1, 1),
		"circle": circle,
		"nan": float("nan"),
		"nested": loads("[" * 300 + "]" * 300),
		"large": "x" * MAX_STATE,
		1: "key",
		"half": "x" * (MAX_STATE // 2),
		"other half": "x" * (MAX_STATE // 2),
		"small": {"a": [True, None, "é"]},
	}
	table.set_state(ann, "python", state)  # type: ignore[arg-type]
	((_, _, identity),) = table.local_sockets()
	assert identity is not None
	assert identity.state == {"python": {key: state[key] for key in ("half", "small")}}


@pytest.mark.parametrize(
	("action", "expected"),
	[("join", {"old", "room"}), ("leave", {"old"}), ("disconnect", False), ("close", True)],
)
def test_a_command_is_executed(action: Action, expected: Any, monkeypatch: pytest.MonkeyPatch) -> None:
	closed: list[bool] = []
	monkeypatch.setattr(ServerSocket, "disconnect", lambda socket, close=False: closed.append(close))
	namespaces = Namespaces()
	table = SocketTable(namespaces)
	commanded: list[Any] = []
	table.commanded.connect(lambda *command: commanded.append(command))
	leaving: list[str] = []
	table.leaving.connect(lambda socket, room: leaving.append(room))
	socket = add_socket(namespaces, "ann")
	for room in ("old", *(["room"] if action == "leave" else [])):
		socket.join(room)
	assert table.execute(SITE, socket.id, action, "room")
	if isinstance(expected, bool):
		assert closed == [expected]
	else:
		assert socket.rooms == expected
	assert leaving == (["room"] if action == "leave" else [])
	assert not table.execute(SITE, "far", action, "room")
	assert not table.execute("/no such site", socket.id, action, "room")
	table.command(SITE, socket.id, action, "room")
	assert commanded == []
	table.command(SITE, "far", action, "room")
	assert commanded == [(SITE, "far", action, "room")]
