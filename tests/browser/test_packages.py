"""The npm packages in pages that Vite has built: @frappe-realtime/vue and @frappe-realtime/react."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Page

from frappe_realtime.contract.access import USER_CHANGED
from frappe_realtime.contract.channels import ACCESS_CHANNEL
from frappe_realtime.contract.users import GUEST
from tests.browser.conftest import FOLDERS, OpenPage, sign_in
from tests.browser.documents import Documents
from tests.browser.driving import kill_sidecar, publish_until, wait_for_texts, wait_to_see, wait_until
from tests.wire.apps import install, write_handlers
from tests.wire.bench import APP_SITE, Bench
from tests.wire.conftest import MakeBench
from tests.wire.javascript import write_app
from tests.wire.nodejs import node
from tests.wire.publisher import Publisher

pytestmark = pytest.mark.parametrize("framework", ["vue", "react"])


@pytest.fixture
def documents(window: BrowserContext) -> Documents:
	"""The documents of the site."""
	return Documents(window)


@pytest.fixture
def mount(framework: str, documents: Documents, open_portal: OpenPage) -> Callable[..., Page]:
	"""Open the page of a package: `mount(bench, user, **options of the connection)`."""
	if not (FOLDERS["/packages/"] / f"{framework}.js").exists():
		pytest.skip("the npm packages are not built: run script/test once")

	def mount(bench: Bench, user: Any = None, script: str = "{}") -> Page:
		page = open_portal(bench, user)
		page.evaluate(
			f"""async () => {{
				const {{ mount }} = await import("/packages/{framework}.js");
				document.body.innerHTML = "<main></main>";
				mount(document.querySelector("main"), {script});
			}}"""
		)
		return page

	return mount


def wait_for_status(page: Page, status: str) -> None:
	"""Wait until the page shows this status of its connection."""
	wait_for_texts(page, "status", f"{status} ")


def update(bench: Bench, page: Page, documents: Documents, description: str) -> None:
	"""Change T-1, and wait until a document of the page shows it."""
	documents.descriptions["T-1"] = description
	message = {"doctype": "ToDo", "name": "T-1", "modified": description}

	def shows() -> bool:
		return description in " ".join(page.locator(".doc").all_text_contents())

	publish_until(bench, page, "doc_update", message, "doc:ToDo/T-1", shows)


def test_two_components_on_one_document(
	bench: Bench, mount: Callable[..., Page], documents: Documents
) -> None:
	page = mount(bench, bench.user())
	wait_for_texts(page, "doc", "one false false", "one false false")
	update(bench, page, documents, "two")
	wait_for_texts(page, "doc", "two false false", "two false false")
	page.evaluate("show('second')")
	wait_for_texts(page, "doc", "two false false")
	update(bench, page, documents, "three")
	wait_for_texts(page, "doc", "three false false")


def test_a_list(bench: Bench, mount: Callable[..., Page], documents: Documents) -> None:
	page = mount(bench, bench.user())
	wait_for_status(page, "connected")
	wait_for_texts(page, "list", "T-1")
	documents.descriptions["T-2"] = "two"
	message = {"doctype": "ToDo", "name": "T-2"}

	def shows() -> bool:
		return page.locator(".list").all_text_contents() == ["T-1 T-2"]

	publish_until(bench, page, "list_update", message, "doctype:ToDo", shows)


def test_after_missed_events_everything_is_loaded_again(
	make_bench: MakeBench, mount: Callable[..., Page], documents: Documents
) -> None:
	bench = make_bench()
	page = mount(bench, bench.user())
	wait_for_status(page, "connected")
	update(bench, page, documents, "two")
	kill_sidecar(bench)
	wait_for_status(page, "lost")
	wait_for_texts(page, "doc", "two false true", "two false true")
	# Nothing to recover from is left anywhere.
	bench.valkey.client.flushall()
	documents.descriptions.update({"T-1": "three", "T-2": "new"})
	bench.sidecar.start()
	wait_for_texts(page, "doc", "three false false", "three false false")
	wait_for_texts(page, "list", "T-1 T-2")
	update(bench, page, documents, "four")


def test_a_reconnect_brings_what_has_happened_meanwhile(
	make_bench: MakeBench, mount: Callable[..., Page], documents: Documents
) -> None:
	bench = make_bench()
	publisher = Publisher(bench.valkey.url)
	page = mount(bench, bench.user())
	wait_for_status(page, "connected")
	publisher.publish("news", "first")
	wait_to_see(page, "first")
	update(bench, page, documents, "two")
	wait_for_texts(page, "doc", "two false false", "two false false")
	loads_of_lists = documents.loads.count("/api/resource/ToDo")
	kill_sidecar(bench)
	wait_for_status(page, "lost")
	documents.descriptions["T-1"] = "three"
	publisher.publish("doc_update", {"doctype": "ToDo", "name": "T-1", "modified": "three"}, "doc:ToDo/T-1")
	publisher.flush()
	bench.sidecar.start()
	wait_for_texts(page, "doc", "three false false", "three false false")
	wait_for_status(page, "connected")
	# Nothing was missed, so that nothing else is loaded again.
	assert documents.loads.count("/api/resource/ToDo") == loads_of_lists


def test_logout_ends_the_connection_and_login_brings_it_back(
	bench: Bench, mount: Callable[..., Page], documents: Documents, window: BrowserContext
) -> None:
	user = bench.user()
	page = mount(bench, user)
	wait_for_status(page, "connected")
	bench.site().logout(user.name)
	message = {"site": APP_SITE, "kind": USER_CHANGED, "user": user.name}
	bench.valkey.client.publish(ACCESS_CHANNEL, json.dumps(message))
	wait_for_status(page, "lost")
	wait_for_texts(page, "doc", "one false true", "one false true")
	sign_in(window, bench, bench.user())
	wait_for_status(page, "connected")


def renewing(tokens: list[str]) -> str:
	"""Return options of the client, in JavaScript: the first token until the client asks for a renewed one, then the second."""
	return f"""{{ token: async ({{ renew }}) => {{
		if (renew) window.is_renewed = true;
		return {json.dumps(tokens)}[window.is_renewed ? 1 : 0];
	}} }}"""


@pytest.mark.parametrize("scheme", ["token", "Bearer"])
def test_a_token_that_has_expired_is_renewed(
	bench: Bench, mount: Callable[..., Page], documents: Documents, scheme: str
) -> None:
	site = bench.site()
	user = bench.user()
	expired = site.authorization(user.name, scheme)
	site.revoke(expired)
	fresh = site.authorization(user.name, scheme)
	tokens = [one.removeprefix("token ") for one in (expired, fresh)]
	page = mount(bench, None, renewing(tokens))
	wait_for_status(page, "connected")
	wait_for_texts(page, "doc", "one false false", "one false false")
	update(bench, page, documents, "two")
	assert fresh in documents.authorizations


@pytest.mark.parametrize("scheme", ["token", "Bearer"])
def test_a_token_that_expires_while_the_page_is_open(
	bench: Bench, mount: Callable[..., Page], documents: Documents, scheme: str
) -> None:
	site = bench.site()
	user = bench.user()
	expiring, fresh = (site.authorization(user.name, scheme) for _ in range(2))
	tokens = [one.removeprefix("token ") for one in (expiring, fresh)]
	page = mount(bench, None, renewing(tokens))
	wait_for_status(page, "connected")
	update(bench, page, documents, "two")
	assert not page.evaluate("window.is_renewed")
	site.revoke(expiring)
	message = {"site": APP_SITE, "kind": USER_CHANGED, "user": user.name}
	bench.valkey.client.publish(ACCESS_CHANNEL, json.dumps(message))
	wait_until(page, "window.is_renewed")
	wait_for_status(page, "connected")
	update(bench, page, documents, "three")
	assert documents.authorizations == {expiring, fresh}


def test_presence(bench: Bench, mount: Callable[..., Page], window: BrowserContext) -> None:
	page = mount(bench, bench.user())
	other = mount(bench)
	for one, states in ((page, "start"), (other, "start start")):
		wait_for_status(one, "connected")
		one.evaluate("show('here', 'here too')")
		# Members are listed in the order in which they came: the second page joins when the first one is there.
		wait_for_texts(one, "here", states, states)
	wait_for_texts(page, "here", "start start", "start start")
	other.evaluate("set_state({ at: 'end' })")
	wait_for_texts(page, "here", "start end", "start end")
	other.evaluate("show('here')")
	other.evaluate("set_state({ at: 'middle' })")
	wait_for_texts(page, "here", "start middle", "start middle")
	other.evaluate("show()")
	wait_for_texts(page, "here", "start", "start")


HANDLERS = """
from frappe.realtime import realtime

@realtime.on("add")
async def add(socket, one, other):
	return one + other

@realtime.on("fails")
async def fails(socket):
	raise ValueError("a reason")
"""
SCRIPTS = """module.exports = function handlers(socket) {
	socket.on("js add", (one, other, answer) => answer(one + other));
	socket.on("js fails", function failing(answer) { throw new TypeError("a reason"); });
};
"""


@pytest.fixture
def shop(make_bench: MakeBench) -> Callable[..., Bench]:
	"""Start a bench with an app that has handlers in Python, and one that has them in JavaScript."""

	def shop(**common: Any) -> Bench:
		bench = make_bench(start=False, common=common, env={"FRAPPE_REALTIME_NODE": node()})
		bench.sidecar.expects_traceback = True
		write_handlers(bench, "shop", HANDLERS)
		write_app(bench, "scripts", SCRIPTS)
		for app in ("shop", "scripts"):
			install(bench, app)
		return bench.start()

	return shop


def test_events_progress_and_calls(shop: Callable[..., Bench], mount: Callable[..., Page]) -> None:
	bench = shop()
	user = bench.user()
	page = mount(bench, user)
	wait_for_status(page, "connected")
	bench.publish("news", "hello", "website")
	wait_to_see(page, "hello")
	bench.publish("progress", {"percent": 30, "title": "Import"}, f"user:{user.name}")
	wait_for_texts(page, "status", "connected 30")
	for event in ("add", "js add"):
		assert page.evaluate("event => emitWithAck(event, 1, 2)", event) == 3


CALL = "event => emitWithAck(event).catch(({ name, code, message, traceback }) => [name, code, message, traceback])"


@pytest.mark.parametrize("is_developer", [False, True], ids=["production", "developer_mode"])
def test_calls_that_fail_reject_at_once(
	shop: Callable[..., Bench], mount: Callable[..., Page], is_developer: bool
) -> None:
	bench = shop(developer_mode=is_developer)
	page = mount(bench, bench.user())
	wait_for_status(page, "connected")
	assert page.evaluate(CALL, "unknown") == [
		"CallError",
		"no_handler",
		'No app on app.test handles the event "unknown".',
		"",
	]
	for event, app, place in (("fails", "shop", "in fails\n"), ("js fails", "scripts", "failing")):
		name, code, message, traceback = page.evaluate(CALL, event)
		assert (name, code) == ("CallError", "failed")
		assert f'The handler of "{event}" in the app {app} has failed' in message
		assert ("a reason" in message) == is_developer
		assert (place in traceback) == is_developer
	guest = mount(bench, GUEST)
	wait_for_status(guest, "connected")
	assert guest.evaluate(CALL, "add")[1] == "not_allowed"
