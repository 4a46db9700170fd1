"""`list_update` tells a document's name to those who may read it; the others hear that the list has changed."""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Callable

import pytest

from tests.wire.bench import APP_SITE, SITES, STOCK_SITE, Bench
from tests.wire.clients import Client
from tests.wire.conditions import until
from tests.wire.conftest import VERSIONS, Connect, MakeBench
from tests.wire.sidecar import Sidecar
from tests.wire.test_access import tell

READERS = "frappe.realtime.readers"
SEPARATELY = {"realtime_list_updates_per_second": 0}
"""Updates of one list are not joined."""

PATIENT = (
	sys.executable,
	"-c",
	"from realtime.access import list_update_filter; from realtime.__main__ import main; "
	"list_update_filter.READERS_TIMEOUT = 60.0; main()",
)
"""A sidecar that waits for the answer about readers for as long as a busy machine takes. The product leaves the name out after a second."""


def start_patient(bench: Bench) -> Bench:
	"""Start a bench with a patient sidecar."""
	port, host = bench.sidecar.port, bench.sidecar.host
	bench.sidecar = Sidecar(
		bench.folder, bench.sidecar.log_path, ("--host", host), port=port, command=PATIENT, host=host
	)
	return bench.start()


@pytest.fixture
def make_patient_bench(make_bench: MakeBench) -> MakeBench:
	"""Make and start a bench for one test, with the arguments of `Bench`."""
	return lambda **options: start_patient(make_bench(start=False, **options))


@pytest.fixture(scope="module")
def patient_benches(make_shared_bench: MakeBench) -> Callable[[int], Bench]:
	"""Return the bench of a version, which is started when the first test uses it."""
	return functools.cache(lambda version: start_patient(make_shared_bench(start=False, version=version)))


@pytest.fixture(params=VERSIONS, ids=lambda version: f"v{version}")
def every_patient_bench(request: pytest.FixtureRequest, patient_benches: Callable[[int], Bench]) -> Bench:
	"""The bench of each version in turn."""
	return patient_benches(request.param)


def change(bench: Bench, doctype: str, name: str, site: str = APP_SITE) -> dict[str, str]:
	"""Say that a document has changed, as Frappe does; return the message."""
	message = {"doctype": doctype, "name": name, "user": "somebody@example.com"}
	bench.publish("list_update", message, f"doctype:{doctype}", site)
	return message


def watch(bench: Bench, client: Client, doctype: str, site: str = APP_SITE) -> Client:
	"""Let a client look at a list."""
	bench.join(client, f"doctype:{doctype}", "doctype_subscribe", doctype, site=site)
	return client


def heard(client: Client) -> list[dict[str, str]]:
	return [args[0] for args in client.all("list_update")]


@pytest.mark.parametrize("site", SITES)
def test_names_are_for_readers(every_patient_bench: Bench, connect: Connect, site: str) -> None:
	bench = every_patient_bench
	doctype = f"DocType {bench.document()}"
	hidden, open_ = bench.document(), bench.document()
	reader, other = bench.user(site), bench.user(site)
	bench.site(site).forbid(other.name, doctype, hidden)
	watching = [
		watch(bench, connect(bench, user, site), doctype, site) for user in (reader, other, "Administrator")
	]
	messages = [change(bench, doctype, name, site) for name in (hidden, open_)]
	for client in watching:
		until(lambda client=client: len(heard(client)) == 2, "two events")  # type: ignore[misc]
	assert heard(watching[0]) == heard(watching[2]) == messages
	assert heard(watching[1]) == [{"doctype": doctype}, messages[1]]


def test_one_question_for_all(make_patient_bench: MakeBench, connect: Connect) -> None:
	bench = make_patient_bench(common=SEPARATELY)
	doctype, name = f"DocType {bench.document()}", bench.document()
	watching = [watch(bench, connect(bench, bench.user()), doctype) for _ in range(8)]
	asked, one_by_one = bench.web.counts[READERS], bench.web.counts["frappe.realtime.has_permissions"]
	for _ in range(3):
		message = change(bench, doctype, name)
	for client in watching:
		until(lambda client=client: heard(client) == [message] * 3, "the events")  # type: ignore[misc]
	assert bench.web.counts[READERS] == asked + 1
	assert bench.web.counts["frappe.realtime.has_permissions"] == one_by_one


def test_the_order_of_a_room(make_patient_bench: MakeBench, connect: Connect) -> None:
	"""What waits for the web process holds up its own room, and no other."""
	bench = make_patient_bench()
	client = watch(bench, connect(bench, bench.user()), "ToDo")
	bench.web.fail(READERS, delay=0.2)
	events = [
		("list_update", {"doctype": "ToDo", "name": "a"}, "doctype:ToDo"),
		("numbered", 1, "doctype:ToDo"),
		("list_update", {"doctype": "ToDo", "name": "b"}, "doctype:ToDo"),
		("numbered", 2, "doctype:ToDo"),
		("elsewhere", 0, "website"),
	]
	# At once: the web process must not have answered before the last of them is published.
	with bench.valkey.client.pipeline(transaction=False) as pipeline:
		for event, message, room in events:
			fields = {"event": event, "message": message, "room": room, "namespace": APP_SITE}
			pipeline.publish("events", json.dumps(fields))
		pipeline.execute()
	until(lambda: len(client.all("numbered")) == 2, "the last event")
	names = [event if event != "list_update" else args[0]["name"] for event, args in client.events]
	of_room = [name for name in names if name in ("a", "b", "numbered")]
	assert of_room == ["a", "numbered", "b", "numbered"]
	assert names.index("elsewhere") < names.index("a")


@pytest.mark.parametrize("failure", [{"status": 502}, {"hang": True}, {"status": 403}], ids=str)
@pytest.mark.parametrize("site", SITES)
def test_without_an_answer_no_name(
	make_bench: MakeBench, connect: Connect, failure: dict[str, object], site: str
) -> None:
	bench = make_bench()
	client = watch(bench, connect(bench, bench.user(site), site), "ToDo", site)
	bench.web.fail(READERS if site == APP_SITE else "has_permission", **failure)  # type: ignore[arg-type]
	change(bench, "ToDo", "a", site)
	until(lambda: heard(client), "the event")
	assert heard(client) == [{"doctype": "ToDo"}]


def test_a_permission_that_goes(patient_benches: Callable[[int], Bench], connect: Connect) -> None:
	bench = patient_benches(16)
	doctype, name = f"DocType {bench.document()}", bench.document()
	user = bench.user()
	client = watch(bench, connect(bench, user), doctype)
	message = change(bench, doctype, name)
	until(lambda: heard(client) == [message], "the event")
	bench.site().forbid(user.name, doctype, name)
	tell(bench, "user", user=user.name)
	bench.settle(client)
	change(bench, doctype, name)
	until(lambda: len(heard(client)) == 2, "the second event")
	assert heard(client)[1] == {"doctype": doctype}


def test_a_secret_that_changes(make_patient_bench: MakeBench, connect: Connect) -> None:
	"""`readers` answers for other users than the one who asks: the secret is all that it goes by."""
	bench = make_patient_bench(version=17)
	client = watch(bench, connect(bench, bench.user()), "ToDo")
	bench.valkey.client.set("socketio_auth_secret", "another")
	message = change(bench, "ToDo", "a")
	until(lambda: heard(client) == [message], "the event")


@pytest.mark.parametrize("message", [None, "x", 1, [], {}, {"doctype": "ToDo"}, {"name": None}])
def test_messages_without_a_name(bench: Bench, connect: Connect, message: object) -> None:
	client = watch(bench, connect(bench, bench.user()), "ToDo")
	bench.publish("list_update", message, "doctype:ToDo")
	bench.settle(client)
	assert [args[0] for args in client.all("list_update")] == [message]


def test_a_user_of_the_stock_site_is_asked_about_once(
	make_patient_bench: MakeBench, connect: Connect
) -> None:
	bench = make_patient_bench(common=SEPARATELY)
	doctype, name = f"DocType {bench.document()}", bench.document()
	user = bench.user(STOCK_SITE)
	clients = [watch(bench, connect(bench, user, STOCK_SITE), doctype, STOCK_SITE) for _ in range(3)]
	for _ in range(3):
		change(bench, doctype, name, STOCK_SITE)
	for client in clients:
		until(lambda client=client: len(heard(client)) == 3, "the events")  # type: ignore[misc]
	asked = [request for request in bench.web.requests if [doctype, name] in request.questions()]
	assert len(asked) == 1
