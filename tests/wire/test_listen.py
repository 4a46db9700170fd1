"""`frappe-realtime listen`: what it prints for which user, how it ends, and what it says when it cannot listen."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

import pytest

from tests.wire.bench import APP_SITE, STOCK_SITE, Bench
from tests.wire.command import Result, run_command, started_command
from tests.wire.conditions import PATIENCE, until
from tests.wire.conftest import MakeBench
from tests.wire.listener import Listener

StartListening = Callable[..., Listener]


@pytest.fixture
def listen(tmp_path: Path) -> Iterator[StartListening]:
	"""Start listeners, and wait until they listen; they are ended after the test."""
	started: list[Listener] = []

	def start(bench: Bench, *arguments: str, terminal: bool = False) -> Listener:
		folder = tmp_path / f"listener-{len(started)}"
		folder.mkdir()
		started.append(Listener(bench, folder, *arguments, terminal=terminal))
		started[-1].wait_until_listening()
		return started[-1]

	yield start
	for one in started:
		one.close()


def run_listen(bench: Bench, *arguments: str) -> Result:
	"""Run `listen` where it must end by itself."""
	return run_command("listen", "--bench", str(bench.folder), *arguments)


def test_guest_gets_the_events_of_guests(bench: Bench, listen: StartListening) -> None:
	listener = listen(bench)
	bench.publish("secret", 1, "all")
	bench.publish("news", {"text": "hello"}, "website")
	line = listener.next("news")
	assert line.keys() == {"time", "event", "message"}
	assert line["message"] == {"text": "hello"}
	assert abs(datetime.now().astimezone() - datetime.fromisoformat(line["time"])).total_seconds() < 60
	assert listener.events("secret") == []
	assert listener.interrupt() == 0


def test_another_site(bench: Bench, listen: StartListening) -> None:
	listener = listen(bench, "--site", STOCK_SITE)
	bench.publish("news", 1, "website", APP_SITE)
	bench.publish("news", 2, "website", STOCK_SITE)
	assert listener.next("news")["message"] == 2


def test_token_gets_the_events_of_its_user(bench: Bench, listen: StartListening) -> None:
	user = bench.user()
	token = bench.site().authorization(user.name).removeprefix("token ")
	listener = listen(bench, "--token", token)
	bench.publish("note", 1, "user:somebody@example.com")
	bench.publish("note", 2, f"user:{user.name}")
	bench.publish("system", 3, "all")
	assert listener.next("note")["message"] == 2
	assert listener.next("system")["message"] == 3


@pytest.mark.parametrize("kind", ["doc", "open_doc"])
def test_room_of_a_document(bench: Bench, listen: StartListening, kind: str) -> None:
	user = bench.user()
	name = bench.document()
	bench.site().allow(user.name, "ToDo", name)
	token = bench.site().authorization(user.name).removeprefix("token ")
	room = f"{kind}:ToDo/{name}"
	listener = listen(bench, "--token", token, "--room", room)

	def arrives() -> bool:
		bench.publish("doc_update", name, room)
		return bool(listener.events("doc_update"))

	until(arrives, f"an event of {room}")
	assert listener.next("doc_update")["message"] == name


def test_room_without_permission_stays_silent(bench: Bench, listen: StartListening) -> None:
	name = bench.document()
	listener = listen(bench, "--room", f"doc:ToDo/{name}")
	bench.wait_until_asked("ToDo", name)
	bench.publish("doc_update", name, f"doc:ToDo/{name}")
	bench.publish("end", 1, "website")
	listener.next("end")
	assert listener.events("doc_update") == []
	assert "only if this user may read it" in listener.errors


def test_user_reads_redis(bench: Bench, listen: StartListening) -> None:
	user = bench.user().name
	listener = listen(bench, "--user", user, "--room", "task_progress:42")
	asked = len(bench.web.requests)
	rooms = (f"user:{user}", "all", "website", "task_progress:42")
	others = ("user:somebody@example.com", "task_progress:43", "doc:ToDo/1")
	for room in (*others, *rooms):
		bench.publish("news", room, room)
	bench.publish("news", "another site", "all", STOCK_SITE)
	bench.publish("build_event", {}, None, None)
	listener.next("build_event")
	assert [line["message"] for line in listener.events("news")] == list(rooms)
	assert [line["room"] for line in listener.events("news")] == list(rooms)
	assert len(bench.web.requests) == asked, "no permission is asked for"
	assert listener.interrupt() == 0


def test_it_connects_again(make_bench: MakeBench, listen: StartListening) -> None:
	bench = make_bench()
	listener = listen(bench)
	bench.sidecar.restart()
	bench.wait_until_subscribed()
	until(lambda: listener.errors.count("listening to") == 2, "the second connection")
	bench.publish("news", 1, "website")
	assert listener.next("news")["message"] == 1


def test_text_on_a_terminal(bench: Bench, listen: StartListening) -> None:
	listener = listen(bench, terminal=True)
	bench.publish("news", {"text": "Grüße\x1b[31m\x9b2J"}, "website")
	until(lambda: "\n" in listener.text, "a line")
	[line] = listener.text.splitlines()
	time, event, message = line.split("  ")
	assert datetime.fromisoformat(time)
	assert (event, message) == ("news", '{"text": "Grüße\\u001b[31m\\u009b2J"}')


def test_json_on_a_terminal(bench: Bench, listen: StartListening) -> None:
	listener = listen(bench, "--json", terminal=True)
	bench.publish("news", 1, "website")
	assert listener.next("news")["message"] == 1


def test_an_unknown_site(bench: Bench) -> None:
	result = run_listen(bench, "--site", "nowhere.test")
	assert result.code == 1
	assert "no site 'nowhere.test'; it has: app.test, stock.test" in result.errors


def test_no_site(make_bench: MakeBench) -> None:
	bench = make_bench(start=False)
	bench.write_config(default_site=None)
	result = run_listen(bench)
	assert result.code == 1
	assert "--site" in result.errors


def test_no_sidecar(make_bench: MakeBench) -> None:
	bench = make_bench(start=False)
	result = run_listen(bench)
	assert result.code == 1
	assert f"cannot connect to {APP_SITE} on port {bench.sidecar.port} (socketio_port)" in result.errors
	assert "frappe-realtime serve" in result.errors


def test_a_wrong_token(bench: Bench) -> None:
	result = run_listen(bench, "--token", "wrong:token")
	assert result.code == 1
	assert f"{APP_SITE} refuses the API key" in result.errors
	assert "Unauthorized" in result.errors
	assert run_listen(bench, "--token", "no-secret").code == 2


def test_a_room_that_no_client_can_join(bench: Bench) -> None:
	for room in ("all", "doc:ToDo", "doctype:", "task_progress:", "user:Administrator"):
		result = run_listen(bench, "--room", room)
		assert result.code == 1
		assert "doc:DOCTYPE/NAME" in result.errors


def test_no_redis(make_bench: MakeBench) -> None:
	result = run_listen(make_bench(start=False), "--user", "ann@example.com")
	assert result.code == 1
	assert "(redis_queue) does not answer" in result.errors


def test_it_ends_when_nothing_reads_its_output(bench: Bench) -> None:
	"""As in `frappe-realtime listen | head -n 1`."""
	with started_command("listen", "--bench", str(bench.folder)) as (process, output, errors):
		assert b"listening to" in errors.readline()
		bench.publish("first", 1, "website")
		assert b"first" in output.readline()
		output.close()
		bench.publish("second", 2, "website")
		assert process.wait(PATIENCE) == 0
		assert errors.read() == b""
