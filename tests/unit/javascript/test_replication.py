"""Sockets and rooms, replicated to the Node process."""

from __future__ import annotations

import asyncio
from itertools import count
from pathlib import Path

from realtime.cluster.sockets import Identity, State
from realtime.javascript.replication import MAX_PENDING_ACKS, SocketReplica
from tests.unit.javascript.fakes import SITE, JavaScriptBench, call


def test_socket_of_an_app_is_replicated_with_all_of_its_namespace(tmp_path: Path) -> None:
	async def run() -> None:
		bench = JavaScriptBench(tmp_path, "chat")
		bench.start_process()
		bench.connect("before")
		assert await bench.process.operations() == []
		bench.connect("one", "chat", "other").join("room")
		bench.connect("after")
		operations = await bench.process.operations()
		assert [operation[:3] for operation in operations if operation[0] == "add_socket"] == [
			["add_socket", f"/{SITE}", id] for id in ("before", "one", "after")
		]
		assert [operation for operation in operations if operation[0] != "add_socket"] == [
			["load_app", "chat", str(tmp_path / "apps" / "chat" / "realtime" / "handlers.js")],
			["call_handlers", "one", ["chat"]],
			["join", "one", "room"],
		]

	asyncio.run(run())


def test_move_of_the_sidecar_is_replicated(tmp_path: Path) -> None:
	async def run() -> None:
		bench = JavaScriptBench(tmp_path, "chat")
		bench.start_process()
		socket = bench.connect("one", "chat")
		await bench.process.operations()
		socket.join("room")
		socket.leave("room")
		assert await bench.process.operations() == [["join", "one", "room"], ["leave", "one", "room"]]

	asyncio.run(run())


def test_move_of_a_handler_is_only_confirmed(tmp_path: Path) -> None:
	"""The process has made the move already; as a move of the sidecar it would be sent, and handled, twice."""

	async def run() -> None:
		bench = JavaScriptBench(tmp_path, "chat")
		bench.start_process()
		socket = bench.connect("one", "chat")
		await bench.process.operations()
		bench.sockets.move("one", "room", inside=True)
		assert socket.rooms == {"room"}
		assert await bench.process.operations() == [["move_done", "one", "room", True]]
		bench.sockets.move("one", "room", inside=False)
		assert socket.rooms == set()
		assert await bench.process.operations() == [["move_done", "one", "room", False]]
		socket.join("room")
		assert await bench.process.operations() == [["join", "one", "room"]]

	asyncio.run(run())


def test_move_that_follows_from_a_move_of_a_handler_is_replicated(tmp_path: Path) -> None:
	"""An observer may move sockets in turn; only the handler's own move is known to the process."""

	async def run() -> None:
		bench = JavaScriptBench(tmp_path, "chat")
		bench.start_process()
		socket, other = bench.connect("one", "chat"), bench.connect("other", "chat")

		class Follower:
			def joined(self, moved: object, room: str) -> None:
				if moved is socket and room == "room":
					socket.join("second")
					other.join("room")

			def left(self, moved: object, room: str) -> None: ...

		bench.namespace.observe(Follower())
		await bench.process.operations()
		bench.sockets.move("one", "room", inside=True)
		assert await bench.process.operations() == [
			["join", "one", "second"],
			["join", "other", "room"],
			["move_done", "one", "room", True],
		]

	asyncio.run(run())


def test_move_of_an_unknown_socket_is_ignored(tmp_path: Path) -> None:
	async def run() -> None:
		bench = JavaScriptBench(tmp_path, "chat")
		bench.start_process()
		bench.sockets.move("gone", "room", inside=True)
		assert await bench.process.operations() == []

	asyncio.run(run())


def test_next_process_gets_all_sockets_before_handlers_are_called(tmp_path: Path) -> None:
	async def run() -> None:
		bench = JavaScriptBench(tmp_path, "chat")
		socket = bench.connect("one", "chat")
		bench.connect("two", "chat")
		socket.join("room")
		bench.start_process()
		operations = await bench.process.operations()
		assert [operation[0] for operation in operations] == [
			*["add_socket"] * 2,
			"load_app",
			*["call_handlers"] * 2,
		]
		assert operations[0][-1] == ["room"]

	asyncio.run(run())


def test_socket_that_leaves_is_removed_once(tmp_path: Path) -> None:
	async def run() -> None:
		bench = JavaScriptBench(tmp_path, "chat")
		bench.start_process()
		socket = bench.connect("one", "chat")
		await bench.process.operations()
		bench.sockets.remove(socket, "transport close")
		bench.sockets.remove(socket, "transport close")
		assert await bench.process.operations() == [["remove_socket", "one", "transport close"]]
		assert len(bench.sockets) == 0

	asyncio.run(run())


# -- sockets of other sidecars

ANN = Identity("ann@example.com", "System User", "Ann")
NAMESPACE = f"/{SITE}"


def test_remote_sockets_and_their_moves_are_replicated(tmp_path: Path) -> None:
	async def run() -> None:
		bench = JavaScriptBench(tmp_path, "chat")
		bench.start_process()
		bench.table.apply("other", [(NAMESPACE, "early", ANN), ("/another", "early", ANN)])
		bench.members.apply("other", [(NAMESPACE, "room", "early", ANN.user)])
		assert await bench.process.operations() == []
		bench.connect("one", "chat")
		operations = await bench.process.operations()
		assert [operation[0] for operation in operations] == [
			"add_remotes",
			"add_socket",
			"load_app",
			"call_handlers",
		]
		assert operations[0] == ["add_remotes", NAMESPACE, [["early", ANN.user, "System User", ["room"], {}]]]
		bench.table.apply("other", [(NAMESPACE, "late", ANN), ("/another", "late", ANN)])
		bench.members.apply(
			"other", [(NAMESPACE, "room", "late", ANN.user), (NAMESPACE, "room", "early", None)]
		)
		bench.members.apply("other", [(NAMESPACE, "room", "unknown", ANN.user)])
		bench.table.forget("other")
		assert await bench.process.operations() == [
			["add_remotes", NAMESPACE, [["late", ANN.user, "System User", [], {}]]],
			["move_remote", NAMESPACE, "late", "room", True],
			["move_remote", NAMESPACE, "early", "room", False],
			["remove_remote", NAMESPACE, "early"],
			["remove_remote", NAMESPACE, "late"],
		]

	asyncio.run(run())


def test_a_socket_that_moves_between_sidecars_is_replicated_once(tmp_path: Path) -> None:
	async def run() -> None:
		bench = JavaScriptBench(tmp_path, "chat")
		bench.start_process()
		bench.connect("stays", "chat")
		socket = bench.connect("moves", "chat")
		await bench.process.operations()
		state: State = {"javascript": {"mood": "good"}, "python": {"a": 1}}
		bench.table.apply("other", [(NAMESPACE, "moves", ANN._replace(state=state))])
		bench.members.apply("other", [(NAMESPACE, "room", "moves", ANN.user)])
		assert all(operation[0] != "add_remotes" for operation in await bench.process.operations())
		del bench.namespace.sockets["moves"]
		bench.sockets.remove(socket, "server namespace disconnect")
		assert await bench.process.operations() == [
			["remove_socket", "moves", "server namespace disconnect"],
			["add_remotes", NAMESPACE, [["moves", ANN.user, "System User", ["room"], {"mood": "good"}]]],
		]

	asyncio.run(run())


def test_a_namespace_without_sockets_here_is_not_replicated(tmp_path: Path) -> None:
	async def run() -> None:
		bench = JavaScriptBench(tmp_path, "chat")
		bench.start_process()
		socket = bench.connect("one", "chat")
		await bench.process.operations()
		del bench.namespace.sockets["one"]
		bench.sockets.remove(socket, "transport close")
		bench.table.apply("other", [(NAMESPACE, "late", ANN)])
		assert await bench.process.operations() == [
			["remove_socket", "one", "transport close"],
			["remove_namespace", NAMESPACE],
		]

	asyncio.run(run())


def test_remote_sockets_are_replicated_when_the_only_client_has_recovered(tmp_path: Path) -> None:
	"""Before the end of its socket was noticed, which comes first then, in the same namespace."""

	async def run() -> None:
		bench = JavaScriptBench(tmp_path, "chat")
		bench.start_process()
		socket = bench.connect("one", "chat")
		bench.table.apply("other", [(NAMESPACE, "early", ANN)])
		await bench.process.operations()
		del bench.namespace.sockets["one"]
		bench.sockets.remove(socket, "transport close")
		bench.connect("one", "chat")
		bench.table.apply("other", [(NAMESPACE, "late", ANN)])
		operations = await bench.process.operations()
		assert [operation[0] for operation in operations] == [
			"remove_socket",
			"remove_namespace",
			"add_remotes",
			"add_socket",
			"call_handlers",
			"add_remotes",
		]
		assert operations[2] == ["add_remotes", NAMESPACE, [["early", ANN.user, "System User", [], {}]]]

	asyncio.run(run())


def test_next_process_gets_remote_sockets_before_handlers_are_called(tmp_path: Path) -> None:
	async def run() -> None:
		bench = JavaScriptBench(tmp_path, "chat")
		bench.connect("one", "chat")
		bench.table.apply("other", [(NAMESPACE, "far", ANN)])
		bench.start_process()
		operations = await bench.process.operations()
		assert [operation[0] for operation in operations] == [
			"add_remotes",
			"add_socket",
			"load_app",
			"call_handlers",
		]

	asyncio.run(run())


def test_properties_are_reported_while_there_is_another_sidecar(tmp_path: Path) -> None:
	"""A new process has lost them."""

	async def run() -> None:
		bench = JavaScriptBench(tmp_path, "chat")
		bench.start_process()
		socket = bench.connect("one", "chat")
		bench.table.announce(bench.namespace)
		await bench.process.operations()
		bench.table.set_replicating(True)
		assert await bench.process.operations() == [["replicating", True]]
		bench.table.set_state(socket, "javascript", {"mood": "good"})
		bench.table.take_unpublished()
		bench.start_process()
		assert (await bench.process.operations())[0] == ["replicating", True]
		((_, _, identity),), gone = bench.table.take_unpublished()
		assert identity is not None
		assert (identity.state, gone) == ({}, [])
		bench.table.set_replicating(False)
		assert await bench.process.operations() == [["replicating", False]]

	asyncio.run(run())


def test_oldest_pending_ack_is_discarded(tmp_path: Path) -> None:
	bench = JavaScriptBench(tmp_path)
	replica = SocketReplica(bench.connect("one"), [], {}, 0, count(1))
	acks = {replica.add_ack(ack): ack for ack in [lambda *_: None for _ in range(MAX_PENDING_ACKS + 1)]}
	assert replica.pop_ack(1) is None
	assert all(replica.pop_ack(token) is ack for token, ack in acks.items() if token > 1)
	assert replica.pop_ack(2) is None


def test_a_call_whose_ack_is_discarded_is_answered(tmp_path: Path) -> None:
	bench = JavaScriptBench(tmp_path)
	replica = SocketReplica(bench.connect("one"), [], {}, 0, count(1))
	reply, answers = call()
	replica.add_ack(reply)
	for _ in range(MAX_PENDING_ACKS):
		assert answers == []
		replica.add_ack(lambda *_: None)
	((error,),) = answers
	assert error["code"] == "dropped"
