"""Replicated room members, compared with a plain set."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime.cluster.members import RemoteMembers, is_replicated
from realtime.cluster.messages import MembershipChange

NAMESPACES, ROOMS, IDS = st.sampled_from(["/a", "/b"]), st.sampled_from("xyz"), st.sampled_from("1234")
SIDECARS = st.sampled_from(["one", "two"])
MEMBERSHIPS = st.tuples(NAMESPACES, ROOMS, IDS)
STEPS: st.SearchStrategy[Any] = st.one_of(
	st.tuples(st.just("apply"), SIDECARS, st.lists(st.tuples(MEMBERSHIPS, st.booleans()))),
	st.tuples(st.just("replace"), SIDECARS, st.lists(st.tuples(MEMBERSHIPS, st.just(True)))),
	st.tuples(st.just("forget"), SIDECARS, st.just([])),
)


def user(id: str) -> str:
	return f"user {id}"


@given(st.lists(STEPS, max_size=20))
def test_equals_a_set(steps: list[tuple[str, str, list[tuple[tuple[str, str, str], bool]]]]) -> None:
	members = RemoteMembers(1000)
	known: set[tuple[str, str, str, str]] = set()
	moved: set[tuple[str, str, str]] = set()

	def on_move(namespace: str, id: str, room: str, inside: bool) -> None:
		move = (namespace, room, id)
		assert (move in moved) is not inside
		(moved.add if inside else moved.discard)(move)

	members.moved.connect(on_move)
	for step, sidecar, moves in steps:
		before = set(known)
		changes: list[MembershipChange] = [
			(*move, user(move[2]) if inside else None) for move, inside in moves
		]
		if step == "apply":
			members.apply(sidecar, changes)
		else:
			known = {one for one in known if one[0] != sidecar}
			changed = members.replace(sidecar, changes) if step == "replace" else members.forget(sidecar)
		for move, inside in moves:
			(known.add if inside else known.discard)((sidecar, *move))
		if step != "apply":
			different = before ^ known
			assert set(changed) == {(namespace, room) for _, namespace, room, _ in different}
			for (namespace, room), users in changed.items():
				assert users == {user(id) for _, n, r, id in different if (n, r) == (namespace, room)}
		assert members.count == len(known)
		for namespace in ("/a", "/b"):
			for room in "xyz":
				there = sorted(id for _, n, r, id in known if (n, r) == (namespace, room))
				assert sorted(members.ids(namespace, room)) == there
				assert sorted(members.users(namespace, room)) == [user(id) for id in there]
			for id in "1234":
				there = sorted(r for _, n, r, i in known if (n, i) == (namespace, id))
				assert sorted(members.rooms_of(namespace, id)) == there
			assert set(members.rooms(namespace)) == {r for _, n, r, _ in known if n == namespace}
		assert moved == {move[1:] for move in known}
	for sidecar in ("one", "two"):
		members.forget(sidecar)
	assert members._rooms == {}
	assert members._rooms_of == {}


def test_a_known_membership_is_no_change() -> None:
	members = RemoteMembers(10)
	assert members.apply("one", [("/a", "x", "1", "ann")]) == {("/a", "x"): {"ann"}}
	assert members.apply("one", [("/a", "x", "1", "ann"), ("/a", "y", "1", None)]) == {}
	assert members.replace("one", [("/a", "x", "1", "ann")]) == {}
	assert members.apply("one", [("/a", "x", "1", None)]) == {("/a", "x"): {"ann"}}


def test_memberships_are_bounded() -> None:
	refused = []
	members = RemoteMembers(2, lambda: refused.append(1))
	members.apply("one", [("/a", "x", str(number), "ann") for number in range(5)])
	assert (members.count, len(refused)) == (2, 3)
	assert members.rooms_of("/a", "4") == ()
	members.forget("one")
	members.apply("two", [("/a", "x", "4", "ann")])
	assert members.count == 1


@pytest.mark.parametrize("room", ["open_doc:ToDo/1", "chat:general", "doc", "user", "allx", "x"])
def test_replicated_rooms(room: str) -> None:
	assert is_replicated(room)


@pytest.mark.parametrize(
	"room", ["all", "website", "user:ann", "doc:ToDo/1", "doctype:ToDo", "task_progress:1", "", "x" * 3000]
)
def test_rooms_that_are_not_replicated(room: str) -> None:
	assert not is_replicated(room)
